"""Legal questions for every algorithm: ranks, sizes and options that they can be asked with."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.collectives.algorithms import ALGORITHMS, Algorithm

RANKS = [*range(1, 18), 24, 31, 32, 64]
COMPOSITE = [1, 2, 3, 4, 6, 8, 12, 15, 17, 24, 36, 64]  # for what has many shapes for one number of ranks
SHAPED = ("two_level", "torus", "halo")
SIZES = (1, 2, 7, 64, 97)


def factors(ranks: int, count: int) -> tuple[int, ...]:
    """The first of all ways to write a number as a product of so many, nearest to a cube."""
    if count == 1:
        return (ranks,)
    first = max(f for f in range(1, ranks + 1) if ranks % f == 0 and f**count <= ranks)
    return (first, *factors(ranks // first, count - 1))


def _option_sets(one: Algorithm, collective: str, ranks: int) -> list[dict[str, object]]:
    """Some legal options of an algorithm, at least one."""
    match one.name:
        case "two_level":
            sizes = {size for size in range(1, ranks + 1) if ranks % size == 0}
            return [
                {"ranks_per_server": size, "across": across}
                for size in sizes
                for across in ("ring", "halving_doubling", "recursive_doubling")[
                    : 3 if collective == "all_reduce" else 2
                ]
            ]
        case "torus":
            return [
                {"dims": factors(ranks, k)[::way], "both_ways": b} for k in (1, 2, 3) for way in (1, -1) for b in (0, 1)
            ]
        case "chain" | "double_binary_tree":
            return [{"chunks": chunks} for chunks in (1, 2, 5, 16)]
        case "halo":
            grids = [factors(ranks, k) for k in (1, 2, 3)]
            return [
                {"grid": grid, "cells": tuple(2 * size + 1 for size in grid), "width": width, "periodic": periodic}
                for grid in grids
                for width in (1, 2)
                for periodic in (True, False)
            ]
        case _:
            return [{}]


def _legal_size(one: Algorithm, size: int, options: dict[str, object]) -> int:
    return size * int(np.prod(options["cells"])) if one.name == "halo" else size


def _cases(pairs, ranks=RANKS, sizes=SIZES):
    for name, collective in pairs:
        one = ALGORITHMS[name]
        for n in COMPOSITE if name in SHAPED else ranks:
            if not one.refusal(collective, n):
                for options in _option_sets(one, collective, n):
                    for size in sizes:
                        yield one, collective, n, _legal_size(one, size, options), options


@pytest.fixture(scope="session")
def option_sets():
    """option_sets(algorithm, collective, ranks): some legal options, at least one."""
    return _option_sets


@pytest.fixture(scope="session")
def legal_size():
    """legal_size(algorithm, size, options): the size, or where it must be a multiple, so many times as much."""
    return _legal_size


@pytest.fixture(scope="session")
def cases():
    """cases([(name, collective)], ranks, sizes): (algorithm, collective, ranks, size, options), all that are legal."""
    return _cases
