"""Measured element-wise kernels, normalisations and softmax: NeuSight's single launches from PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from hwmodels.datafile import did_you_mean
from simulator.kernels.kernel_constants import KernelSpec
from simulator.kernels.kernel_time import KernelTime
from simulator.kernels.optable import Floats
from simulator.kernels.settings import Settings
from simulator.kernels.vector import OP_WORDS, OPS, VectorShapes, vector_time
from simulator.kernels.vector import SPECS as DEVICE_SPECS

from .family import Family, Row, RowError, column, extent

SPECS: Final[Mapping[str, KernelSpec]] = {
    **DEVICE_SPECS,
    **{
        spec.name: spec
        for spec in (
            KernelSpec(
                name="vector_host_s", unit="s", prior=2.8e-5, low=3e-6, high=3e-4, spread=0.4,
                levels={"chip": 0.3, "library": 0.5},
                meaning="host time between the two timer events of a bare operator call",
            ),
            KernelSpec(
                name="vector_lead_s", unit="s", prior=1.5e-5, low=1e-6, high=1e-4, spread=0.4,
                meaning="time from the first event to the start of the kernel, which the device cannot hide",
            ),
            KernelSpec(
                name="vector_module_ratio", unit="1", prior=1.17, low=1.0, high=2.0, spread=0.1,
                meaning="host time of a call through a module or with a converted scalar, against a bare one",
            ),
            KernelSpec(
                name="vector_softmax_ratio", unit="1", prior=1.28, low=1.0, high=2.5, spread=0.1,
                meaning="host time of a softmax module, against a bare operator",
            ),
            KernelSpec(
                name="vector_layernorm_ratio", unit="1", prior=1.75, low=1.0, high=3.0, spread=0.1,
                meaning="host time of a normalisation module, against a bare operator",
            ),
        )
    },
}  # fmt: skip

_MODULES: Final = ("add_scalar", "relu", "gelu")
#: Corner between the host's time and the device's.
_CORNER: Final = 12.0


@dataclass(frozen=True, kw_only=True)
class VectorRows:
    """Shapes, and by which of the host's paths each was called: 1 where it was; arrays have shape (rows,)."""

    shapes: VectorShapes
    module: Floats
    softmax: Floats
    layernorm: Floats


def _check(row: Row) -> None:
    op = row.get("op", "")
    if op not in OPS:
        raise RowError(f"op is {op!r}; one of {', '.join(OPS)}.{did_you_mean(op, OPS)}")
    if row.get("pass", "") not in ("", "fwd"):
        raise RowError(f"pass is {row.get('pass')!r}; vector kernels are measured forward: 'fwd' or empty.")
    for name in ("rows", "cols"):
        extent(row, name)


def _read(rows: Sequence[Row]) -> VectorRows:
    def among(words: Sequence[str]) -> Floats:
        return np.array([float(row["op"] in words) for row in rows])

    return VectorRows(
        shapes=VectorShapes(
            op=np.array([OP_WORDS.index(row["op"]) for row in rows], dtype=np.int64),
            rows=column(rows, "rows"),
            cols=column(rows, "cols"),
        ),
        module=among(_MODULES),
        softmax=among(("softmax",)),
        layernorm=among(("layernorm",)),
    )


def _time(rows: VectorRows, settings: Settings, values: Mapping[str, Floats]) -> KernelTime:
    return vector_time(rows.shapes, settings, values)


def _observed_s(rows: VectorRows, settings: Settings, values: Mapping[str, Floats]) -> Floats:
    """Seconds between two timer events around one launch: the host's path or the kernel's, whichever ends later.

    .. math:: t = \\max(t_{host}, t_{lead} + t_{device})
    """
    host = values["vector_host_s"] * (
        1.0
        + rows.module * (values["vector_module_ratio"] - 1.0)
        + rows.softmax * (values["vector_softmax_ratio"] - 1.0)
        + rows.layernorm * (values["vector_layernorm_ratio"] - 1.0)
    )
    device = values["vector_lead_s"] + vector_time(rows.shapes, settings, values).device_s
    return np.asarray((host**_CORNER + device**_CORNER) ** (1.0 / _CORNER))


FAMILY: Final = Family(
    kernels=("vector",),
    columns=("op", "rows", "cols"),
    specs=SPECS,
    check=_check,
    read=_read,
    time=_time,
    observed_s=_observed_s,
)
