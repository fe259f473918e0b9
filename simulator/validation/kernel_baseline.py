"""The yardstick of kernel predictions: the bare roofline, data-sheet rates, the direct algorithm's work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from simulator.kernels.optable import Floats
from simulator.kernels.settings import Setting

from .kernel_suites.family import Row

#: Tensors of a whole array that an element-wise op reads and writes.
_TENSORS: Final = {"add": 3.0, "mul": 3.0, "div": 3.0}
#: FLOPs of a pass against those of the forward pass, for fused attention (two products forward, five backward).
_ATTENTION_PASS: Final = {"fwd": 1.0, "bwd": 2.5, "fwd+bwd": 3.5}
_GATES: Final = {"vanilla": 1.0, "gru": 3.0, "lstm": 4.0}


def roofline_s(rows: Sequence[Row], settings: Sequence[Setting]) -> Floats:
    """Seconds of the bare roofline,

    .. math:: t = \\max(F / P, B / \\beta)

    with the direct algorithm's FLOPs F, the peak P of the row's precision, every operand moved once (B) and the nominal
    bandwidth of the main memory. Knows no tiles, launches, caches or clocks. Returns shape (rows,).
    """
    times = []
    for row, setting in zip(rows, settings, strict=True):
        flop, elements = work_of(row)
        peak, bandwidth = setting.peak_flop_per_s, setting.chip.memory_bandwidth_byte_per_s
        times.append(max(flop / peak, elements * setting.element_byte / bandwidth, 1e-9))
    return np.array(times)


def work_of(row: Row) -> tuple[float, float]:
    """FLOPs and elements moved of a row's direct algorithm."""
    kernel = row["kernel"]

    def size(column: str, default: float = 1.0) -> float:
        return float(row.get(column) or default)

    if kernel in ("gemm", "bmm", "sparse_gemm"):
        batch, m, n, k = (size(c) for c in ("batch", "m", "n", "k"))
        density = 1.0 - size("sparsity", 0.0)
        return 2.0 * batch * m * n * k * density, batch * (density * m * k + k * n + m * n)
    if kernel == "conv":
        images, channels, filters = size("conv_n"), size("conv_c"), size("conv_k")
        high = (size("conv_h") + 2 * size("pad_h", 0.0) - size("filt_h")) // size("stride_h") + 1
        wide = (size("conv_w") + 2 * size("pad_w", 0.0) - size("filt_w")) // size("stride_w") + 1
        taps = channels * size("filt_h") * size("filt_w") * filters
        moved = images * channels * size("conv_h") * size("conv_w") + taps + images * filters * high * wide
        return 2.0 * images * high * wide * taps, moved
    if kernel == "rnn":
        hidden, batch, steps = size("hidden"), size("batch"), size("timesteps")
        gates = _GATES.get(row.get("rnn_type", ""), 4.0)
        passes = 1.0 if row.get("pass") == "fwd" else 2.0
        return passes * 4.0 * gates * hidden * hidden * batch * steps, 2.0 * gates * hidden * hidden
    if kernel == "attention":
        batch, heads, length, depth = (size(c) for c in ("batch", "heads", "seq_len", "head_dim"))
        half = 0.5 if size("causal", 0.0) else 1.0
        scale = _ATTENTION_PASS.get(row.get("pass", ""), 1.0)
        return 4.0 * half * scale * batch * heads * length**2 * depth, 4.0 * scale * batch * heads * length * depth
    elements = size("rows") * size("cols")
    return 0.0, _TENSORS.get(row.get("op", ""), 2.0) * elements
