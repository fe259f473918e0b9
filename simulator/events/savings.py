"""What a step would take if one of its resources were free, or twice as fast: the step again, not a share of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from simulator.events.critical_path import CriticalPath
from simulator.schedules import SCHEDULES
from simulator.stepspec import BlockSpec, StageSpec, StepSpec

Part = TypeVar("Part", BlockSpec, StageSpec, StepSpec)

#: Resource -> the durations of a block, of a stage and of a step that it takes.
_FIELDS: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]]] = {
    "compute": (("forward_ps", "backward_ps", "weight_ps"), (), ()),
    "tensor": (("forward_tensor_ps", "backward_tensor_ps"), (), ()),
    "pipeline": ((), (), ("send_ps",)),
    "data": (("gather_ps", "reduce_ps"), ("reduce_after_ps",), ()),
    "optimizer": ((), ("optimizer_ps", "update_gather_ps"), ()),
    "fixed": ((), (), ("fixed_ps",)),
}


@dataclass(frozen=True, kw_only=True)
class Saving:
    """A resource, its time on the critical path, and what the step saves where it is free or twice as fast [ps].

    ``on_path_ps`` is the naive answer, and more than can be saved: another path may be as long.
    """

    category: str
    stage: int | None
    on_path_ps: int
    free_saves_ps: int
    half_saves_ps: int


def faster(spec: StepSpec, category: str, *, stage: int | None = None, parts: int = 0) -> StepSpec:
    """The step with one resource's durations cut to one of so many `parts`, rounded down; 0 parts: free.

    `stage` cuts what blocks and the update of that stage take only.

    Raises
    ------
    ValueError
        For a word that is no resource.
    """
    if category not in _FIELDS:
        raise ValueError(f"{category!r} is no resource of a step; legal: {', '.join(_FIELDS)}.")
    of_block, of_stage, of_step = _FIELDS[category]

    def cut(owner: Part, names: tuple[str, ...]) -> Part:
        shorter: dict[str, Any] = {name: getattr(owner, name) // parts if parts else 0 for name in names}
        return replace(owner, **shorter)

    changed: dict[int, StageSpec] = {}  # like stages stay one object

    def cut_stage(old: StageSpec) -> StageSpec:
        if id(old) not in changed:
            chunks = tuple(tuple(cut(block, of_block) for block in chunk) for chunk in old.chunks)
            changed[id(old)] = cut(replace(old, chunks=chunks), of_stage)
        return changed[id(old)]

    stages = tuple(cut_stage(old) if stage in (None, place) else old for place, old in enumerate(spec.stages))
    return cut(replace(spec, stages=stages), of_step)


def savings(
    spec: StepSpec,
    path: CriticalPath,
    step_ps: Callable[[StepSpec], int],
    *,
    stage_of: Sequence[int] | None = None,
    most: int = 8,
) -> list[Saving]:
    """What each of the `most` resources that take most of the critical path would save, the most useful first.

    `step_ps` simulates a step; it is asked twice for every resource and once for the step as it is. `stage_of` has the
    pipeline rank of every role, where roles are not the stages. Where a rank holds two stages (DualPipe) its compute on
    the path counts for both.
    """
    now_ps = step_ps(spec)
    ranks = len(spec.stages)
    both_ways = SCHEDULES[spec.schedule].TRAITS.route == "both_ways"
    on_rank = [0] * ranks
    for part in path.slices:
        if part.category == "compute":
            on_rank[part.stage if stage_of is None else stage_of[part.stage]] += part.duration_ps
    resources: list[tuple[str, int | None, int]] = [(word, None, path.spent_ps(word)) for word in _FIELDS]
    if ranks > 1:
        for place in range(ranks):
            holders = {place, ranks - 1 - place} if both_ways else {place}
            resources.append(("compute", place, sum(on_rank[rank] for rank in holders)))
    spent = sorted((entry for entry in resources if entry[2]), key=lambda entry: -entry[2])[:most]
    found = [
        Saving(
            category=category,
            stage=stage,
            on_path_ps=on_path_ps,
            free_saves_ps=now_ps - step_ps(faster(spec, category, stage=stage)),
            half_saves_ps=now_ps - step_ps(faster(spec, category, stage=stage, parts=2)),
        )
        for category, stage, on_path_ps in spent
    ]
    return sorted(found, key=lambda saving: (-saving.free_saves_ps, -saving.on_path_ps))
