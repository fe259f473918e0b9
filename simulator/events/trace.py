"""What ran when, and what each piece of it waited for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

#: Streams of one stage, from top to bottom of its track. On none of them do two slices overlap.
#: "passes" holds one envelope per pass and no work; the others hold the work, once. "pipeline" has all sends where they
#: hold the rank, else those to the rank behind, and "pipeline back" those to the rank before.
STREAMS: Final = ("passes", "compute", "tensor", "pipeline", "pipeline back", "data")

#: The streams whose slices are communication, whatever part of the step they count as.
COMMUNICATION_STREAMS: Final = ("tensor", "pipeline", "pipeline back", "data")

#: Kinds of slice: the envelope of a pass, then the parts of `StepTime` that take time.
CATEGORIES: Final = ("pass", "compute", "tensor", "pipeline", "data", "optimizer", "fixed")


class Slice(NamedTuple):
    """One thing that ran on one stream of one stage [ps].

    ``cause`` is the place in `Timeline.slices` of the slice whose end is this one's start: what it waited for last.
    -1: it starts at the beginning of the step, or nobody recorded what it waited for.
    """

    stage: int
    stream: str
    name: str
    category: str
    start_ps: int
    duration_ps: int
    cause: int = -1

    @property
    def end_ps(self) -> int:
        """When it was over [ps]."""
        return self.start_ps + self.duration_ps

    @property
    def communicates(self) -> bool:
        """Whether a communication stream ran it."""
        return self.stream in COMMUNICATION_STREAMS


class Timeline:
    """Collects what the event engine runs.

    The first and the last micro-batch are shown block by block. Of the others, the compute of all blocks of a pass is
    one slice and their tensor-parallel collectives are one slice behind it: sums are exact, the order inside the pass
    is not shown. `every_block=True` shows all micro-batches block by block (a large file).
    Slices of no duration are left out. With `most`, so many slices are kept, those recorded first; the rest is counted.
    """

    def __init__(self, *, every_block: bool = False, most: int | None = None) -> None:
        self.every_block = every_block
        self.most = most
        self.left_out = 0
        self.slices: list[Slice] = []
        self.stage_names: dict[int, str] = {}

    def name_stage(self, stage: int, name: str) -> None:
        """Give a stage the name its track carries."""
        self.stage_names[stage] = name

    def add(
        self, stage: int, stream: str, name: str, category: str, start_ps: int, duration_ps: int, cause: int = -1
    ) -> int:
        """Record one slice; its place, or that of its cause where it takes no time or is one too many."""
        if duration_ps <= 0:
            return cause
        if self.most is not None and len(self.slices) >= self.most:
            self.left_out += 1
            return cause
        self.slices.append(Slice(stage, stream, name, category, start_ps, duration_ps, cause))
        return len(self.slices) - 1

    def work(self) -> Iterator[tuple[int, Slice]]:
        """Every slice that is work, and its place; envelopes of passes are none."""
        return ((place, item) for place, item in enumerate(self.slices) if item.category != "pass")

    @property
    def end_ps(self) -> int:
        """When the last slice was over [ps]."""
        return max((item.end_ps for item in self.slices), default=0)

    @property
    def stages(self) -> list[int]:
        """Every stage that has a name or a slice, in order."""
        return sorted({*self.stage_names, *(item.stage for item in self.slices)})

    def busy_ps(self, stage: int, category: str) -> int:
        """Time one stage spent on one category [ps]."""
        return sum(s.duration_ps for s in self.slices if s.stage == stage and s.category == category)
