"""Rows of measured convolutions: DeepBench (host-timed loops) and NeuSight (single launches)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from hwmodels.catalog import chip as chip_by_id
from hwmodels.catalog import resolve_chip
from simulator.kernels.conv import SPECS as DEVICE_SPECS
from simulator.kernels.conv import conv_time
from simulator.kernels.conv_algorithms import BACKWARD_DATA, BACKWARD_WEIGHTS, FORWARD, ConvShapes
from simulator.kernels.kernel_constants import KernelSpec
from simulator.kernels.kernel_time import KernelTime
from simulator.kernels.optable import Floats
from simulator.kernels.settings import Settings

from .family import Family, Row, RowError, Values, column, extent

#: Columns of the extents, as the shapes call them. A padding of 0 is legal, so paddings are read apart.
EXTENTS: Final = {
    "batch": "conv_n", "channels": "conv_c", "height": "conv_h", "width": "conv_w", "filters": "conv_k",
    "filter_h": "filt_h", "filter_w": "filt_w", "stride_h": "stride_h", "stride_w": "stride_w",
}  # fmt: skip
PADDINGS: Final = {"pad_h": "pad_h", "pad_w": "pad_w"}
PASSES: Final = {"": FORWARD, "fwd": FORWARD, "bwd_data": BACKWARD_DATA, "bwd_weights": BACKWARD_WEIGHTS}
#: Suites that time one launch with events instead of a loop.
SINGLE_LAUNCH: Final = ("neusight_random_shapes", "neusight_model_shapes")

_FLOOR: Final = KernelSpec(
    name="conv_event_floor_s", unit="s", prior=1.8e-4, low=5e-6, high=6e-4, spread=0.7,
    levels={"architecture": 0.5, "chip": 0.2},
    meaning="typical delay of a single event-timed launch; most of its spread follows nothing that a row states",
)  # fmt: skip
SPECS: Final[Mapping[str, KernelSpec]] = {**DEVICE_SPECS, _FLOOR.name: _FLOOR}


@dataclass(frozen=True, kw_only=True)
class ConvRows:
    """Shapes of the rows, and which of them were timed launch by launch; shape (rows,)."""

    conv: ConvShapes
    single_launch: np.ndarray


def check(row: Row) -> None:
    """Refuse a row that is no convolution on a GPU.

    Raises
    ------
    RowError
        With what is wrong and what is legal.
    """
    sizes = {name: extent(row, text) for name, text in EXTENTS.items()}
    for text in PADDINGS.values():
        _padding(row, text)
    word = row.get("pass", "")
    if word not in PASSES:
        raise RowError(f"pass is {word!r}; one of {', '.join(w for w in PASSES if w)}.")
    for axis, size in (("h", "height"), ("w", "width")):
        reach = sizes[size] + 2.0 * _padding(row, f"pad_{axis}")
        if sizes[f"filter_{axis}"] > reach:
            raise RowError(
                f"filt_{axis} is {sizes[f'filter_{axis}']:g}; at most conv_{axis} + 2 pad_{axis} = {reach:g}."
            )
    kinds = {chip_by_id(name).kind for name in resolve_chip(row.get("chip", ""))}
    if kinds - {"gpu"}:
        raise RowError(f"chip {row.get('chip')!r} is of kind {', '.join(sorted(kinds))}; convolutions here: gpu.")


def _padding(row: Row, name: str) -> float:
    text = (row.get(name) or "").strip()
    try:
        value = float(text or "0")
    except ValueError:
        value = -1.0
    if not (0.0 <= value <= 1e6 and value == int(value)):
        raise RowError(f"{name} is {text!r}; a whole number, 0 or more, is needed.")
    return value


def read(rows: Sequence[Row]) -> ConvRows:
    """Arrays of rows that passed `check`."""
    sizes = {name: column(rows, text) for name, text in EXTENTS.items()}
    pads = {name: column(rows, text, 0.0) for name, text in PADDINGS.items()}
    direction = np.array([PASSES[row.get("pass", "")] for row in rows], dtype=np.int64)
    return ConvRows(
        conv=ConvShapes(**sizes, **pads, direction=direction),
        single_launch=np.array([row.get("suite", "") in SINGLE_LAUNCH for row in rows], dtype=np.bool_),
    )


def time(rows: ConvRows, settings: Settings, values: Values) -> KernelTime:
    """Device time of the rows."""
    return conv_time(rows.conv, settings, values)


def observed_s(rows: ConvRows, settings: Settings, values: Values) -> Floats:
    """What the rows' suites would have measured [s]; shape (rows,)."""
    floor = np.where(rows.single_launch, values[_FLOOR.name], 0.0)
    return np.asarray(time(rows, settings, values).device_s + floor)


FAMILY: Final = Family(
    kernels=("conv",),
    columns=(*EXTENTS.values(), *PADDINGS.values(), "pass"),
    specs=SPECS,
    check=check,
    read=read,
    time=time,
    observed_s=observed_s,
)
