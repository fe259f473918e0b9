"""Which blocks a pipeline stage holds."""

from __future__ import annotations

import numpy as np

from workloads.workload import Workload

from ..kernels.optable import Floats, Ints
from ..lowering import stage_repeats
from ..stack import Stack


def stage_blocks(workload: Workload, stack: Stack, pp: Ints) -> Floats:
    """Repeats of every layer on the first, a middle and the last stage; shape (S, R, G).

    Most stacks cut even (`stage_repeats`), and count blocks of every kind: two dense ones before ten of experts are
    twelve, and fill the stages in order. One that cuts by cost fills stages in order until each has its share of the
    parameters in blocks and head: the first hold ceil((n + h) / p) of the n blocks, with h the head's cost in blocks,
    and the last what is left; its embedding is free.
    """
    repeats = np.array([layer.repeat for layer in workload.layers], dtype=np.int64)
    result = stage_repeats(repeats, pp).astype(float)
    spread = int(np.argmax(repeats))
    kinds = [i for i, layer in enumerate(workload.layers) if layer.kind == "block"]
    if workload.splits_tensors and len(kinds) > 1 and kinds[-1] - kinds[0] == len(kinds) - 1:
        result[:, :, kinds] = np.where((pp > 1)[:, None, None], _in_order(repeats[kinds], pp), result[:, :, kinds])
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


def _in_order(repeats: Ints, pp: Ints) -> Floats:
    """Blocks of several kinds on the first, the second and the last stage, filled in their order; shape (S, R, K)."""
    quota = stage_repeats(np.array([repeats.sum()]), pp)[:, :, 0]
    end = np.cumsum(repeats)
    begin = end - repeats
    start = np.stack([np.zeros_like(pp), quota[:, 0], repeats.sum() - quota[:, 2]], axis=1)
    stop = start + quota
    inside = np.minimum(end, stop[:, :, None]) - np.maximum(begin, start[:, :, None])
    return np.asarray(np.maximum(inside, 0), dtype=np.float64)
