"""Measured matrix products on GPUs: NeuSight, DeepBench, and what `gemm_matrix` reads, each on the units they ran on.

NeuSight times single calls with events, the mean of the 5 fastest of 25: what the host needs to issue the call counts,
more for a linear layer than for a batched product. Its sweeps keep a card busy for hours: long linear layers run at the
clock that the server's cooling sustains. DeepBench loops a call and divides, which hides the host. Its matrices
are column-major; NeuSight's linear layer multiplies rows of x by rows of W, its batched product is row-major.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hwmodels.catalog import chip as chip_by_id
from hwmodels.catalog import resolve_chip
from simulator.kernels.gemm import GemmShapes
from simulator.kernels.gemm_matrix import gemm_matrix_time
from simulator.kernels.gemm_vector import gemm_vector_time
from simulator.kernels.kernel_constants import KernelSpec
from simulator.kernels.kernel_time import PARTS, KernelTime
from simulator.kernels.matrix_units import on_matrix_units
from simulator.kernels.optable import Floats
from simulator.kernels.power import NO_HEAT, Cooling
from simulator.kernels.settings import PRECISION_WORDS, Settings
from simulator.kernels.vector_units import SPECS as VECTOR_SPECS

from . import gemm_matrix
from .family import Family, Row, RowError, Values, check_layouts, check_product, column

COLUMNS: Final = ("batch", "m", "n", "k", "transA", "transB")
_FLOORS: Final = (
    KernelSpec(
        name="neusight_bmm_floor_s", unit="s", prior=3.2e-5, low=1e-6, high=2e-4, spread=0.5, levels={"chip": 0.3},
        meaning="what the host adds to one event-timed batched product",
    ),
    KernelSpec(
        name="neusight_linear_ratio", unit="1", prior=1.75, low=1.0, high=4.0, spread=0.2,
        meaning="the same for a linear layer, against the batched product",
    ),
    KernelSpec(
        name="neusight_cooling", unit="1", prior=1.0, low=0.05, high=20.0, spread=0.3,
        levels={"chip": 1.0, "suite": 0.2},
        meaning="heat that the server's air takes from the card through a sweep of linear layers, against its limit",
    ),
    KernelSpec(
        name="neusight_heating_s", unit="s", prior=1e-2, low=1e-4, high=1.0, spread=0.7,
        meaning="duration of a product from which the card is hot in such a sweep",
    ),
)  # fmt: skip
SPECS: Final[Mapping[str, KernelSpec]] = {
    **VECTOR_SPECS, **{spec.name: spec for spec in _FLOORS}, **gemm_matrix.SPECS
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class GemmRows:
    """Products in the order of the rows; ``batched`` and ``linear`` are 1 for NeuSight's two kinds of calls,
    ``host_timed`` for single calls timed from the host, else 0; shape (rows,)."""

    gemm: GemmShapes
    batched: Floats
    linear: Floats
    host_timed: Floats


def check(row: Row) -> None:
    """Refuse a row that is no product on a GPU, with one line that says why."""
    chips = [chip_by_id(name) for name in resolve_chip(row.get("chip", ""))]
    if any(chip.kind != "gpu" for chip in chips):
        kinds = ", ".join(sorted({chip.kind for chip in chips}))
        raise RowError(f"chip {row.get('chip')!r} is of kind {kinds}; this suite prices kind gpu.")
    precision = row.get("precision", "")
    if precision not in PRECISION_WORDS:
        raise RowError(f"precision {precision!r} is not known; one of {', '.join(PRECISION_WORDS)}.")
    if any(on_matrix_units(chip, precision) for chip in chips):
        gemm_matrix.check(row)
        return
    check_product(row)
    check_layouts(row)


def _is(rows: Sequence[Row], kernel: str) -> Floats:
    return np.array(
        [float(row.get("kernel") == kernel and row.get("suite", "").startswith("neusight")) for row in rows]
    )


def read(rows: Sequence[Row]) -> GemmRows:
    """Shapes of rows that passed `check`."""
    matrix = gemm_matrix.read(rows)
    linear = _is(rows, "gemm")
    gemm = GemmShapes(
        batch=column(rows, "batch"),
        m=column(rows, "m"),
        n=column(rows, "n"),
        k=column(rows, "k"),
        a_along_k=matrix.gemm.a_layout,
        b_along_k=np.maximum(matrix.gemm.b_layout, linear),
    )
    return GemmRows(gemm=gemm, batched=_is(rows, "bmm"), linear=linear, host_timed=matrix.host_timed)


def _on_matrix_units(settings: Settings) -> NDArray[np.bool_]:
    return np.array([on_matrix_units(s.chip, s.precision) for s in settings.distinct], dtype=bool)[settings.row]


def _time(shapes: GemmRows, settings: Settings, values: Values, cooling: Cooling) -> KernelTime:
    """Device time of the rows, each by the model of its units."""
    matrix = _on_matrix_units(settings)
    pieces: list[tuple[NDArray[np.bool_], KernelTime]] = []
    for mine, is_matrix in ((~matrix, False), (matrix, True)):
        if not mine.any():
            continue
        gemm, some = shapes.gemm.take(mine), settings.take(mine)
        part = {name: np.asarray(value)[mine] for name, value in values.items()}
        if is_matrix:
            pieces.append((mine, gemm_matrix_time(gemm, some, part)))
        else:
            share = np.broadcast_to(cooling.share, mine.shape)[mine]
            heating_s = np.broadcast_to(cooling.heating_s, mine.shape)[mine]
            air = Cooling(share=share, heating_s=heating_s)
            pieces.append((mine, gemm_vector_time(gemm, some, part, cooling=air)))

    def gather(arrays: Sequence[Floats]) -> Floats:
        out = np.zeros(settings.rows)
        for (mine, _), array in zip(pieces, arrays, strict=True):
            out[mine] = array
        return out

    known = {name for _, piece in pieces for name in piece.parts}
    return KernelTime(
        device_s=gather([piece.device_s for _, piece in pieces]),
        bound_s=gather([piece.bound_s for _, piece in pieces]),
        flop=gather([piece.flop for _, piece in pieces]),
        dram_byte=gather([piece.dram_byte for _, piece in pieces]),
        cache_byte=gather([piece.cache_byte for _, piece in pieces]),
        parts={
            name: gather([piece.parts.get(name, np.zeros(piece.rows)) for _, piece in pieces])
            for name in PARTS
            if name in known
        },
    )


def time(shapes: GemmRows, settings: Settings, values: Values) -> KernelTime:
    """Device time of the products in a server that cools its cards."""
    return _time(shapes, settings, values, NO_HEAT)


def observed_s(shapes: GemmRows, settings: Settings, values: Values) -> Floats:
    """What the suite would have measured: the device's time in the suite's server, and the host's call [s]."""
    cooling = Cooling(
        share=np.where(shapes.linear > 0.0, values["neusight_cooling"], NO_HEAT.share),
        heating_s=values["neusight_heating_s"],
    )
    calls = shapes.batched + shapes.linear * values["neusight_linear_ratio"]
    floor_s = calls * values["neusight_bmm_floor_s"] + shapes.host_timed * values["matrix_host_floor_s"]
    return np.asarray(_time(shapes, settings, values, cooling).device_s + floor_s)


FAMILY: Final = Family(
    kernels=("gemm", "bmm"),
    columns=COLUMNS,
    specs=SPECS,
    check=check,
    read=read,
    time=time,
    observed_s=observed_s,
)
