"""Degraded links and cards: what crosses them takes longer, and with it whoever waits for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from simulator.events.misfortune.laws import MisfortuneError
from simulator.stepspec import BlockSpec, StageSpec, StepSpec

#: What exchanges of each kind are called: inside layers, of gradients and parameters, between pipeline stages.
AXES: Final = ("tensor", "data", "pipeline")


@dataclass(frozen=True, kw_only=True)
class Degraded:
    """A link or card that lets through 1 / ``factor`` of its bytes, on the way of one kind of exchange.

    A ring or tree is one coupled flow and goes at the pace of its slowest hop: all of its time is multiplied. ``stage``
    None: in every stage. Leaves out that latency is not divided by bandwidth (short messages suffer less), and, with
    jitter, that one group has the bad link and not all alike: the step waits for that group anyway.
    """

    axis: str
    factor: float
    stage: int | None = None

    def __post_init__(self) -> None:
        if self.axis not in AXES:
            raise MisfortuneError(f"Degraded: {self.axis!r} is no kind of exchange; legal: {', '.join(AXES)}.")
        if not (math.isfinite(self.factor) and self.factor >= 1):
            raise MisfortuneError(f"Degraded: the factor is {self.factor:g}; legal: 1 or more.")
        if self.stage is not None and self.axis == "pipeline":
            raise MisfortuneError("Degraded: sends between stages have one price; legal: pipeline without a stage.")


def degraded(spec: StepSpec, links: Sequence[Degraded]) -> StepSpec:
    """The step with its exchanges on those links. Several on one way: the slowest counts.

    Raises
    ------
    MisfortuneError
        For a stage that is not there.
    """
    for link in links:
        if link.stage is not None and not 0 <= link.stage < len(spec.stages):
            raise MisfortuneError(f"Degraded: there is no stage {link.stage}; legal: 0 to {len(spec.stages) - 1}.")
    pipeline = max([link.factor for link in links if link.axis == "pipeline"], default=1.0)
    stages = []
    for place, stage in enumerate(spec.stages):
        here = [link for link in links if link.stage in (None, place)]
        tensor, data = (max([link.factor for link in here if link.axis == axis], default=1.0) for axis in AXES[:2])
        stages.append(_stage(stage, tensor, data))
    return replace(spec, stages=tuple(stages), send_ps=_times(spec.send_ps, pipeline))


def _times(duration_ps: int, factor: float) -> int:
    return duration_ps if factor == 1 else round(duration_ps * factor)


def _stage(stage: StageSpec, tensor: float, data: float) -> StageSpec:
    if tensor == data == 1:
        return stage
    return replace(
        stage,
        chunks=tuple(tuple(_block(block, tensor, data) for block in chunk) for chunk in stage.chunks),
        reduce_after_ps=_times(stage.reduce_after_ps, data),
        update_gather_ps=_times(stage.update_gather_ps, data),
    )


def _block(block: BlockSpec, tensor: float, data: float) -> BlockSpec:
    return replace(
        block,
        forward_tensor_ps=_times(block.forward_tensor_ps, tensor),
        backward_tensor_ps=_times(block.backward_tensor_ps, tensor),
        gather_ps=_times(block.gather_ps, data),
        reduce_ps=_times(block.reduce_ps, data),
    )
