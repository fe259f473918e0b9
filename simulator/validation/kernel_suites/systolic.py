"""Measured products on systolic chips (the best shapes found on Gaudi 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hwmodels.catalog import chip as chip_by_id
from hwmodels.catalog import resolve_chip
from simulator.kernels.gemm import GemmShapes
from simulator.kernels.optable import Floats
from simulator.kernels.settings import Settings
from simulator.kernels.systolic import SPECS, systolic_gemm_time

from .family import Family, Row, RowError, Values, check_product, column


def check(row: Row) -> None:
    """Refuse a row that is not a product on a systolic chip, with one line that says why."""
    chips = [chip_by_id(name) for name in resolve_chip(row.get("chip", ""))]
    if any(chip.kind != "systolic" for chip in chips):
        kinds = ", ".join(sorted({chip.kind for chip in chips}))
        raise RowError(f"chip {row.get('chip')!r} is of kind {kinds}; this suite prices kind systolic.")
    check_product(row)


def read(rows: Sequence[Row]) -> GemmShapes:
    """Rows that passed `check`, as arrays of shapes."""
    return GemmShapes(batch=column(rows, "batch"), m=column(rows, "m"), n=column(rows, "n"), k=column(rows, "k"))


def observed_s(shapes: GemmShapes, settings: Settings, values: Values) -> Floats:
    """The mean of many calls issued ahead of the chip: its own time; shape (rows,) [s]."""
    return systolic_gemm_time(shapes, settings, values).device_s


FAMILY: Final = Family(
    kernels=("gemm", "bmm"),
    kinds=("systolic",),
    columns=("batch", "m", "n", "k"),
    specs=SPECS,
    check=check,
    read=read,
    time=systolic_gemm_time,
    observed_s=observed_s,
)
