"""Why a step takes as long as it does: the chain of slices, each waiting for the one before, from its end back to 0."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from simulator.events.causes import CauseError, checked_causes
from simulator.events.pass_names import without_micro_batch
from simulator.events.trace import Timeline


@dataclass(frozen=True, kw_only=True)
class PathNode:
    """A part of the critical path: how long [ps], how many slices, and what it is made of, the longest first.

    The parts add up exactly.
    """

    name: str
    duration_ps: int
    slices: int
    parts: tuple[PathNode, ...] = ()


@dataclass(frozen=True, kw_only=True)
class OnPath:
    """One slice of the path: its place in the timeline, and how much of it lies in the step [ps]."""

    place: int
    stage: int
    category: str
    name: str
    duration_ps: int


@dataclass(frozen=True, kw_only=True)
class CriticalPath:
    """The chain from the beginning of a step to its end: no gaps, nothing twice, as long as the step."""

    begin_ps: int
    end_ps: int
    slices: tuple[OnPath, ...]
    tree: PathNode

    @property
    def duration_ps(self) -> int:
        """Length of the step, and of the chain [ps]."""
        return self.end_ps - self.begin_ps

    def spent_ps(self, category: str, stage: int | None = None) -> int:
        """Time on the path of one category, on one stage or on all [ps]."""
        return sum(s.duration_ps for s in self.slices if s.category == category and stage in (None, s.stage))

    @property
    def crossings(self) -> int:
        """How often the path goes from one stage to another."""
        return sum(a.stage != b.stage for a, b in zip(self.slices, self.slices[1:], strict=False))


def critical_path(timeline: Timeline, *, step_ps: int | None = None) -> CriticalPath:
    """The critical path of the last `step_ps` of what ran, by default all of it.

    Where ranks update together that is the step. Where each goes on by itself, the step is a stretch of that length of
    a run that never drains, and the path that of the last such stretch. Of several slices that end last the one on the
    first stage is taken.

    Raises
    ------
    CauseError
        Where slices do not follow from each other without a gap (it says which), slices were left out, or nothing ran.
    """
    if timeline.left_out:
        raise CauseError(f"{timeline.left_out:,} slices were left out of the timeline; the path needs all of them.")
    chain = checked_causes(timeline)
    last = max(timeline.work(), key=lambda entry: (entry[1].end_ps, -entry[1].stage), default=None)
    if last is None:
        raise CauseError("nothing ran; there is no critical path.")
    place, item = last
    end_ps = item.end_ps
    begin_ps = 0 if step_ps is None else end_ps - step_ps
    if begin_ps < 0:
        raise CauseError(f"the step takes {step_ps} ps, but only {end_ps} ps ran.")
    found: list[OnPath] = []
    while place >= 0 and timeline.slices[place].end_ps > begin_ps:
        item = timeline.slices[place]
        inside_ps = item.end_ps - max(item.start_ps, begin_ps)
        found.append(
            OnPath(place=place, stage=item.stage, category=item.category, name=item.name, duration_ps=inside_ps)
        )
        place = chain[place]
    found.reverse()
    if sum(part.duration_ps for part in found) != end_ps - begin_ps:
        raise CauseError(f"slice {found[0].place} ({found[0].name!r}) begins the chain, but not the step.")
    return CriticalPath(begin_ps=begin_ps, end_ps=end_ps, slices=tuple(found), tree=_tree(timeline, found))


def _tree(timeline: Timeline, found: Sequence[OnPath]) -> PathNode:
    names = timeline.stage_names
    distinct = len(set(names.values())) == len(names)

    def stage_name(part: OnPath) -> str:
        name = names.get(part.stage, "")
        if distinct and name:
            return name
        return f"stage {part.stage}" + (f": {name}" if name else "")

    stages = []
    for name, of_stage in _grouped((stage_name(part), part) for part in found):
        categories = []
        for category, of_category in _grouped((part.category, part) for part in of_stage):
            blocks = _grouped((without_micro_batch(part.name), part) for part in of_category)
            categories.append(_node(category, of_category, [_node(block, parts) for block, parts in blocks]))
        stages.append(_node(name, of_stage, categories))
    return _node("step", found, stages)


def _grouped(named: Iterable[tuple[str, OnPath]]) -> list[tuple[str, list[OnPath]]]:
    groups: dict[str, list[OnPath]] = {}
    for name, part in named:
        groups.setdefault(name, []).append(part)
    return list(groups.items())


def _node(name: str, found: Sequence[OnPath], parts: Sequence[PathNode] = ()) -> PathNode:
    return PathNode(
        name=name,
        duration_ps=sum(part.duration_ps for part in found),
        slices=len(found),
        parts=tuple(sorted(parts, key=lambda part: (-part.duration_ps, part.name))),
    )
