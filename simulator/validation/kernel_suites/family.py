"""What a family of kernels gives to `validate kernels`: how its rows read, its constants, its predicted seconds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from simulator.kernels.kernel_constants import KernelSpec
from simulator.kernels.kernel_time import KernelTime
from simulator.kernels.optable import Floats
from simulator.kernels.settings import Settings

Row = Mapping[str, str]
Values = Mapping[str, Floats]

#: Largest extent of a kernel that a row may state; beyond it the row is a slip of the pen.
LARGEST: Final = 1e9


class RowError(ValueError):
    """A row that is no kernel: what is wrong with it."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """One family of kernels.

    ``kernels`` are the words of the table's column that it reads; ``columns`` the configuration columns it uses.
    ``check`` raises `RowError` for a row that cannot be; ``read`` turns rows that passed into arrays of shapes;
    ``time`` prices the shapes on the device; ``observed_s`` is what the row's suite would have measured (floors of
    event timers and of host-timed loops included, which never enter a step). ``specs`` holds the constants of both.
    ``kinds`` are the kinds of chips it prices.
    """

    kernels: tuple[str, ...]
    columns: tuple[str, ...]
    specs: Mapping[str, KernelSpec]
    check: Callable[[Row], None]
    read: Callable[[Sequence[Row]], Any]
    time: Callable[[Any, Settings, Values], KernelTime]
    observed_s: Callable[[Any, Settings, Values], Floats]
    kinds: tuple[str, ...] = ("gpu",)


def extent(row: Row, column: str, *, default: float | None = None) -> float:
    """A positive whole number in a row's cell.

    Raises
    ------
    RowError
        Naming the column, what it holds, and what is legal.
    """
    text = (row.get(column) or "").strip()
    if not text and default is not None:
        return default
    try:
        value = float(text)
    except ValueError:
        raise RowError(f"{column} is {text!r}; a whole number from 1 to {LARGEST:.0e} is needed.") from None
    if not math.isfinite(value) or value != math.floor(value) or not 1 <= value <= LARGEST:
        raise RowError(f"{column} is {text}; a whole number from 1 to {LARGEST:.0e} is needed.")
    return value


def check_product(row: Row) -> None:
    """Refuse a row whose extents m, n, k and batch are no matrix product's. Raises `RowError`."""
    for name in ("m", "n", "k"):
        extent(row, name)
    extent(row, "batch", default=1.0)


def check_layouts(row: Row) -> None:
    """Refuse a row that states layouts other than N and T. Raises `RowError`."""
    for name in ("transA", "transB"):
        if (row.get(name) or "") not in ("", "N", "T"):
            raise RowError(f"{name} is {row.get(name)!r}; N or T, or empty where A and B are row-major.")


def column(rows: Sequence[Row], name: str, default: float = 1.0) -> Floats:
    """A column of numbers, `default` where it is empty; shape (rows,)."""
    return np.array([float(row.get(name) or default) for row in rows], dtype=np.float64)
