"""Rows of kernels as arrays: what `partition` produces and the chip models price.

Every row is one kernel (or a run of like kernels) of one pass of one block, for one shape of the work
(micro-batch, tensor- and context-parallel degree). Columns are plain arrays of one length, so that a whole
search prices at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Kinds of rows. MATRIX and CONV are products on the matrix (or fused multiply-add) units, ATTENTION is a fused
#: attention kernel, VECTOR moves bytes, THIN is a convolution of groups of few channels, which moves bytes too,
#: RECURRENT a library's call on a recurrent layer, whose rate is its own kernel model's. SCAN is a product of two
#: activations inside a chunked scan (Mamba-2, gated linear attention), which kernels written in Triton run.
MATRIX: Final = 0
CONV: Final = 1
ATTENTION: Final = 2
VECTOR: Final = 3
THIN: Final = 4
RECURRENT: Final = 5
SCAN: Final = 6

#: What a kernel model adds to the nominal work of products, convolutions and fused attention: `kernel_time.PARTS`
#: without the start.
LOSSES: Final = ("algorithm", "padding", "waves", "depth", "clock", "library", "steps", "memory")

#: Passes. BACKWARD is that of the gradients of activations, WEIGHTS that of the gradients of parameters; together they
#: are the backward pass. REPLAY is what selective recomputation repeats (the attention core). UNREAD is what a full
#: replay that stops early leaves out; it stands under FORWARD too.
FORWARD: Final = 0
BACKWARD: Final = 1
REPLAY: Final = 2
WEIGHTS: Final = 3
UNREAD: Final = 4
PASSES: Final = 5

#: Rate words of products, in the order `rate` indexes.
RATES: Final = ("matmul", "plain")


@dataclass(frozen=True, kw_only=True, eq=False)
class OpTable:
    """Kernels to price, column by column; every column has shape (rows,).

    ``shape`` and ``block`` say whose time the row adds to and ``phase`` in which pass; ``rate`` is 0 for the
    recipe's product rate ("matmul") and 1 for its storage precision ("plain"). ``flop`` is the nominal work
    [FLOP]; ``work`` the device time that the kernel model gives it, start apart, times the peak [FLOP]; ``lost``, of
    shape (rows, len(LOSSES)), what of it is lost to what [FLOP]: work = flop + sum of lost. ``byte`` is the memory
    traffic [B]; ``launches`` the kernels that start one after the other on the device, ``issued`` those that the host
    issues: more where kernels run side by side on several streams.
    """

    shape: Ints
    block: Ints
    phase: Ints
    kind: Ints
    rate: Ints
    flop: Floats
    work: Floats
    lost: Floats
    byte: Floats
    launches: Floats
    issued: Floats

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.shape)


def concatenate(tables: Sequence[OpTable]) -> OpTable:
    """Put tables one after the other; shape indices must already be disjoint where they should be."""
    return OpTable(**{f.name: np.concatenate([getattr(t, f.name) for t in tables]) for f in fields(OpTable)})
