"""The fitted constants of the kernel models: few, named, with ranges, and carried over to chips that were never seen.

A constant is a prior times deviations, one for each level it may vary on:

.. math:: \\ln v = \\ln v_0 + g + a_{architecture} + c_{chip} + l_{library} + \\dots

Every deviation is pulled to zero by its own spread, so that a chip without measured rows gets its architecture's value,
and an architecture without any that of its neighbours in its maker's lineage (`hwmodels.chip.LINEAGES`): along a
lineage the deviations are a random walk.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Protocol

import numpy as np

from hwmodels.chip import LINEAGES

from .optable import Floats, Ints
from .settings import LEVELS

#: Levels on which constants of collectives may vary; `collectives.exchange` says whose they are.
EXCHANGE_LEVELS: Final = ("link", "fabric", "out", "library", "collective")
_LEVELS: Final = tuple(dict.fromkeys((*LEVELS, *EXCHANGE_LEVELS)))


class Owners(Protocol):
    """Rows that share constants: the distinct cases, which of them each row is, and whose constants each case uses.

    `kernels.settings.Settings` for kernels, `collectives.exchange.Exchanges` for collectives.
    """

    @property
    def distinct(self) -> Sized:
        """The distinct cases."""

    @property
    def row(self) -> Ints:
        """Which of them each row is; shape (rows,)."""

    @property
    def rows(self) -> int:
        """Number of rows."""

    def owners(self, level: str) -> tuple[str, ...]:
        """Whose constants the distinct cases use at a level; shape (distinct,)."""


@dataclass(frozen=True, kw_only=True)
class KernelSpec:
    """One kind of constant. ``spread`` is the standard deviation of ln(value / prior) over everything, ``levels`` the
    same for the deviation of each level it may vary on."""

    name: str
    unit: str
    prior: float
    low: float
    high: float
    spread: float
    levels: Mapping[str, float] = field(default_factory=dict, hash=False)
    meaning: str = ""

    def __post_init__(self) -> None:
        if not 0.0 < self.low <= self.prior <= self.high:
            raise ValueError(f"KernelSpec {self.name!r}: needs 0 < low <= prior <= high.")
        for level, spread in self.levels.items():
            if level not in _LEVELS or spread <= 0.0:
                raise ValueError(f"KernelSpec {self.name!r}: level {level!r}; one of {', '.join(_LEVELS)}, spread > 0.")


def key_of(name: str, level: str = "", owner: str = "") -> str:
    """The key of a deviation: "name" for the one over everything, "name@level=owner" for the others."""
    return f"{name}@{level}={owner}" if level else name


def neighbours(architecture: str, known: Iterable[str]) -> str:
    """The known architecture nearest to one in its maker's lineage, the older of two equally near; "" if none is."""
    line = next((line for line in LINEAGES.values() if architecture in line), ())
    if not line:
        return ""
    here = line.index(architecture)
    found = [line.index(word) for word in known if word in line]
    return line[min(found, key=lambda i: (abs(i - here), i))] if found else ""


@dataclass(frozen=True, kw_only=True)
class KernelConstants:
    """Fitted deviations by key; what is silent deviates by nothing."""

    specs: Mapping[str, KernelSpec]
    deviations: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def _architectures(self) -> Mapping[str, tuple[str, ...]]:
        """Architectures with a deviation of their own, by the constant's name."""
        found: dict[str, list[str]] = {}
        for key in self.deviations:
            name, _, rest = key.partition("@architecture=")
            if rest:
                found.setdefault(name, []).append(rest)
        return {name: tuple(owners) for name, owners in found.items()}

    def value(self, name: str, settings: Owners) -> Floats:
        """Value of a constant in every distinct setting, shape (distinct,)."""
        spec = self.specs[name]
        log_value = np.full(len(settings.distinct), math.log(spec.prior) + self.deviations.get(name, 0.0))
        for level in spec.levels:
            for i, owner in enumerate(settings.owners(level)):
                if level == "architecture":
                    owner = neighbours(owner, self._architectures.get(name, ()))
                log_value[i] += self.deviations.get(key_of(name, level, owner), 0.0)
        return np.asarray(np.clip(np.exp(log_value), spec.low, spec.high))

    def rows(self, settings: Owners, names: Iterable[str] | None = None) -> dict[str, Floats]:
        """Values of all constants, gathered to rows: name -> shape (rows,)."""
        chosen: Final = tuple(self.specs) if names is None else tuple(names)
        return {name: self.value(name, settings)[settings.row] for name in chosen}

    @property
    def count(self) -> int:
        """Number of fitted deviations."""
        return len(self.deviations)
