"""The timeline as Chrome-trace JSON in Kineto's dialect, for Perfetto and HolisticTraceAnalysis.

One process per role (named), one thread per stream. Work is ``"cat": "kernel"`` with ``args.stream``, as PyTorch's
profiler writes it; envelopes of passes and host time are annotations without one. Trace tools tell communication by
its name, so that every slice of a communication stream is called ``ncclKernel ...``, whatever library the job uses;
``args.slice`` has its own name and ``args.category`` the part of the step that it counts as. Arrows run from a send to
the pass that receives it; curves show how busy links are and what the memory holds.

References
----------
.. [1] pytorch/kineto libkineto/src/output_json.cpp: fields of events
.. [2] facebookresearch/HolisticTraceAnalysis hta/utils/utils.py, hta/analyzers/communication_analysis.py (0.5.0):
       communication is ``^nccl.*Kernel`` (before: has ``ncclKernel``), all else with a stream computes; it reads one
       file per rank, the rank from ``"rank": N``
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final

from simulator.events.counters import RoleMemory, link_load, memory_in_use
from simulator.events.trace import STREAMS, Slice, Timeline
from simulator.output import whole_file

#: What names of communication begin with, so that trace tools know them.
COMMUNICATION: Final = "ncclKernel"

Metadata = Mapping[str, str | int | float]
Device = Mapping[str, str | int]


def write_chrome_trace(
    timeline: Timeline,
    path: str | os.PathLike[str],
    *,
    metadata: Metadata | None = None,
    messages: Sequence[tuple[int, int]] = (),
    memory: Mapping[int, RoleMemory] | None = None,
    device: Device | None = None,
    stages: Iterable[int] | None = None,
) -> None:
    """Write a timeline as Chrome-trace JSON, all of it or nothing; compressed where the name ends in ``.gz``.

    `ts` and `dur` are microseconds written as exact decimals, so a picosecond is six places. The same arguments give
    the same bytes.

    Parameters
    ----------
    metadata
        Goes to ``otherData``.
    messages
        Places of sends and of the passes that receive them; see `pass_names.messages`.
    memory
        By role; those that are there get a curve of memory in use.
    device
        What ``deviceProperties`` says of every role's chip, as ``{"name": ..., "totalGlobalMem": ...}``.
    stages
        Only these roles. A trace of one carries its number as its rank.

    Raises
    ------
    OSError
        If the file cannot be written; what stood at `path` is then as it was.
    """
    shown = timeline.stages if stages is None else sorted(stages)
    head: dict[str, Any] = {"schemaVersion": 1, "displayTimeUnit": "ms"}
    if stages is not None and len(shown) == 1:
        head["distributedInfo"] = {"backend": "nccl", "rank": shown[0], "world_size": len(timeline.stages)}
    if device is not None:
        head["deviceProperties"] = [{"id": stage, **device} for stage in shown]
    head["otherData"] = dict(sorted((metadata or {}).items()))
    first = json.dumps(head, allow_nan=False)[:-1] + ', "traceEvents": ['
    events = _events(timeline, shown, messages, memory or {})
    with whole_file(path) as file:
        if os.fspath(path).endswith(".gz"):
            with gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=6, mtime=0) as packed:
                _write(packed, first, events)
        else:
            _write(file, first, events)


def write_role_traces(
    timeline: Timeline,
    folder: str | os.PathLike[str],
    *,
    metadata: Metadata | None = None,
    memory: Mapping[int, RoleMemory] | None = None,
    device: Device | None = None,
) -> list[Path]:
    """Write one trace per role, ``rank0.json`` and so on, as tools want them that read a folder with a file a rank.

    Raises
    ------
    OSError
        If one cannot be written; those before it are there.
    """
    place = Path(folder)
    place.mkdir(exist_ok=True)
    paths = []
    for stage in timeline.stages:
        paths.append(place / f"rank{stage}.json")
        write_chrome_trace(timeline, paths[-1], metadata=metadata, memory=memory, device=device, stages=[stage])
    return paths


def _write(file: BinaryIO | gzip.GzipFile, first: str, events: Iterator[str]) -> None:
    file.write(first.encode("utf-8"))
    separator = "\n"
    while block := list(islice(events, 10_000)):
        file.write((separator + ",\n".join(block)).encode("utf-8"))
        separator = ",\n"
    file.write(b"\n]}\n")


def _events(
    timeline: Timeline, stages: Sequence[int], messages: Sequence[tuple[int, int]], memory: Mapping[int, RoleMemory]
) -> Iterator[str]:
    threads = {stream: thread for thread, stream in enumerate(STREAMS)}
    shown = set(stages)
    for stage in stages:
        name = timeline.stage_names.get(stage)
        if name is None:
            continue
        yield _metadata_event("process_name", stage, 0, {"name": f"stage {stage}: {name}"})
        yield _metadata_event("process_sort_index", stage, 0, {"sort_index": stage})
        for stream, thread in threads.items():
            yield _metadata_event("thread_name", stage, thread, {"name": stream})
            yield _metadata_event("thread_sort_index", stage, thread, {"sort_index": thread})
    slices = [item for item in timeline.slices if item.stage in shown]
    for item in sorted(slices, key=lambda s: (s.stage, threads[s.stream], s.start_ps)):
        yield _slice_event(item, threads[item.stream])
    for number, (sent, received) in enumerate(messages):
        pair = timeline.slices[sent], timeline.slices[received]
        if all(item.stage in shown for item in pair):
            for phase, item in zip("sf", pair, strict=True):
                yield _flow_event(phase, number, item, threads[item.stream])
    for stage in stages:
        for time_ps, values in link_load(timeline, stage):
            yield _counter_event("link load", stage, time_ps, values)
        if stage in memory:
            for time_ps, amounts in memory_in_use(timeline, stage, memory[stage]):
                yield _counter_event("memory in use [B]", stage, time_ps, amounts)


def _slice_event(item: Slice, thread: int) -> str:
    name, kind = item.name, "kernel"
    args = f'"category": {json.dumps(item.category)}'
    if item.category in ("pass", "fixed"):
        kind = "user_annotation"
    else:
        args = f'"stream": {thread}, {args}'
        if item.communicates:
            args = f'{args}, "slice": {json.dumps(name)}'
            name = f"{COMMUNICATION} {name}"
    return (
        f'{{"ph": "X", "cat": "{kind}", "name": {json.dumps(name)}, "pid": {item.stage}, "tid": {thread}, '
        f'"ts": {_microseconds(item.start_ps)}, "dur": {_microseconds(item.duration_ps)}, "args": {{{args}}}}}'
    )


def _flow_event(phase: str, number: int, item: Slice, thread: int) -> str:
    # In the middle of what it leaves, so that no rounding puts it outside; at the very beginning of what it reaches.
    time_ps = item.start_ps + (item.duration_ps // 2 if phase == "s" else 0)
    end = ', "bp": "e"' if phase == "f" else ""
    return (
        f'{{"ph": "{phase}", "cat": "send", "name": "send", "id": {number}, "pid": {item.stage}, "tid": {thread}, '
        f'"ts": {_microseconds(time_ps)}{end}}}'
    )


def _counter_event(name: str, stage: int, time_ps: int, values: Mapping[str, int | float]) -> str:
    return (
        f'{{"ph": "C", "name": {json.dumps(name)}, "pid": {stage}, "tid": 0, "ts": {_microseconds(time_ps)}, '
        f'"args": {json.dumps(values, allow_nan=False)}}}'
    )


def _metadata_event(name: str, stage: int, thread: int, args: Mapping[str, str | int]) -> str:
    return json.dumps({"ph": "M", "name": name, "pid": stage, "tid": thread, "ts": 0, "args": dict(args)})


def _microseconds(duration_ps: int) -> str:
    # A float would lose the last digits of a long step.
    whole, fraction = divmod(duration_ps, 10**6)
    return f"{whole}.{fraction:06d}"
