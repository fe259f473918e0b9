"""Measured recurrent layers: DeepBench's loops over cuDNN and MIOpen calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from hwmodels.datafile import did_you_mean
from simulator.kernels.optable import Floats
from simulator.kernels.recurrent import (
    BACKWARD_DATA,
    BACKWARD_WEIGHTS,
    FORWARD,
    GATES,
    SPECS,
    RecurrentShapes,
    recurrent_time,
)
from simulator.kernels.settings import Settings

from .family import Family, Row, RowError, column, extent

#: What DeepBench's sheets call a pass. Where they have one backward column, it is the gradient of the data: its times
#: are those of one product a step.
PASSES: Final = {
    "fwd": FORWARD,
    "bwd": BACKWARD_DATA,
    "bwd_data": BACKWARD_DATA,
    "bwd_weights": BACKWARD_WEIGHTS,
}


def _check(row: Row) -> None:
    cell, direction = row.get("rnn_type", ""), row.get("pass", "")
    if cell not in GATES:
        raise RowError(f"rnn_type is {cell!r}; one of {', '.join(GATES)}.{did_you_mean(cell, GATES)}")
    if direction not in PASSES:
        raise RowError(f"pass is {direction!r}; one of {', '.join(PASSES)}.{did_you_mean(direction, PASSES)}")
    for name in ("hidden", "batch", "timesteps"):
        extent(row, name)


def _read(rows: Sequence[Row]) -> RecurrentShapes:
    count = len(rows)
    return RecurrentShapes(
        direction=np.array([PASSES[row["pass"]] for row in rows], dtype=np.int64),
        gates=np.array([GATES[row["rnn_type"]] for row in rows], dtype=np.float64),
        hidden=column(rows, "hidden"),
        batch=column(rows, "batch"),
        timesteps=column(rows, "timesteps"),
        # The benchmark feeds inputs as wide as the state in cuDNN's skip mode, and asks for the standard algorithm.
        width=np.zeros(count),
        layers=np.ones(count),
        persistent=np.zeros(count, dtype=bool),
    )


def _observed_s(shapes: RecurrentShapes, settings: Settings, values: Mapping[str, Floats]) -> Floats:
    """The loop over calls is asynchronous: no floor on top of the device's time."""
    return recurrent_time(shapes, settings, values).device_s


FAMILY: Final = Family(
    kernels=("rnn",),
    columns=("rnn_type", "hidden", "batch", "timesteps"),
    specs=SPECS,
    check=_check,
    read=_read,
    time=recurrent_time,
    observed_s=_observed_s,
)
