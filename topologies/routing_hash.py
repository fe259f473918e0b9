"""The choice of a path as switches make it: a hash of who speaks to whom, the same every time for one seed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from topologies.link_table import Ints

_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX = ((np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)), (np.uint64(27), np.uint64(0x94D049BB133111EB)))


def ecmp_choice(source: Any, target: Any, *, seed: int = 0, salt: int = 0) -> Ints:
    """A number from 0 to 2^62 - 1 for each (source, target): equal-cost paths are taken modulo how many there are.

    Parameters
    ----------
    source, target
        Whole numbers that broadcast: end points, or flow numbers.
    seed
        One for a network: another seed is another network of the same kind.
    salt
        Different for draws that must not depend on each other, such as the way there and the turning point.

    Notes
    -----
    The output function of SplitMix64 [1]_, applied to seed, source, target and salt in turn.

    References
    ----------
    .. [1] G. L. Steele, D. Lea and C. H. Flood, Fast splittable pseudorandom number generators, OOPSLA 2014.
    """
    # As words of 64 bits and never as scalars: arrays of unsigned numbers wrap around silently, which is what is
    # wanted.
    words = [np.atleast_1d(np.asarray(word)).astype(np.int64).view(np.uint64) for word in (source, target, salt)]
    state = _mixed(np.array([seed % 2**64], np.uint64))
    for word in words:
        state = _mixed(state ^ word)
    shape = np.broadcast_shapes(np.shape(source), np.shape(target))
    choice: Ints = (state >> np.uint64(2)).astype(np.int64).reshape(shape)
    return choice


def _mixed(word: NDArray[np.uint64]) -> NDArray[np.uint64]:
    word = word + _STEP
    for shift, factor in _MIX:
        word = (word ^ (word >> shift)) * factor
    return word ^ (word >> np.uint64(31))
