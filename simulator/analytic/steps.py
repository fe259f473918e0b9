"""Priced strategies as columns of whole picoseconds, and the step times that come of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..constants import Constants
from ..kernels.optable import Floats, Ints
from ..lowering import Lowered
from ..pricing import price, ticks
from ..stepspec import (
    BLOCK_DURATIONS,
    GRADIENT_MODES,
    PARTS,
    PICOSECONDS_PER_SECOND,
    SCHEDULES,
    BlockSpec,
    StageSpec,
    StepSpec,
    StepTime,
)
from ..traffic import Traffic
from .layers import by_stage, given_layers, roles_of, stage_layers

_ROLE_NAMES = ("first", "middle", "last")


@dataclass(frozen=True, kw_only=True)
class StepBatch:
    """Priced strategies in whole picoseconds: what many `StepSpec` hold, as columns.

    Strategies in the mapping ``lowered.stage_layers`` (strategy -> blocks of every stage, (p, G), or with chunks
    (p, v, G)) have their stages given one by one; the others by the three roles. With ``forward_only`` nothing learns
    (`simulator.analytic.forward`).
    """

    lowered: Lowered
    forward_ps: Ints  # (S, G)
    backward_ps: Ints
    forward_tensor_ps: Ints
    backward_tensor_ps: Ints
    gather_ps: Ints
    reduce_ps: Ints
    weight_ps: Ints
    send_ps: Ints  # (S,)
    fixed_ps: Ints
    reduce_after_ps: Ints  # (S, R)
    optimizer_ps: Ints
    update_gather_ps: Ints
    forward_only: bool = False

    def spec(self, index: int) -> StepSpec:
        """One strategy as a `StepSpec`, for the event engine and for reading."""
        low = self.lowered
        rows = np.array([index])
        layers = stage_layers(low, rows)
        after, optimizer, gather = (
            by_stage(low, rows, layers, duration)[0]
            for duration in (self.reduce_after_ps, self.optimizer_ps, self.update_gather_ps)
        )
        roles = [f" ({_ROLE_NAMES[role]})" for role in roles_of(layers.shape[1])]
        if index in given_layers(low):
            roles = [""] * len(roles)
        stages = tuple(
            StageSpec(
                name=f"stage {i}{roles[i]}" if len(roles) > 1 else "stage 0",
                chunks=tuple(
                    tuple(self._block(index, g, int(count)) for g, count in enumerate(chunk) if count)
                    for chunk in layers[0, i]
                ),
                reduce_after_ps=int(after[i]), optimizer_ps=int(optimizer[i]), update_gather_ps=int(gather[i]),
            )
            for i in range(len(roles))
        )  # fmt: skip
        return StepSpec(
            stages=stages, micro_batches=int(low.micro_batches[index]),
            schedule=SCHEDULES[low.schedule[index]], gradient_mode=GRADIENT_MODES[low.gradient_mode[index]],
            send_ps=int(self.send_ps[index]), fixed_ps=int(self.fixed_ps[index]), forward_only=self.forward_only,
        )  # fmt: skip

    def _block(self, index: int, block: int, repeat: int) -> BlockSpec:
        low = self.lowered
        name = low.block_names[block] if block < len(low.block_names) else f"block {block}"
        values = {duration: int(getattr(self, duration)[index, block]) for duration in BLOCK_DURATIONS}
        return BlockSpec(name=name, repeat=repeat, **values)


@dataclass(frozen=True, kw_only=True)
class StepTimes:
    """Step times of a batch; every field has shape (S,) [ps]. Parts as in `StepTime`."""

    compute_ps: Ints
    tensor_ps: Ints
    pipeline_ps: Ints
    bubble_ps: Ints
    data_ps: Ints
    optimizer_ps: Ints
    fixed_ps: Ints

    @property
    def total_ps(self) -> Ints:
        """Length of every step [ps]."""
        return np.asarray(sum(getattr(self, f"{part}_ps") for part in PARTS), dtype=np.int64)

    @property
    def total_s(self) -> Floats:
        """Length of every step [s]."""
        return np.asarray(self.total_ps / PICOSECONDS_PER_SECOND)

    def __getitem__(self, index: int) -> StepTime:
        return StepTime(engine="analytic", **{f"{part}_ps": int(getattr(self, f"{part}_ps")[index]) for part in PARTS})


def batch(
    lowered: Lowered, constants: Constants, traffic: Traffic | None = None, *, contention: bool = True
) -> StepBatch:
    """Price lowered strategies and round their durations to picoseconds, once; see `pricing.price`."""
    d = price(lowered, constants, traffic, contention=contention)
    names = (
        "forward", "backward", "forward_tensor", "backward_tensor", "gather", "reduce", "send", "fixed",
        "reduce_after", "optimizer", "update_gather",
    )  # fmt: skip
    columns: dict[str, Any] = {f"{name}_ps": ticks(getattr(d, f"{name}_s")) for name in names}
    weight_s: Floats | None = getattr(d, "weight_s", None)
    # Of the two products of a backward pass one is for weights.
    weight_ps = columns["backward_ps"] // 2 if weight_s is None else ticks(weight_s)
    return StepBatch(lowered=lowered, weight_ps=np.minimum(weight_ps, columns["backward_ps"]), **columns)
