"""What ranks on one machine cost each other: a shared memory and cache, and an exchange that runs on the same cores."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from hwmodels.chip import Chip

from ..calibration.kernel_fit import Values
from ..kernels.kernel_constants import KernelSpec
from ..kernels.optable import Floats
from .fitting import Alike, Law, LawFit, fit_law
from .memory_levels import kept_share
from .observations import Observation, suite_of

_FEWEST: Final = 6
#: Pairs of times nearer than this tell how they hinder each other, and the most that taking turns explains.
_COMPARABLE, _MOST = 0.2, 1.5


def _spec(name: str, unit: str, prior: float, meaning: str) -> KernelSpec:
    return KernelSpec(
        name=name, unit=unit, prior=prior, low=prior * 1e-3, high=prior * 1e3, spread=1.5, meaning=meaning
    )  # fmt: skip


SPECS: Final[Mapping[str, KernelSpec]] = {
    spec.name: spec
    for spec in (
        _spec("start_s", "s", 1e-4, "time of an exchange of next to nothing"),
        _spec("near_byte_s", "s/B", 5e-10, "time of a byte of an exchange that the caches hold"),
        _spec("far_byte_s", "s/B", 1e-9, "time of a byte of a large exchange"),
    )
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class NeighbourLaws:
    """Exchanges between ranks of one machine and what ranks cost each other.

    ``exchange`` is the fit of all-reduces by size, which ``turn_byte`` divides into near and far [B].
    ``hindrance`` says what an exchange and compute that run at once add to the longer of both, of the shorter: 0 where
    they overlap wholly, 1 where they take turns. ``product_share`` and ``memory_share`` are times of products and of
    far bytes beside the same on the other rank, against alone.
    """

    exchange: LawFit
    turn_byte: float
    hindrance: float
    product_share: float
    near_share: float
    memory_share: float

    def exchange_s(self, byte: float) -> float:
        """Seconds of an all-reduce alone."""
        f = self.exchange
        near = float(kept_share(np.array(byte), self.turn_byte))
        each = near * f.value("near_byte_s") + (1.0 - near) * f.value("far_byte_s")
        return f.value("start_s") + byte * each


def _pairs(rows: Sequence[Observation], kinds: tuple[str, ...]) -> list[dict[str, Observation]]:
    """Cases of one shape under their kinds, those that have all."""
    found: dict[tuple[str, ...], dict[str, Observation]] = {}
    for o in rows:
        if o.kind in kinds:
            key = tuple(f"{k}={v}" for k, v in sorted(o.shape.items()) if k != "kind")
            found.setdefault(key, {})[o.kind] = o
    return [pair for _, pair in sorted(found.items()) if len(pair) == len(kinds)]


def _undisturbed_s(o: Observation) -> float:
    """The low quartile: several ranks wait for the slowest, whom anything else that runs on the machine delays."""
    return o.low_s or o.seconds


def hindrance_of(observations: Sequence[Observation]) -> float | None:
    """What an all-reduce and a product together take beyond the longer, against the shorter; None where none was
    measured.

    .. math:: h = \\sum (t_{together} - t_{longer}) / \\sum t_{shorter}

    Over pairs of which the shorter is a fifth of the longer at least: others say nothing of it.
    """
    kinds = ("all_reduce_beside", "product_beside", "together_beside")
    beyond = shorter = 0.0
    for pair in _pairs(suite_of(observations, "collectives"), kinds):
        less, more = sorted((_undisturbed_s(pair[kinds[0]]), _undisturbed_s(pair[kinds[1]])))
        if less >= _COMPARABLE * more:
            beyond += _undisturbed_s(pair[kinds[2]]) - more
            shorter += less
    return min(max(beyond / shorter, 0.0), _MOST) if shorter else None


def _share(pairs: Sequence[dict[str, Observation]], work: str, low: float, high: float) -> float:
    ratios = [
        _undisturbed_s(pair[work]) / _undisturbed_s(pair[f"{work} alone"])
        for pair in pairs
        if low <= pair[work].byte < high
    ]
    return max(1.0, statistics.median(ratios)) if ratios else 1.0


def fitted_neighbours(
    observations: Sequence[Observation], chip: Chip, levels: Mapping[str, float]
) -> NeighbourLaws | None:
    """What the collectives and neighbours of a probe say; None where there are too few."""
    rows = [o for o in suite_of(observations, "collectives") if o.kind in ("all_reduce", "all_reduce_beside")]
    hindrance = hindrance_of(observations)
    if len(rows) < _FEWEST or hindrance is None:
        return None
    turn_byte = levels["last_byte"] / 4.0
    rows = [replace(o, seconds=_undisturbed_s(o)) for o in rows]
    byte = np.array([o.byte for o in rows])
    near = kept_share(byte, turn_byte)

    def seconds(v: Values) -> Floats:
        return np.asarray(v["start_s"] + byte * (near * v["near_byte_s"] + (1.0 - near) * v["far_byte_s"]))

    law = Law(
        name="step exchange", specs=SPECS, seconds=seconds, settings=Alike(len(rows)), observations=rows,
        yardstick_s=np.maximum(byte / chip.memory_bandwidth_byte_per_s, 1e-9), needed="--suites collectives",
    )  # fmt: skip
    neighbours = suite_of(observations, "neighbours")
    triads = _pairs(neighbours, ("triad", "triad alone"))
    products = _pairs(neighbours, ("product", "product alone"))
    return NeighbourLaws(
        exchange=fit_law(law), turn_byte=turn_byte, hindrance=hindrance,
        product_share=_share(products, "product", 0.0, float("inf")),
        near_share=_share(triads, "triad", 2.0**16, levels["near_byte"] / 2.0),
        memory_share=_share(triads, "triad", levels["last_byte"] / 2.0, float("inf")),
    )  # fmt: skip
