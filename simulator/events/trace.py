"""What ran when, and its export as a Chrome trace in Kineto's dialect, for Perfetto."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple, TextIO

#: Streams of one stage, from top to bottom of its track. On none of them do two slices overlap.
#: "passes" holds one envelope per pass and no work; the others hold the work, once. "pipeline" has all sends where they
#: hold the rank, else those to the rank behind, and "pipeline back" those to the rank before.
STREAMS: Final = ("passes", "compute", "tensor", "pipeline", "pipeline back", "data")

#: Kinds of slice: the envelope of a pass, then the parts of `StepTime` that take time.
CATEGORIES: Final = ("pass", "compute", "tensor", "pipeline", "data", "optimizer", "fixed")


class Slice(NamedTuple):
    """One thing that ran on one stream of one stage [ps].

    ``cause`` is the place of the slice at whose end it began, for it had waited for it last; -1: the step's beginning.
    """

    stage: int
    stream: str
    name: str
    category: str
    start_ps: int
    duration_ps: int
    cause: int = -1


class Timeline:
    """Collects what the event engine runs.

    The first and the last micro-batch are shown block by block. Of the others, the compute of all blocks of a pass is
    one slice and their tensor-parallel collectives are one slice behind it: sums are exact, the order inside the pass
    is not shown. `every_block=True` shows all micro-batches block by block (a large file).
    Slices of no duration are left out.
    """

    def __init__(self, *, every_block: bool = False) -> None:
        self.every_block = every_block
        self.slices: list[Slice] = []
        self.stage_names: dict[int, str] = {}

    def name_stage(self, stage: int, name: str) -> None:
        """Give a stage the name its track carries."""
        self.stage_names[stage] = name

    def add(
        self, stage: int, stream: str, name: str, category: str, start_ps: int, duration_ps: int, cause: int = -1
    ) -> int:
        """Record one slice; its place, or its cause's where it has no duration and is left out."""
        if duration_ps <= 0:
            return cause
        self.slices.append(Slice(stage, stream, name, category, start_ps, duration_ps, cause))
        return len(self.slices) - 1

    def busy_ps(self, stage: int, category: str) -> int:
        """Time one stage spent on one category [ps]."""
        return sum(s.duration_ps for s in self.slices if s.stage == stage and s.category == category)


def write_chrome_trace(
    timeline: Timeline, path: str | os.PathLike[str], *, metadata: Mapping[str, str | int | float] | None = None
) -> None:
    """Write a timeline as Chrome-trace JSON, all of it or nothing.

    One process per stage, one thread per stream. `ts` and `dur` are microseconds written as exact decimals, so a
    picosecond is six places. `metadata` goes to `otherData`. The same timeline and metadata give the same bytes.

    Raises
    ------
    OSError
        If the file cannot be written; what stood at `path` is then as it was.
    """
    target = Path(path)
    if target.exists() and not target.is_file() and not target.is_dir():
        # A pipe or a character device cannot be replaced, and must not be.
        with target.open("w", encoding="utf-8", newline="\n") as file:
            _write(timeline, file, metadata or {})
        return
    target = Path(os.path.realpath(target))  # a link keeps pointing where it pointed
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            _write(timeline, file, metadata or {})
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _write(timeline: Timeline, file: TextIO, metadata: Mapping[str, str | int | float]) -> None:
    other = json.dumps(dict(metadata), sort_keys=True, allow_nan=False)
    file.write(f'{{"schemaVersion": 1, "displayTimeUnit": "ms", "otherData": {other}, "traceEvents": [')
    separator = "\n"
    for event in _events(timeline):
        file.write(separator + event)
        separator = ",\n"
    file.write("\n]}\n")


def _events(timeline: Timeline) -> Iterator[str]:
    for stage, name in sorted(timeline.stage_names.items()):
        yield _metadata_event("process_name", stage, 0, {"name": f"stage {stage}: {name}"})
        yield _metadata_event("process_sort_index", stage, 0, {"sort_index": stage})
        for thread, stream in enumerate(STREAMS):
            yield _metadata_event("thread_name", stage, thread, {"name": stream})
            yield _metadata_event("thread_sort_index", stage, thread, {"sort_index": thread})
    threads = {stream: thread for thread, stream in enumerate(STREAMS)}
    for item in sorted(timeline.slices, key=lambda s: (s.stage, threads[s.stream], s.start_ps)):
        yield (
            f'{{"ph": "X", "cat": {json.dumps(item.category)}, "name": {json.dumps(item.name)}, '
            f'"pid": {item.stage}, "tid": {threads[item.stream]}, '
            f'"ts": {_microseconds(item.start_ps)}, "dur": {_microseconds(item.duration_ps)}}}'
        )


def _metadata_event(name: str, stage: int, thread: int, args: Mapping[str, str | int]) -> str:
    return json.dumps({"ph": "M", "name": name, "pid": stage, "tid": thread, "ts": 0, "args": dict(args)})


def _microseconds(duration_ps: int) -> str:
    # A float would lose the last digits of a long step.
    whole, fraction = divmod(duration_ps, 10**6)
    return f"{whole}.{fraction:06d}"
