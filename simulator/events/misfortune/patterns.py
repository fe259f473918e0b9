"""Which ranks meet where, and what befalls them: the misfortune of a job beside its process grid."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from simulator.events.misfortune.laws import MisfortuneError
from simulator.events.misfortune.pieces import Jitter
from simulator.events.roles import Grid

#: How many times as long each slow rank of a stage takes, stage by stage: () where none is slow.
Pattern = tuple[tuple[float, ...], ...]

#: Kinds of piece after which all ranks meet, not those of one replica's stage.
MET_BY_ALL: Final = ("optimizer",)


@dataclass(frozen=True, kw_only=True)
class Stragglers:
    """In every step each rank is slow with that probability, independently: all its pieces take ``factor`` as long.

    Leaves out for how many steps a rank stays slow: that joins steps to each other, and leaves the distribution of one
    step as it is.
    """

    probability: float
    factor: float

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise MisfortuneError(f"Stragglers: the probability is {self.probability:g}; legal: 0 to 1.")
        if not (math.isfinite(self.factor) and self.factor >= 1):
            raise MisfortuneError(f"Stragglers: the factor is {self.factor:g}; legal: 1 or more.")


@dataclass(frozen=True, kw_only=True)
class Misfortune:
    """What befalls the ranks of a job: jitter of every piece, stragglers, chips always slow (rank -> factor)."""

    jitter: Jitter = field(default_factory=Jitter)
    stragglers: Stragglers = field(default_factory=lambda: Stragglers(probability=0.0, factor=1.0))
    slow_chips: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for rank, factor in self.slow_chips.items():
            if not (math.isfinite(factor) and factor >= 1):
                raise MisfortuneError(f"slow chips: rank {rank} is slow by {factor:g}; legal: 1 or more.")

    @property
    def certain(self) -> bool:
        """Whether every step takes the same."""
        return self.jitter.certain and (self.stragglers.probability == 0 or self.stragglers.factor == 1)

    def patterns(self, grid: Grid) -> Counter[Pattern]:
        """Replicas by what is always slow in them. Raises MisfortuneError for a rank that is not there."""
        slow: dict[int, list[list[float]]] = {}
        for rank, factor in sorted(self.slow_chips.items()):
            if not 0 <= rank < grid.ranks:
                raise MisfortuneError(f"slow chips: there is no rank {rank}; legal: 0 to {grid.ranks - 1}.")
            stage, replica = divmod(rank // grid.inner, grid.replicas)
            if factor > 1:
                slow.setdefault(replica, [[] for _ in range(grid.stages)])[stage].append(factor)
        found: Counter[Pattern] = Counter()
        clean = grid.replicas - len(slow)
        if clean:
            found[((),) * grid.stages] = clean
        for stages in slow.values():
            found[tuple(tuple(sorted(factors)) for factors in stages)] += 1
        return found

    def struck(self, grid: Grid, pattern: Pattern, count: int, stream: np.random.Generator) -> int:
        """How many of ``count`` replicas have a straggler among the ranks that are not slow anyway, in one step."""
        p = self.stragglers.probability if self.stragglers.factor > 1 else 0.0
        plain = grid.inner * grid.stages - sum(map(len, pattern))
        return int(stream.binomial(count, -math.expm1(plain * math.log1p(-p)) if p < 1 else float(plain > 0)))

    def with_stragglers(self, grid: Grid, pattern: Pattern, stream: np.random.Generator) -> Pattern:
        """The pattern of one replica that has at least one straggler: how many and where is drawn."""
        plain = [grid.inner - len(factors) for factors in pattern]
        total, p = sum(plain), self.stragglers.probability
        # The binomial law given that it is not 0, by its inverse: P(0) is next to 1 and rejection would not end.
        none = math.exp(total * math.log1p(-p)) if p < 1 else 0.0
        u, slow, mass = float(stream.random()) * (1 - none), 0, none
        reached = 0.0
        while slow < total and (slow == 0 or reached < u):
            slow += 1
            mass = mass * (total - slow + 1) / slow * p / (1 - p) if p < 1 and mass > 0 else 1.0 * (slow == total)
            reached += mass
        where = stream.multivariate_hypergeometric(plain, slow)
        factor = self.stragglers.factor
        return tuple(
            tuple(sorted([*factors, *[factor] * int(more)])) for factors, more in zip(pattern, where, strict=True)
        )
