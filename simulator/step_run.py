"""One step on the event engine, watched: progress while it runs, and what is there when it is stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from .events import Timeline, simulate
from .events.watch import WatchedTimeline, passes_of_step
from .one_step import SimulatedStep

#: How often in a run progress is told.
_TOLD: Final = 500


@dataclass(frozen=True, kw_only=True)
class RanStep:
    """A step that ran to its end, or how far it came: ``passes_done`` of ``passes``, at ``reached_ps`` of its clock."""

    step: SimulatedStep
    stopped: bool = False
    reached_ps: int = 0
    passes_done: int = 0
    passes: int = 0


def run_step(
    step: SimulatedStep,
    *,
    traced: bool = False,
    every_block: bool = False,
    most_slices: int | None = None,
    told: Callable[[int], None] | None = None,
) -> RanStep:
    """Simulate a priced step, recorded as a `Timeline` says where `traced`; `told` hears how many passes are done.

    A keyboard interrupt ends the run, not the program: what was recorded until then comes back with ``stopped``, and
    without a step time.

    Raises
    ------
    ValueError
        For a step that nothing fits.
    """
    if step.spec is None:
        raise ValueError("run_step: there is no strategy to simulate.")
    timeline: Timeline | None = Timeline(every_block=every_block, most=most_slices) if traced else None
    passes = 0
    if told is not None:
        passes = passes_of_step(step.spec)
        each = max(1, passes // _TOLD)
        most = most_slices if traced else 0
        timeline = WatchedTimeline(told, every_block=every_block, most=most, each=each)
    kept = timeline if traced else None
    try:
        events = simulate(step.spec, step.around, timeline=timeline)
    except KeyboardInterrupt:
        watched = timeline if isinstance(timeline, WatchedTimeline) else None
        return RanStep(
            step=replace(step, timeline=kept),
            stopped=True,
            reached_ps=watched.reached_ps if watched else kept.end_ps if kept else 0,
            passes_done=watched.passes_done if watched else 0,
            passes=passes,
        )
    return RanStep(step=replace(step, events=events, timeline=kept), passes_done=passes, passes=passes)
