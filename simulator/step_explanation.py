"""Why a simulated step takes as long as it does: its critical path, what each resource would save, what is hidden."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from .errors import InputError
from .events import CauseError, CriticalPath, Overlap, Saving, Timeline, critical_path, overlap, savings, simulate
from .stepspec import StepSpec, StepTime

#: Slices that an explanation records at most; a step of more is shown pass by pass, not block by block.
MOST_SLICES: Final = 2_000_000

Run = Callable[..., StepTime]


@dataclass(frozen=True, kw_only=True)
class StepExplanation:
    """The critical path of a step, what its resources would save, and the overlap on every role.

    ``recorded``: the engine said what every slice waited for; else that was found by time.
    """

    step_ps: int
    path: CriticalPath
    savings: tuple[Saving, ...]
    overlaps: tuple[Overlap, ...]
    role_names: tuple[str, ...]
    recorded: bool
    every_block: bool


def explain_step(spec: StepSpec, *, run: Run = simulate, most_slices: int = MOST_SLICES) -> StepExplanation:
    """Explain one step: simulate it once with all that ran recorded, and again with each resource faster.

    `run` is the engine, called as `simulate` is; give it what else the step depends on.

    Raises
    ------
    InputError
        For a step of too many passes to record.
    """
    for every_block in (True, False):
        timeline = Timeline(every_block=every_block, most=most_slices)
        step_ps = run(spec, timeline=timeline).total_ps
        if not timeline.left_out:
            break
    else:
        raise InputError(
            f"--explain: the step has {len(timeline.slices) + timeline.left_out:,} slices; legal: up to "
            f"{most_slices:,}. Give it fewer micro-batches, as --set micro_batch=N larger."
        )
    try:
        path = critical_path(timeline, step_ps=step_ps)
    except CauseError as error:
        if every_block:
            raise
        raise InputError(
            f"--explain: the step is too long to be recorded block by block, and pass by pass {error}"
        ) from None
    begin_ps = timeline.end_ps - step_ps
    return StepExplanation(
        step_ps=step_ps,
        path=path,
        savings=tuple(savings(spec, path, lambda changed: run(changed).total_ps)),
        overlaps=tuple(overlap(timeline, stage, begin_ps=begin_ps) for stage in timeline.stages),
        role_names=tuple(timeline.stage_names.get(stage, "") for stage in timeline.stages),
        recorded=any(item.cause >= 0 for item in timeline.slices),
        every_block=every_block,
    )
