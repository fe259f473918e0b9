"""Step times of batches: the closed form by roles, and the longest path where there is none."""

from __future__ import annotations

import numpy as np

from ..constants import Constants
from ..kept import once_per_object
from ..kernels.optable import Ints
from ..lowering import Lowered
from ..stepspec import GRADIENT_MODES, PARTS, SCHEDULES
from ..traffic import Traffic
from .chains import chains_done, gpipe_done, role_passes, stage_sum
from .exchange import gradients_done
from .layers import alike_in_the_middle, by_role, given_layers, role_blocks, stage_layers
from .paths import path_times
from .sharded import sharded_ps
from .steps import StepBatch, StepTimes, batch

_SHARDED = GRADIENT_MODES.index("sharded")
_GPIPE = SCHEDULES.index("gpipe")
_CLOSED = tuple(SCHEDULES.index(word) for word in ("gpipe", "1f1b", "interleaved"))


def step_times(steps: StepBatch) -> StepTimes:
    """Every strategy's step time; see `composition.bound.bound` for the equations.

    1F1B, interleaved or not, and GPipe take the closed form, where all stages between the first and the last are alike;
    every other strategy the longest path through its schedule, exact for stages of any kind. In mode "sharded" there
    is one stage, and no schedule but GPipe differs.
    """
    rows = _followed(steps.lowered)
    times = _in_closed_form(steps)
    if not len(rows):
        return times
    columns = {f"{part}_ps": getattr(times, f"{part}_ps").copy() for part in PARTS}
    path_times(steps, rows, columns)
    return StepTimes(**columns)


def evaluate(lowered: Lowered, constants: Constants, traffic: Traffic | None = None) -> StepTimes:
    """Price and compose in one call; ``traffic`` as in `pricing.price`."""
    return step_times(batch(lowered, constants, traffic))


@once_per_object
def _followed(low: Lowered) -> Ints:
    """Strategies without a closed form."""
    follow = ~np.isin(low.schedule, _CLOSED)
    for row in given_layers(low):
        follow[row] |= not alike_in_the_middle(stage_layers(low, np.array([row])))[0]
    return np.flatnonzero(follow & (low.gradient_mode != _SHARDED))


def _in_closed_form(steps: StepBatch) -> StepTimes:
    low, blocks = steps.lowered, role_blocks(steps.lowered)
    optimizer, update_gather = by_role(low, steps.optimizer_ps), by_role(low, steps.update_gather_ps)
    m = low.micro_batches
    passes = role_passes(steps, blocks)
    both = passes.forward + passes.backward
    present = low.role_stages > 0
    pace = np.argmax(np.where(present, both, -1), axis=1)
    rows = np.arange(low.strategies)
    busy = m * both[rows, pace]
    done = np.where((low.schedule == _GPIPE)[:, None], gpipe_done(low, passes), chains_done(low, passes))
    pipeline = done[:, 0]
    gradients = gradients_done(steps, blocks, done)
    sharded = np.flatnonzero(low.gradient_mode == _SHARDED)
    if len(sharded):
        gradients[sharded] = sharded_ps(steps, sharded)
    compute = m * stage_sum(blocks.whole, steps.forward_ps + steps.backward_ps)[rows, pace]
    tensor = m * stage_sum(blocks.whole, steps.forward_tensor_ps + steps.backward_tensor_ps)[rows, pace]
    return StepTimes(
        compute_ps=compute, tensor_ps=tensor, pipeline_ps=busy - compute - tensor,
        bubble_ps=pipeline - busy, data_ps=gradients - pipeline,
        optimizer_ps=np.max(np.where(present, optimizer, 0), axis=1)
        + np.max(np.where(present, update_gather, 0), axis=1),
        fixed_ps=steps.fixed_ps,
    )  # fmt: skip
