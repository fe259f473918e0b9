"""What a product costs in energy when its weights are fetched once for so many samples: why batch one wants SRAM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from .optable import Floats

#: Energy at 45 nm of one 16-bit integer operation or of one access to a word of 16 bits [pJ]. Pedram, Richardson,
#: Galal, Kvatinsky, Horowitz, "Dark memory and accelerator-rich system optimization in the dark silicon era", IEEE
#: Design and Test, 2017, arXiv:1602.04183. An SRAM of 4 K words, one of 32 K words.
WORD_PJ: Final[Mapping[str, float]] = {
    "add": 0.18, "multiply": 0.62, "register": 0.12, "sram 4k": 8.0, "sram 32k": 11.0, "dram": 640.0,
}  # fmt: skip
#: Where weights may lie.
STORES: Final = ("sram 4k", "sram 32k", "dram")
#: Registers that a product reads or writes beside the weight: the activation, and the sum twice.
REGISTER_ACCESSES: Final = 3.0


class ReuseError(ValueError):
    """A place for weights, or a reuse, that cannot be."""


def _fetch_pj(store: str) -> float:
    if store not in STORES:
        raise ReuseError(f"store is {store!r}; legal: {', '.join(STORES)}.")
    return WORD_PJ[store]


def _arithmetic_pj() -> float:
    return WORD_PJ["multiply"] + WORD_PJ["add"] + REGISTER_ACCESSES * WORD_PJ["register"]


def flop_per_joule(store: str, *, samples: ArrayLike) -> Floats:
    r"""Operations for a joule where each weight is fetched once for ``samples`` products; shape as ``samples``.

    .. math:: \frac{2}{e_{mul} + e_{add} + 3 e_{reg} + e_{store} / B} \quad [FLOP/J]

    One sample makes a product of a matrix and a vector, B samples one of two matrices. Integer arithmetic at 45 nm.
    Leaves out: activations that leave the registers, sums between cores, control, clocks, leakage and idle cores (a
    machine at utilisation u with half of its power idle loses about (1 - u) / 2), writing weights back.
    """
    reuse = np.asarray(samples, dtype=np.float64)
    if not np.all(np.isfinite(reuse)) or np.any(reuse < 1.0):
        raise ReuseError(f"samples is {samples!r}; each 1 or more.")
    return np.asarray(2e12 / (_arithmetic_pj() + _fetch_pj(store) / reuse))


def samples_to_match(store: str, other: str) -> float:
    """Samples for which weights fetched from ``store`` cost no more than those fetched for each sample from ``other``.

    The ratio of the two accesses, e_store / e_other, at least 1: arithmetic is the same on both sides.
    """
    return max(_fetch_pj(store) / _fetch_pj(other), 1.0)
