"""Which blocks a pipeline stage holds."""

from __future__ import annotations

import numpy as np

from workloads.workload import Workload

from ..kernels.optable import Floats, Ints
from ..lowering import stage_repeats
from ..stack import Stack


def stage_blocks(workload: Workload, stack: Stack, pp: Ints) -> Floats:
    """Repeats of every layer on the first, a middle and the last stage; shape (S, R, G).

    Most stacks cut even (`stage_repeats`). One that cuts by cost fills stages in order until each has its share of the
    parameters in blocks and head: the first hold ceil((n + h) / p) of the n blocks, with h the head's cost in blocks,
    and the last what is left; its embedding is free.
    """
    repeats = np.array([layer.repeat for layer in workload.layers], dtype=np.int64)
    result = stage_repeats(repeats, pp).astype(float)
    spread = int(np.argmax(repeats))
    if not stack.cuts_by_cost or repeats[spread] < 2:
        return result
    blocks = float(repeats[spread])
    after = sum(op.parameters for layer in workload.layers[spread + 1 :] for op in layer.ops)
    head = after / max(workload.layers[spread].parameters, 1)
    each = np.minimum(np.ceil((blocks + head) / pp - 1e-6), blocks)
    result[:, 0, spread] = np.where(pp > 1, each, blocks)
    result[:, 1, spread] = np.where(pp > 2, np.minimum(each, np.maximum(blocks - each, 0.0)), 0.0)
    result[:, 2, spread] = np.where(pp > 1, np.maximum(blocks - each * (pp - 1), 0.0), 0.0)
    return result
