"""Measured attention: the published benchmarks of the fused kernels' authors, means over repeated calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from hwmodels.datafile import did_you_mean
from simulator.kernels.attention import SPECS, AttentionShapes, attention_time
from simulator.kernels.optable import Floats
from simulator.kernels.settings import Settings

from .family import Family, Row, RowError, column, extent

#: Passes of a row: forward, backward.
PASSES: Final[Mapping[str, tuple[float, float]]] = {"fwd": (1.0, 0.0), "bwd": (0.0, 1.0), "fwd+bwd": (1.0, 1.0)}
#: How tables spell whether the mask is causal.
CAUSAL: Final[Mapping[str, float]] = {"": 0.0, "0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0}


def _check(row: Row) -> None:
    direction, causal = row.get("pass", ""), row.get("causal", "")
    if direction not in PASSES:
        raise RowError(f"pass is {direction!r}; one of {', '.join(PASSES)}.{did_you_mean(direction, PASSES)}")
    if causal not in CAUSAL:
        raise RowError(f"causal is {causal!r}; 0 or 1.")
    extent(row, "batch", default=1.0)
    for name in ("heads", "head_dim", "seq_len"):
        extent(row, name)


def _read(rows: Sequence[Row]) -> AttentionShapes:
    return AttentionShapes(
        batch=column(rows, "batch"),
        heads=column(rows, "heads"),
        head_dim=column(rows, "head_dim"),
        seq=column(rows, "seq_len"),
        causal=np.array([CAUSAL[row.get("causal", "")] for row in rows]),
        forward=np.array([PASSES[row["pass"]][0] for row in rows]),
        backward=np.array([PASSES[row["pass"]][1] for row in rows]),
    )


def _observed_s(shapes: AttentionShapes, settings: Settings, values: Mapping[str, Floats]) -> Floats:
    """Calls follow each other and take 0.3 ms and more: no floor on top of the device's time."""
    return attention_time(shapes, settings, values).device_s


FAMILY: Final = Family(
    kernels=("attention",),
    columns=("batch", "heads", "head_dim", "seq_len", "causal", "pass"),
    specs=SPECS,
    check=_check,
    read=_read,
    time=attention_time,
    observed_s=_observed_s,
)
