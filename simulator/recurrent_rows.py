"""Rows of recurrent layers (a first form: a chain of one product a step)."""

from __future__ import annotations

from workloads.op import CELLS, Op

from .kernels.optable import BACKWARD, FORWARD, MATRIX, WEIGHTS
from .priced_rows import Rows


def add_recurrent(rows: Rows, block: int, op: Op) -> None:
    """Forward, data gradient and parameter gradient of one recurrent layer."""
    micro_batch, wide = rows.shapes.micro_batch, float(CELLS[op.cell] * op.n)
    steps = float(op.seq_len)
    inner = float(op.k + op.n)
    rows.product(block=block, phase=FORWARD, kind=MATRIX, rate=0, batch=steps, m=micro_batch, n=wide, k=inner)
    rows.product(block=block, phase=BACKWARD, kind=MATRIX, rate=0, batch=steps, m=micro_batch, n=inner, k=wide)
    rows.product(block=block, phase=WEIGHTS, kind=MATRIX, rate=0, batch=1.0, m=inner, n=wide, k=micro_batch * steps)
