"""What forward passes alone need in a chip's memory: weights and what is alive, no gradient, no state, nothing kept."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from workloads.workload import Workload

from ..kernels.optable import Floats, Ints
from ..lowering import Context
from .columns import MemoryColumns
from .layer_sums import LayerSums
from .peak import stage_memory

#: Places of `MOMENTS` that forward passes have: in the passes, at the loss.
_PASSES, _LOSS = 0, 2


def forward_memory(workload: Workload, context: Context, columns: Mapping[str, Ints]) -> MemoryColumns:
    """Memory of the forward passes of many strategies by purpose, on the fullest stage of each.

    ============  ======================================================================= =====
    parameters    as in training, those of ZeRO-3 spread (`stage_memory`)                  [B]
    activations   the input of a block (its residual) and the widest input and output of
                  one op, storage x micro-batch / (tp, cp); scores of unfused attention    [B]
    loss          logits and their softmax, at the head                                    [B]
    transient     gathered parameters (ZeRO-3)                                             [B]
    exchange      activations at stage boundaries, keys and values of a ring               [B]
    ============  ======================================================================= =====

    One micro-batch is alive on a stage whatever the schedule, since nothing waits for a backward pass. ``columns`` as
    in `stage_memory`. Leaves out: workspace beyond the stack's reserve.
    """
    held = stage_memory(workload, context, columns, frozen=True)
    alive, logits = _alive(workload, context, columns, np.asarray(held.present))
    none = np.zeros_like(held.parameter_byte)
    activation, loss = none.copy(), none.copy()
    activation[:, :, _PASSES], activation[:, :, _LOSS] = alive, alive
    loss[:, :, _LOSS] = logits
    # What is gathered stands alone at the loss; in the passes gradients on their way would be added to it.
    transient = np.repeat(held.transient_byte[:, :, _LOSS : _LOSS + 1], none.shape[2], axis=2)
    values = {f: getattr(held, f) for f in held.__dataclass_fields__}
    purposes = {"activation_byte": activation, "loss_byte": loss, "transient_byte": transient}
    learning = dict.fromkeys(("gradient_byte", "master_byte", "optimizer_byte"), none)
    return type(held)(**{**values, **purposes, **learning}).peak()


def _alive(
    workload: Workload, context: Context, columns: Mapping[str, Ints], present: Floats
) -> tuple[Floats, Floats]:  # fmt: skip
    """Live activations of the passes and logits at the loss, on every role; shape (S, R) each [B]."""
    stack, recipe = context.stack, context.recipe
    tp, cp = columns["tp"].astype(float), columns["cp"].astype(float)
    sequence = np.where(columns["sequence_parallel"] > 0, tp, 1.0)
    samples = columns["micro_batch"] / cp
    unfused = stack.attention == "unfused" or stack.keeps_scores
    widest, logits = np.zeros(len(tp)), np.zeros(len(tp))
    for layer in workload.layers:
        one = LayerSums.of(layer)
        live = one.input_elements / sequence + one.widest_gradients(tp)
        live = live + (one.scores / tp if unfused else 0.0)
        widest = np.maximum(widest, recipe.storage_byte * samples * live)
        # Logits as the head writes them, and what the softmax makes of them in fp32.
        logits = np.maximum(logits, (recipe.storage_byte + 4.0) * samples * one.logits / tp)
    ends = present * np.where(columns["pp"] > 1, 0, 1)[:, None]
    last = np.where((columns["pp"] > 1)[:, None], np.array([0.0, 0.0, 1.0]), ends)
    return widest[:, None] * (present > 0), logits[:, None] * last
