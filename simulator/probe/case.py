"""A case: one thing to measure, named by what it is; and how cases are spread over their ranges."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

#: A call to be timed.
Call = Callable[[], object]
#: (precision, kind) pairs that the cases of a suite are balanced over.
Strata = tuple[tuple[str, str], ...]

_PRIMES: Final = (2, 3, 5, 7, 11, 13)


class NotHere(RuntimeError):  # noqa: N818 (a verdict on a case, no error of the program)
    """A case that this machine or this release of PyTorch cannot run; the message is the reason."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One thing to measure.

    ``shape`` has plain numbers and words; the keys of kernels are those of the table of measured kernels. ``flop`` is
    the nominal work [FLOP], ``byte`` what the call reads and writes when every tensor moves once [B].
    """

    suite: str
    precision: str
    shape: Mapping[str, int | str]
    flop: float
    byte: float

    @property
    def id(self) -> str:
        """The case's name: the same for the same thing, wherever it stands in the order."""
        return "/".join((self.suite, self.precision, *(f"{k}={v}" for k, v in self.shape.items())))


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much one call may work [FLOP] and move [B], from the least to the most worth a measurement."""

    flop: tuple[float, float]
    byte: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Draw:
    """The place of one case in its stratum: a point of a low-discrepancy sequence, the same for the same seed."""

    index: int
    seed: int
    stratum: int

    def share(self, axis: int) -> float:
        """A number in [0, 1): Halton's sequence along an axis, shifted by the seed and the stratum.

        .. math:: u = (\\phi_{p}(i + 1) + s) \\bmod 1

        with the radical inverse phi in the axis' prime base p. Any prefix covers the axis evenly, which independent
        draws do not. Reference: Halton (1960), Numerische Mathematik 2; the shift is Cranley and Patterson's (1976).
        """
        base = _PRIMES[axis]
        shift = math.modf((self.seed * 0.754877666 + (self.stratum + 1) * (axis + 1) * 0.569840291) % 1.0)[0]
        value, digit, left = 0.0, 1.0 / base, self.index + 1
        while left:
            value += (left % base) * digit
            left //= base
            digit /= base
        return (value + shift) % 1.0

    def log(self, axis: int, low: float, high: float) -> float:
        """A number between two limits, even in its logarithm."""
        return float(low * (high / low) ** self.share(axis))

    def one_of(self, axis: int, words: Sequence[Any]) -> Any:
        """One of some values."""
        return words[int(self.share(axis) * len(words))]


@dataclass(frozen=True, kw_only=True)
class Suite:
    """One suite.

    ``strata`` are what its cases are balanced over on a kind of device; ``case`` makes the one at a place of a stratum,
    ``prepare`` the call that is timed, on the host's clock with ``host_timed``. ``most`` cases are worth measuring.
    ``between_ranks``: all ranks of a group make the call together.
    """

    name: str
    title: str
    strata: Callable[[Sequence[str], str], Strata]
    case: Callable[[str, str, Draw, Scale], Case]
    prepare: Callable[[Any, str, Case], Call]
    most: int
    host_timed: bool = False
    between_ranks: bool = False

    def cases(self, precisions: Sequence[str], device: str, seed: int, scale: Scale) -> list[Case]:
        """All cases, stratum after stratum in turn, each once."""
        strata = self.strata(precisions, device)
        found: dict[str, Case] = {}
        for index in range(self.most if strata else 0):
            place, within = index % len(strata), index // len(strata)
            case = self.case(*strata[place], Draw(index=within, seed=seed, stratum=place), scale)
            found.setdefault(case.id, case)
        return list(found.values())


def crossed(kinds: Sequence[str], *, products: bool = False) -> Callable[[Sequence[str], str], Strata]:
    """Strata of a suite whose kinds exist in every precision; tf32 is a way to multiply, for products alone."""

    def strata(precisions: Sequence[str], device: str) -> Strata:
        return tuple((p, kind) for kind in kinds for p in precisions if products or p != "tf32")

    return strata


#: Bytes of an element by precision word.
ELEMENT_BYTE: Final[Mapping[str, float]] = {"fp64": 8.0, "fp32": 4.0, "tf32": 4.0, "bf16": 2.0, "fp16": 2.0}
_DTYPES: Final = {"fp64": "float64", "fp32": "float32", "tf32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def dtype_of(torch: Any, precision: str) -> Any:
    """PyTorch's type of a precision; tf32 is a way to multiply fp32."""
    return getattr(torch, _DTYPES[precision])


def rounded(value: float, multiple: int) -> int:
    """The nearest positive multiple."""
    return max(multiple, round(value / multiple) * multiple)
