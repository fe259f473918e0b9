"""Measured matrix products on matrix units: XLA's tables, DeepGEMM, LLMCompass, best shapes of many chips, DeepBench.

XLA's tables and DeepGEMM print times of kernels, DeepBench loops a call and divides: their start and end are the
kernel's own ramp. LLMCompass times single calls from the host; its rows name their library "torch" without a release.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from hwmodels.catalog import chip as chip_by_id
from hwmodels.catalog import resolve_chip
from simulator.kernels.gemm import GemmShapes
from simulator.kernels.gemm_matrix import gemm_matrix_time
from simulator.kernels.kernel_constants import KernelSpec
from simulator.kernels.kernel_time import KernelTime
from simulator.kernels.matrix_units import SPECS as DEVICE_SPECS
from simulator.kernels.matrix_units import WORDS, on_matrix_units
from simulator.kernels.optable import Floats
from simulator.kernels.settings import PRECISION_WORDS, Settings

from .family import Family, Row, RowError, Values, check_layouts, check_product, column

COLUMNS: Final = ("batch", "m", "n", "k", "transA", "transB")
_HOST: Final = KernelSpec(
    name="matrix_host_floor_s", unit="s", prior=2.7e-5, low=1e-6, high=1e-4, spread=0.3,
    meaning="what timing one call from the host adds",
)  # fmt: skip
SPECS: Final[Mapping[str, KernelSpec]] = {**DEVICE_SPECS, _HOST.name: _HOST}


@dataclass(frozen=True, kw_only=True)
class MatrixRows:
    """Products; ``host_timed`` is 1 for single calls timed from the host, else 0, shape (rows,)."""

    gemm: GemmShapes
    host_timed: Floats


def check(row: Row) -> None:
    """Refuse a row that is no product on matrix units, with one line that says why."""
    check_product(row)
    check_layouts(row)
    precision = row.get("precision", "")
    if precision not in PRECISION_WORDS:
        raise RowError(f"precision {precision!r} is not known; one of {', '.join(PRECISION_WORDS)}.")
    chips = [chip_by_id(name) for name in resolve_chip(row.get("chip", ""))]
    if not any(on_matrix_units(chip, precision) for chip in chips):
        raise RowError(
            f"{precision} on {row.get('chip')!r} does not run on matrix units; this suite prices "
            f"{', '.join(WORDS)} on GPUs that have such units."
        )


def read(rows: Sequence[Row]) -> MatrixRows:
    """Shapes of rows that passed `check`. Rows that state transA are column-major (BLAS), the others row-major."""
    column_major = [bool(row.get("transA")) for row in rows]
    a_along_k = [row.get("transA") == "T" if blas else True for row, blas in zip(rows, column_major, strict=True)]
    b_along_k = [row.get("transB") != "T" if blas else False for row, blas in zip(rows, column_major, strict=True)]
    return MatrixRows(
        gemm=GemmShapes(
            batch=column(rows, "batch"),
            m=column(rows, "m"),
            n=column(rows, "n"),
            k=column(rows, "k"),
            a_along_k=np.array(a_along_k, dtype=np.float64),
            b_along_k=np.array(b_along_k, dtype=np.float64),
        ),
        host_timed=np.array([float((row.get("library") or "").strip() == "torch") for row in rows]),
    )


def time(shapes: MatrixRows, settings: Settings, values: Values) -> KernelTime:
    """Device time of the products."""
    return gemm_matrix_time(shapes.gemm, settings, values)


def observed_s(shapes: MatrixRows, settings: Settings, values: Values) -> Floats:
    """What the suite would have measured: the device's time, and the host's call where it is timed with it [s]."""
    device_s = time(shapes, settings, values).device_s
    return np.asarray(device_s + shapes.host_timed * values["matrix_host_floor_s"])


FAMILY: Final = Family(
    kernels=("gemm", "bmm"),
    columns=COLUMNS,
    specs=SPECS,
    check=check,
    read=read,
    time=time,
    observed_s=observed_s,
)
