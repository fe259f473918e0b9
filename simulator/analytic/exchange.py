"""When gradients are exchanged: by the roles of stages, and by rank where ranks are followed one by one."""

from __future__ import annotations

import numpy as np

from ..kernels.optable import Ints
from ..stepspec import GRADIENT_MODES
from .layers import RoleBlocks, by_role
from .steps import StepBatch

_BACKWARD = GRADIENT_MODES.index("backward")
_AFTER = GRADIENT_MODES.index("after")


def gradients_done(steps: StepBatch, blocks: RoleBlocks, done: Ints) -> Ints:
    """When the last gradient is exchanged, modes "none", "after" and "backward"; (S,) [ps].

    ``done`` is when the last backward pass ends by role, (S, R); of the middle stages the first counts.
    """
    low = steps.lowered
    exposed = np.where((low.gradient_mode == _AFTER)[:, None], by_role(low, steps.reduce_after_ps), 0)
    rows = np.flatnonzero(low.gradient_mode == _BACKWARD)
    if len(rows):
        unit = (steps.backward_ps + steps.backward_tensor_ps)[rows][:, None, :]
        first = blocks.first[rows]
        left = not_hidden_ps(first, blocks.whole[rows] - first, unit, steps.reduce_ps[rows][:, None, :])
        # The exchange runs beside the send behind the last pass; the first stage sends nothing back.
        send = np.where(low.pp > 1, steps.send_ps, 0)[rows][:, None] * np.array([0, 1, 1])
        exposed[rows] = np.maximum(0, left - send)
    return np.asarray(np.max(np.where(low.role_stages > 0, done + exposed, 0), axis=1), dtype=np.int64)


def not_hidden_ps(last: Ints, others: Ints, unit: Ints, reduce_ps: Ints) -> Ints:
    """Exchange left when the last pass of stages ends; counts and durations (n, stages, G) -> (n, stages) [ps].

    ``last`` are the blocks of the chunk that runs last, each for ``unit``; gradients of the ``others`` are there
    when that pass begins. Within a run of like blocks the end of the stream is linear in the position, so that its
    maximum stands at the run's first or last block.
    """
    unit, reduce_ps = (np.broadcast_to(a, last.shape) for a in (unit, reduce_ps))
    to_come = np.sum(last * reduce_ps, axis=2)
    end = to_come + np.sum(others * reduce_ps, axis=2)
    ready = np.zeros_like(end)
    for block in range(last.shape[2] - 1, -1, -1):
        count, time, cost = last[:, :, block], unit[:, :, block], reduce_ps[:, :, block]
        some = count > 0
        at_first = ready + time + to_come
        at_last = ready + count * time + to_come - (count - 1) * cost
        end = np.where(some, np.maximum(end, np.maximum(at_first, at_last)), end)
        ready = ready + count * time
        to_come = to_come - count * cost
    return np.asarray(np.maximum(0, end - ready), dtype=np.int64)
