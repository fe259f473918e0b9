"""Measured products and convolutions on many-core CPUs (DeepBench's Xeon Phi sheets).

DeepBench loops a call and divides, and its sheet keeps the better of two libraries; what a loop adds is inside the
model's start and join of the threads. Convolution times are printed in steps of 10 us.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hwmodels.catalog import chip as chip_by_id
from hwmodels.catalog import resolve_chip
from simulator.kernels.cpu import cpu_gemm_time
from simulator.kernels.cpu_conv import SPECS, CpuConvShapes, cpu_conv_time
from simulator.kernels.gemm import GemmShapes
from simulator.kernels.kernel_time import KernelTime
from simulator.kernels.optable import Floats
from simulator.kernels.settings import Settings

from .family import Family, Row, RowError, Values, check_product, column, extent

GEMM_COLUMNS: Final = ("batch", "m", "n", "k")
CONV_COLUMNS: Final = (
    "conv_n", "conv_c", "conv_h", "conv_w", "conv_k", "filt_h", "filt_w", "pad_h", "pad_w", "stride_h", "stride_w",
)  # fmt: skip
#: Words of the column `pass`, in the order of `CpuConvShapes.direction`.
PASSES: Final = ("fwd", "bwd_data", "bwd_weights")


@dataclass(frozen=True, kw_only=True)
class CpuShapes:
    """Products and convolutions in the order of the rows; ``is_conv`` has shape (rows,), the others as many as it
    says."""

    is_conv: NDArray[np.bool_]
    gemm: GemmShapes
    conv: CpuConvShapes


def check(row: Row) -> None:
    """Refuse a row that is not a product or a convolution on a CPU, with one line that says why."""
    chips = [chip_by_id(name) for name in resolve_chip(row.get("chip", ""))]
    if any(chip.kind != "cpu" for chip in chips):
        kinds = ", ".join(sorted({chip.kind for chip in chips}))
        raise RowError(f"chip {row.get('chip')!r} is of kind {kinds}; this suite prices kind cpu.")
    if row.get("kernel") != "conv":
        check_product(row)
        return
    for name in ("conv_n", "conv_c", "conv_h", "conv_w", "conv_k", "filt_h", "filt_w"):
        extent(row, name)
    extent(row, "stride_h", default=1.0)
    extent(row, "stride_w", default=1.0)
    for name in ("pad_h", "pad_w"):
        if (row.get(name) or "0") not in ("0", "0.0"):
            extent(row, name)
    if (row.get("pass") or "fwd") not in PASSES:
        raise RowError(f"pass is {row.get('pass')!r}; one of {', '.join(PASSES)}.")
    x = _conv([row])
    if x.h_out[0] < 1.0 or x.w_out[0] < 1.0:
        raise RowError("the filter is larger than the padded image; no result is left.")


def _conv(rows: Sequence[Row]) -> CpuConvShapes:
    return CpuConvShapes(
        n=column(rows, "conv_n"), c=column(rows, "conv_c"), h=column(rows, "conv_h"), w=column(rows, "conv_w"),
        k=column(rows, "conv_k"), r=column(rows, "filt_h"), s=column(rows, "filt_w"),
        pad_h=column(rows, "pad_h", 0.0), pad_w=column(rows, "pad_w", 0.0),
        stride_h=column(rows, "stride_h"), stride_w=column(rows, "stride_w"),
        direction=np.array([PASSES.index(row.get("pass") or "fwd") for row in rows], dtype=np.int64),
    )  # fmt: skip


def read(rows: Sequence[Row]) -> CpuShapes:
    """Rows that passed `check`, as arrays of shapes."""
    is_conv = np.array([row.get("kernel") == "conv" for row in rows], dtype=bool)
    products = [row for row in rows if row.get("kernel") != "conv"]
    gemm = GemmShapes(
        batch=column(products, "batch"), m=column(products, "m"), n=column(products, "n"), k=column(products, "k")
    )
    return CpuShapes(is_conv=is_conv, gemm=gemm, conv=_conv([row for row in rows if row.get("kernel") == "conv"]))


def time(shapes: CpuShapes, settings: Settings, values: Values) -> KernelTime:
    """Device time of the rows, in their order."""
    pieces: list[tuple[NDArray[np.bool_], KernelTime]] = []
    for mine, conv in ((~shapes.is_conv, False), (shapes.is_conv, True)):
        if mine.any():
            part = {name: np.asarray(value)[mine] for name, value in values.items()}
            some = settings.take(mine)
            pieces.append(
                (mine, cpu_conv_time(shapes.conv, some, part) if conv else cpu_gemm_time(shapes.gemm, some, part))
            )

    def gather(arrays: Sequence[Floats]) -> Floats:
        out = np.zeros(settings.rows)
        for (mine, _), array in zip(pieces, arrays, strict=True):
            out[mine] = array
        return out

    names = list(pieces[0][1].parts) if pieces else []
    algorithm = np.full(settings.rows, "blocks", dtype=object)
    for mine, piece in pieces:
        if piece.algorithm:
            algorithm[mine] = piece.algorithm
    return KernelTime(
        device_s=gather([piece.device_s for _, piece in pieces]),
        bound_s=gather([piece.bound_s for _, piece in pieces]),
        flop=gather([piece.flop for _, piece in pieces]),
        dram_byte=gather([piece.dram_byte for _, piece in pieces]),
        cache_byte=gather([piece.cache_byte for _, piece in pieces]),
        parts={name: gather([piece.parts[name] for _, piece in pieces]) for name in names},
        algorithm=tuple(algorithm),
    )


def observed_s(shapes: CpuShapes, settings: Settings, values: Values) -> Floats:
    """What DeepBench would print: the device's time, its loop hides the rest; shape (rows,) [s]."""
    return time(shapes, settings, values).device_s


FAMILY: Final = Family(
    kernels=("gemm", "bmm", "conv"),
    kinds=("cpu",),
    columns=(*GEMM_COLUMNS, *CONV_COLUMNS),
    specs=SPECS,
    check=check,
    read=read,
    time=time,
    observed_s=observed_s,
)
