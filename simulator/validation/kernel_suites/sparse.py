"""Measured sparse products: DeepBench's loops over cuSPARSE, sparse weights times dense inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from simulator.kernels.optable import Floats
from simulator.kernels.settings import Settings
from simulator.kernels.sparse import CSR, SPECS, SparseShapes, sparse_time

from .family import Family, Row, RowError, column, extent

#: cuSPARSE's indices are 32-bit words.
INDEX_BYTE: Final = 4.0


def _sparsity(row: Row) -> float:
    text = (row.get("sparsity") or "").strip()
    try:
        value = float(text)
    except ValueError:
        raise RowError(f"sparsity is {text!r}; the share of zeros is needed, from 0 to below 1.") from None
    if not 0.0 <= value < 1.0:
        raise RowError(f"sparsity is {text}; the share of zeros is needed, from 0 to below 1.")
    return value


def _check(row: Row) -> None:
    for name in ("m", "n", "k"):
        extent(row, name)
    _sparsity(row)
    for name in ("transA", "transB"):
        if row.get(name, "") not in ("", "N"):
            raise RowError(f"{name} is {row.get(name)!r}; only products without transposition ('N') were measured.")


def _read(rows: Sequence[Row]) -> SparseShapes:
    count = len(rows)
    return SparseShapes(
        form=np.full(count, CSR, dtype=np.int64),
        m=column(rows, "m"),
        n=column(rows, "n"),
        k=column(rows, "k"),
        density=1.0 - np.array([_sparsity(row) for row in rows]),
        side=np.ones(count),
        index_byte=np.full(count, INDEX_BYTE),
        column_major=np.ones(count, dtype=bool),
    )


def _observed_s(shapes: SparseShapes, settings: Settings, values: Mapping[str, Floats]) -> Floats:
    """The loop over calls is asynchronous: no floor on top of the device's time."""
    return sparse_time(shapes, settings, values).device_s


FAMILY: Final = Family(
    kernels=("sparse_gemm",),
    columns=("m", "n", "k", "transA", "transB", "sparsity"),
    specs=SPECS,
    check=_check,
    read=_read,
    time=sparse_time,
    observed_s=_observed_s,
)
