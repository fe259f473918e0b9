"""Why a simulated step takes as long as it does: its critical path, what each resource would save, what is hidden."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .errors import InputError
from .events import (
    CauseError,
    CriticalPath,
    Overlap,
    Saving,
    Surroundings,
    Timeline,
    critical_path,
    overlap,
    savings,
    simulate,
)
from .stepspec import StepSpec

#: Slices that an explanation records at most; a step of more is shown pass by pass, not block by block.
MOST_SLICES: Final = 2_000_000


@dataclass(frozen=True, kw_only=True)
class StepExplanation:
    """The critical path of a step, what its resources would save, and the overlap on every role.

    ``every_block``: all passes were recorded block by block, not the first and the last micro-batch's only.
    """

    step_ps: int
    path: CriticalPath
    savings: tuple[Saving, ...]
    overlaps: tuple[Overlap, ...]
    role_names: tuple[str, ...]
    every_block: bool


def explain_step(
    spec: StepSpec, around: Surroundings | None = None, *, most_slices: int = MOST_SLICES
) -> StepExplanation:
    """Explain one step: simulate it once with all that ran recorded, and again with each resource faster.

    `around` is what the step runs under, as for `simulate`.

    Raises
    ------
    InputError
        For a step of too many slices to record, or one that chance delays: what waits for a delay has no cause.
    """
    for every_block in (True, False):
        timeline = Timeline(every_block=every_block, most=most_slices)
        step_ps = simulate(spec, around, timeline=timeline).total_ps
        if not timeline.left_out:
            break
    else:
        raise InputError(
            f"--explain: the step has {len(timeline.slices) + timeline.left_out:,} pieces; legal: up to "
            f"{most_slices:,}. Give it fewer micro-batches, as with a larger --set micro_batch=N."
        )
    try:
        path = critical_path(timeline, step_ps=step_ps)
    except CauseError as error:
        if around is None or around.delays is None:
            raise
        raise InputError(f"--explain: the step was delayed by chance, and so {error}") from None
    stage_of = None if around is None or around.roles is None else [role.stage for role in around.roles.roles]
    saved = savings(spec, path, lambda changed: simulate(changed, around).total_ps, stage_of=stage_of)
    begin_ps = timeline.end_ps - step_ps
    return StepExplanation(
        step_ps=step_ps,
        path=path,
        savings=tuple(saved),
        overlaps=tuple(overlap(timeline, stage, begin_ps=begin_ps) for stage in timeline.stages),
        role_names=tuple(timeline.stage_names.get(stage, "") for stage in timeline.stages),
        every_block=every_block,
    )
