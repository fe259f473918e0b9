"""Colour refinement: hashes that are the same on every machine, and what they cannot tell apart."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from .shares import Floats, Ints

Colours: TypeAlias = NDArray[np.uint64]


def mixed(values: Ints | Colours, salt: int) -> Colours:
    """A 64-bit hash of each whole number: the finaliser of splitmix64 (Steele et al., OOPSLA 2014)."""
    z = values.view(np.uint64) + np.uint64(((salt + 1) * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF)
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z


def coloured(*columns: Floats) -> Colours:
    """A 64-bit colour of each row: the same for equal rows, for others different but for a chance of 2^-64."""
    colour = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        if not (len(column) and (column[0] == column).all()):
            colour = mixed(colour ^ mixed(column.view(np.uint64), 11), 12)
    return colour


def alike(colour: Ints, tail: Ints, head: Ints, kind: Ints) -> Ints:
    """The coarsest split of vertices that is finer than `colour` and equitable; cells 0, 1, ... by first member.

    Equitable: all vertices of a cell have equally many links of each kind to each cell. Found by colour refinement.
    """
    salt = 0
    cells = len(np.unique(colour))
    while True:
        salt += 1
        seen = mixed(mixed(colour[head], salt) ^ mixed(kind, salt + 1000), salt)
        keys = np.empty((3, len(colour)))
        keys[0] = colour
        keys[1] = np.bincount(tail, (seen & np.uint64(0xFFFFFFFF)).astype(np.float64), len(colour))
        keys[2] = np.bincount(tail, (seen >> np.uint64(32)).astype(np.float64), len(colour))
        colour = ranked(keys)
        found = int(colour.max()) + 1
        if found == cells:
            _, first, inverse = np.unique(colour, return_index=True, return_inverse=True)
            rank = np.empty(found, np.int64)
            rank[np.argsort(first)] = np.arange(found)
            return rank[inverse.reshape(-1)]
        cells = found


def ranked(keys: Floats) -> Ints:
    """The number of each column of `keys` among the distinct ones."""
    order = np.lexsort(keys)
    new = (np.diff(keys[:, order], axis=1) != 0).any(axis=0)
    rank = np.empty(keys.shape[1], np.int64)
    rank[order] = np.concatenate([[0], np.cumsum(new)])
    return rank
