"""Which update rule lifts the largest batch, and what asynchrony and compression cost in steps: published facts."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from hwmodels.datafile import did_you_mean

from ..data import OutcomeError


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    """A batch at which an update rule reached what is said; nothing is said of larger ones."""

    optimizer: str
    network: str
    dataset: str
    batch: float
    reached: str
    source: str


@cache
def published_ceilings() -> tuple[Ceiling, ...]:
    """The facts of ``simulator/data/optimizer_ceilings.csv``."""
    text = files("simulator").joinpath("data", "optimizer_ceilings.csv").read_text(encoding="utf-8")
    return tuple(
        Ceiling(**{**line, "batch": float(line["batch"])})  # type: ignore[arg-type]
        for line in csv.DictReader(io.StringIO(text))
    )


def lifts(network: str, *, batch: float) -> tuple[Ceiling, ...]:
    """Update rules published to have trained a network at a batch or a larger one, the smallest such batch first."""
    found = (c for c in published_ceilings() if network.lower() in c.network.lower() and c.batch >= batch)
    return tuple(sorted(found, key=lambda c: (c.batch, c.optimizer)))


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """What a method costs in steps. ``low`` and ``high`` are factors on the steps of plain synchronous training, None
    where no published figure is known here ("unknown"); ``why`` says what is known."""

    method: str
    low: float | None
    high: float | None
    why: str

    @property
    def words(self) -> str:
        """The factor, or "unknown"."""
        return "unknown" if self.low is None or self.high is None else f"{self.low:g} to {self.high:g}"


_UNKNOWN: Final = "no published steps to a target are known here"
_COSTS: Final[Mapping[str, StepCost]] = {
    cost.method: cost
    for cost in (
        StepCost(method="synchronous", low=1.0, high=1.0, why="the reference"),
        StepCost(
            method="backup_workers", low=1.0, high=1.0,
            why="gradients of the slowest are dropped, the batch of the others is the batch (arXiv:1604.00981)",
        ),
        StepCost(
            method="asynchronous", low=None, high=None,
            why="final accuracy falls with staleness, seen beyond about 32 workers; "
            "synchronous with backups was faster to the same accuracy (arXiv:1604.00981 abstract); " + _UNKNOWN,
        ),
        StepCost(method="local_sgd", low=None, high=None, why=_UNKNOWN),
        StepCost(
            method="deep_gradient_compression", low=1.0, high=1.0,
            why="the same epochs; ResNet-50 at 0.1 % ends at 76.6 % top-1 at batch 256, 75.9 % at 8,192 "
            "(synxlin/deep-gradient-compression 24673d45d11b)",
        ),
        StepCost(method="quantised_gradients", low=None, high=None, why=_UNKNOWN),
    )
}  # fmt: skip


def step_cost(method: str) -> StepCost:
    """What a way of exchanging gradients costs in steps, "unknown" where that is so; raises for an unknown method."""
    if method not in _COSTS:
        raise OutcomeError(f"step_cost: there is no method {method!r}; legal: {', '.join(_COSTS)}."
                           f"{did_you_mean(method, _COSTS)}")  # fmt: skip
    return _COSTS[method]
