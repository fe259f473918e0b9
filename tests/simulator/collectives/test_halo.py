"""Halo exchange: what the rounds send is what a rank can see across its faces, cell by cell."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from simulator.collectives import halo
from simulator.collectives.rounds import CollectiveError


def owner_of(grid, cells):
    """The rank of each cell of the domain."""
    dealt = [
        np.repeat(np.arange(p), [n // p + (i < n % p) for i in range(p)]) for p, n in zip(grid, cells, strict=True)
    ]
    return np.ravel_multi_index(np.meshgrid(*dealt, indexing="ij"), grid)


def seen_across_faces(grid, cells, width, periodic):
    """(sender, receiver, axis, way) -> cells: step out through each rank's faces and ask who owns it."""
    owner, found = owner_of(grid, cells), Counter()

    def cell(at, axis, steps):
        place = at[axis] + steps
        if not periodic and not 0 <= place < cells[axis]:
            return None
        return (*at[:axis], place % cells[axis], *at[axis + 1 :])

    for at in itertools.product(*(range(size) for size in cells)):
        for axis, way in itertools.product(range(len(cells)), (1, -1)):
            beyond = [cell(at, axis, way * far) for far in range(1, width + 1)]
            if beyond[0] is None or owner[beyond[0]] == owner[at]:
                continue  # the edge of the domain, or no face
            for there in beyond:
                found[int(owner[there]), int(owner[at]), axis, -way] += 1
    return dict(found)


@pytest.mark.parametrize(
    ("grid", "cells"), [((4,), (13,)), ((3, 2), (7, 9)), ((2, 3), (8, 8)), ((1, 4), (3, 9)), ((2, 3, 2), (5, 7, 4))]
)
@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("periodic", [True, False])
def test_every_rank_gets_the_cells_beyond_its_faces(grid, cells, width, periodic):
    ranks, cell_byte = math.prod(grid), 3
    rounds = halo.rounds(
        "halo_exchange", ranks, cell_byte * math.prod(cells), grid=grid, cells=cells, width=width, periodic=periodic
    )
    expected = seen_across_faces(grid, cells, width, periodic)
    divided = [(axis, way) for axis, parts in enumerate(grid) if parts > 1 for way in (1, -1)]
    assert len(rounds) == len(divided)
    found = {}
    for one, (axis, way) in zip(rounds, divided, strict=True):
        for source, target, byte in zip(one.source.tolist(), one.target.tolist(), one.byte.tolist(), strict=True):
            found[source, target, axis, way] = byte // cell_byte
    assert found == expected


def test_a_square_by_hand():
    """4 ranks, 2 x 2, of 10 x 10 cells of 8 bytes, one layer: four rounds of 5 cells, all ranks busy in each."""
    rounds = halo.rounds("halo_exchange", 4, 800, grid=(2, 2), cells=(10, 10))
    assert [one.byte.tolist() for one in rounds] == [[40] * 4] * 4
    assert [one.target.tolist() for one in rounds] == [[2, 3, 0, 1]] * 2 + [[1, 0, 3, 2]] * 2
    wall = halo.rounds("halo_exchange", 4, 800, grid=(2, 2), cells=(10, 10), periodic=False)
    assert [(one.source.tolist(), one.target.tolist()) for one in wall] == [
        ([0, 1], [2, 3]), ([2, 3], [0, 1]), ([0, 2], [1, 3]), ([1, 3], [0, 2]),
    ]  # fmt: skip
    time = halo.seconds(
        "halo_exchange", ranks=4, message_byte=800, latency_s=1.0, byte_per_s=40.0, grid=(2, 2), cells=(10, 10)
    )
    assert time == 4 * (1.0 + 1.0)


def test_surface_grows_slower_than_volume():
    """Cut 8 times finer in each of three dimensions, a rank's halo is 64 times smaller, its cells 512 times."""
    wire = {"latency_s": 0.0, "byte_per_s": 1e9, "message_byte": 8.0 * 4096**3, "cells": [4096.0] * 3}
    coarse, fine = (halo.seconds("halo_exchange", ranks=p**3, grid=[p] * 3, **wire) for p in (2, 16))
    assert coarse / fine == pytest.approx(64.0)


def test_closed_form_refuses_halos_wider_than_a_rank():
    wire = {"ranks": 4, "message_byte": 64, "latency_s": 0.0, "byte_per_s": 1.0}
    with pytest.raises(CollectiveError, match="width is 3, but some rank has 2 layers along dimension 0"):
        halo.seconds("halo_exchange", grid=(4, 1), cells=(8, 8), width=3, **wire)
    with pytest.raises(CollectiveError, match="grid has 2 dimensions, cells 1; as many in both"):
        halo.seconds("halo_exchange", grid=(4, 1), cells=(8,), **wire)
    with pytest.raises(CollectiveError, match="ranks is 4; the product of grid"):
        halo.seconds("halo_exchange", grid=(4, 2), cells=(8, 8), **wire)
