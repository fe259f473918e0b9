"""How long recipes train, in samples or epochs: points from measured runs, pooled as curves of convergence are.

A point is the median over the runs of one recipe at one batch. Its samples are time to train x rate: the rate measured
in the same run where there is one, else the predicted one (`Length.measured_rate`). What a benchmark's clock counts
beside steps (evaluation; MLPerf: also start-up after its run_start, not before; DAWNBench: no evaluation but of its own
loop) is therefore in the samples, as much of it as its runs had.
"""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib.resources import files
from typing import Final

from ..outcome.convergence.points import Point
from ..outcome.convergence.pooling import Pool, PoolConstants, PooledAnswer
from .shipped_tables import csv_text

#: An answer whose 80 % interval would be wider than e^(2 x 1.28 x this) is none.
WIDEST_SPREAD: Final = 0.9
#: Points of other sources that a network needs where its own source has none.
FEWEST_STRANGERS: Final = 3
SHIPPED: Final = "training_lengths.csv"
_COLUMNS: Final = tuple(f.name for f in fields(Point) if f.name not in ("per_unit", "assumed", "dataset"))


@dataclass(frozen=True, kw_only=True)
class Length:
    """One run's length in the unit of its point; whose group it is; whether its rate was measured."""

    point: Point
    value: float
    group: tuple[str, str, str]
    measured_rate: bool


def pooled(lengths: Iterable[Length]) -> list[tuple[Point, float]]:
    """The median length of each recipe at each batch; runs with a measured rate before others."""
    found: dict[tuple[object, ...], list[Length]] = {}
    for length in lengths:
        p = length.point
        found.setdefault((p.curve, p.network, p.target, p.batch, p.recipe, p.optimizer), []).append(length)
    points = []
    for members in found.values():
        best = [m for m in members if m.measured_rate] or members
        points.append((replace(best[0].point, assumed=()), statistics.median(m.value for m in best)))
    return sorted(points, key=lambda m: tuple(str(getattr(m[0], c)) for c in _COLUMNS))


class LengthPool:
    """Lengths of recipes: of the same network, else of other networks of the same source."""

    def __init__(self, points: Sequence[tuple[Point, float]], constants: Mapping[str, PoolConstants]) -> None:
        self._own = {c: Pool([m for m in points if m[0].counted == c], constants[c]) for c in constants}
        self._source = {
            c: Pool([(_of_source(p), v) for p, v in points if p.own_recipe and p.counted == c], constants[c])
            for c in constants
        }
        self._sources = {(p.network, p.recipe) for p, _ in points if p.own_recipe}

    def answer(self, point: Point) -> PooledAnswer | None:
        """How long a recipe trains; None where too little is known of it.

        Of a recipe of its own its source's own runs say most; a single run of another source says next to nothing.
        """
        found = self._own[point.counted].answer(point)
        alone = point.own_recipe and (point.network, point.recipe) not in self._sources
        if found is None or found.log_spread > WIDEST_SPREAD or (alone and found.points < FEWEST_STRANGERS):
            found = self._source[point.counted].answer(_of_source(point)) if point.own_recipe else None
        return found if found is not None and found.log_spread <= WIDEST_SPREAD else None


def _of_source(point: Point) -> Point:
    return replace(point, dataset=point.recipe)


def to_csv(points: Sequence[tuple[Point, float]]) -> str:
    """Points as the text of the file that ships."""
    return csv_text(
        [*_COLUMNS, "value"],
        (["" if (cell := getattr(p, c)) is None else cell for c in _COLUMNS] + [f"{v:.5g}"] for p, v in points),
    )


@cache
def shipped_lengths() -> tuple[tuple[Point, float], ...]:
    """Points that ship."""
    text = files("simulator").joinpath("data", SHIPPED).read_text(encoding="utf-8")
    return tuple((_read(line), float(line["value"])) for line in csv.DictReader(io.StringIO(text)))


def _read(line: Mapping[str, str]) -> Point:
    return Point(
        task=line["task"], model=line["model"], network=line["network"], target=line["target"],
        optimizer=line["optimizer"], recipe=line["recipe"], counted=line["counted"], dataset="", per_unit=1.0,
        batch=float(line["batch"]) if line["batch"] else None, batch_in_tokens=line["batch_in_tokens"] == "True",
        open_division=line["open_division"] == "True", own_recipe=line["own_recipe"] == "True",
    )  # fmt: skip
