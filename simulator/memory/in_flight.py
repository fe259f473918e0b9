"""Micro-batches whose activations a stage holds at once."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..kernels.optable import Floats, Ints
from ..lowering import ROLES
from ..schedules import SCHEDULES as ORDERS
from ..stepspec import SCHEDULES

#: Schedules whose count is a closed form over arrays here; the others are asked one pipeline shape at a time.
_CLOSED = ("gpipe", "1f1b", "interleaved")


def activations_in_flight(columns: Mapping[str, Ints], *, blocks_before_and_after: tuple[Ints, int]) -> Floats:
    """Micro-batches whose activations a stage holds at once, by role and block; shape (S, R, G).

    For the blocks of a stage these are the schedules' own formulas (`simulator.schedules`) on stage 0, 1 and p - 1.
    Layers before the blocks belong to the first chunk, of which the interleaved schedule holds up to 2 p micro-batches;
    layers after them to the last, whose backward pass follows at once.
    """
    repeats, spread = blocks_before_and_after
    p, m, v = columns["pp"], columns["micro_batches"], columns["virtual_stages"]
    gpipe = (columns["schedule"] == SCHEDULES.index("gpipe"))[:, None]
    interleaved = (columns["schedule"] == SCHEDULES.index("interleaved"))[:, None]
    stage = np.stack([np.zeros_like(p), np.minimum(1, p - 1), p - 1], axis=1)
    left = p[:, None] - stage
    many, chunks = m[:, None], v[:, None]
    warm_up = 2 * (left - 1) + (chunks - 1) * p[:, None]
    blocks = np.where(interleaved, np.minimum(warm_up + 1, many * chunks) / chunks, np.minimum(left, many))
    blocks = np.where(gpipe, many, blocks).astype(np.float64)
    for index, word in enumerate(SCHEDULES):
        if word not in _CLOSED:
            _ask(word, columns["schedule"] == index, stage, (p, m, v), blocks)
    first = np.where(interleaved & (chunks > 1), np.minimum(2 * p[:, None], many), blocks)
    last = np.where(gpipe, many, np.ones_like(blocks))
    place = np.arange(len(repeats))[None, None, :]
    result = np.where(place < spread, first[:, :, None], np.where(place > spread, last[:, :, None], blocks[:, :, None]))
    assert result.shape[1] == ROLES
    return np.asarray(result, dtype=np.float64)


def _ask(word: str, chosen: Ints, stage: Ints, shape: tuple[Ints, Ints, Ints], blocks: Floats) -> None:
    """Fill in what a schedule's own function says, once for every distinct pipeline."""
    rows = np.flatnonzero(chosen)
    if not len(rows):
        return
    distinct, where = np.unique(np.stack([c[rows] for c in shape], axis=1), axis=0, return_inverse=True)
    where = where.reshape(-1)
    for index, (p, m, v) in enumerate(distinct.tolist()):
        members = rows[where == index]
        for role in range(ROLES):
            at = int(stage[members[0], role])
            blocks[members, role] = ORDERS[word].activations_in_flight(at, p, m, v)
