"""Rows of products of two activations, chunked scans among them, and what grouped products of experts take in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from workloads.op import Op

from .kernels.optable import BACKWARD, FORWARD, MATRIX, SCAN
from .priced_rows import Rows


def fused_activations(ops: Sequence[Op]) -> tuple[int, ...]:
    """Places of the gated activations between two products of experts: what a fused grouped MLP takes in.

    Such kernels have no biases.
    """
    return tuple(
        i
        for i in range(1, len(ops) - 1)
        if all(op.experts and op.parameters == op.experts * op.n * op.k for op in (ops[i - 1], ops[i + 1]))
        and ops[i].read_elements == 2 * ops[i].write_elements
    )


def is_scan(op: Op) -> bool:
    """Whether an op is a product inside a chunked scan: of two activations, neither of which is kept."""
    return op.kind == "gemm" and op.batch > 1 and not op.parameters and op.split == "heads" and not op.saved_elements


def add_activation_product(rows: Rows, block: int, op: Op) -> None:
    """A product of two activations: in storage precision, not cast; each is the other's gradient's operand.

    Inside a chunked scan nothing is kept: the backward pass computes it again.
    """
    s = rows.shapes
    scan = is_scan(op)
    batch = float(op.batch) / (s.tp if op.split == "heads" else 1.0)
    m = s.micro_batch * np.maximum(op.m / s.cp, 1.0)
    n, k, kind = float(op.n), float(op.k), SCAN if scan else MATRIX
    rows.product(block=block, phase=FORWARD, kind=kind, rate=1, batch=batch, m=m, n=n, k=k)
    if not (op.trainable or op.input_needs_gradient):
        return
    if scan:
        rows.product(block=block, phase=BACKWARD, kind=kind, rate=1, batch=batch, m=m, n=n, k=k)
    rows.product(block=block, phase=BACKWARD, kind=kind, rate=1, batch=batch, m=m, n=k, k=n)
    rows.product(block=block, phase=BACKWARD, kind=kind, rate=1, batch=batch, m=k, n=n, k=m)
