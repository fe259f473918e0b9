"""Which blocks stand on which stage and in which chunk: by the roles of stages, or stage by stage as given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..kept import once_per_object
from ..kernels.optable import Ints
from ..lowering import Lowered
from ..stepspec import SCHEDULES

_ZBV = SCHEDULES.index("zbv")


def given_layers(low: Lowered) -> Mapping[int, Ints]:
    """Strategies whose stages are given one by one: blocks of each kind, (p, G) or with chunks (p, v, G)."""
    layers: Mapping[int, Ints] = getattr(low, "stage_layers", {})
    return layers


def split_chunks(repeats: Ints, virtual_stages: int) -> Ints:
    """Blocks of stages over their virtual stages, shape (..., G) -> (..., v, G).

    The most repeated block is spread, early chunks taking one more where it does not divide; blocks before it stay in
    the first chunk, blocks after it in the last.
    """
    at, before, after = _around_spread(repeats)
    chunk = np.arange(virtual_stages)[:, None]
    share, rest = divmod(repeats[..., None, :], virtual_stages)
    spread = share + (chunk < rest)
    kept = np.where(before[..., None, :], chunk == 0, after[..., None, :] & (chunk == virtual_stages - 1))
    return np.asarray(np.where(at[..., None, :], spread, kept * repeats[..., None, :]), dtype=np.int64)


def first_chunk(repeats: Ints, virtual_stages: Ints) -> Ints:
    """Blocks in the first chunk of `split_chunks`, each strategy with its own number of them; (S, R, G)."""
    v = virtual_stages[:, None, None]
    at, _, after = _around_spread(repeats)
    return np.asarray(np.where(at, -(-repeats // v), np.where(after & (v > 1), 0, repeats)), dtype=np.int64)


def last_chunk(repeats: Ints, virtual_stages: Ints) -> Ints:
    """Blocks in the last chunk of `split_chunks`; (S, R, G)."""
    v = virtual_stages[:, None, None]
    at, before, _ = _around_spread(repeats)
    return np.asarray(np.where(at, repeats // v, np.where(before & (v > 1), 0, repeats)), dtype=np.int64)


def _around_spread(repeats: Ints) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Where the block stands that is spread over chunks, what is before and what after it; (..., G) each."""
    spread = np.argmax(repeats, axis=-1)[..., None]
    index = np.arange(repeats.shape[-1])
    return index == spread, index < spread, index > spread


def roles_of(stages: int) -> Ints:
    """The role of every stage of a pipeline, (p,): first, middle ..., last."""
    roles = np.ones(stages, np.int64)
    roles[-1] = 2
    roles[0] = 0
    return roles


def stage_layers(low: Lowered, rows: Ints) -> Ints:
    """Blocks of every chunk of every stage of strategies with like p and v, (n, p, v, G).

    In "zbv" what follows the blocks that are spread over the stages stands at the end of the model, which is in the
    second chunk of the first rank, unless chunks are given too.
    """
    stages, virtual = int(low.pp[rows[0]]), int(low.virtual_stages[rows[0]])
    layers = split_chunks(low.repeat[rows][:, roles_of(stages)], virtual)
    whole = np.sum(low.repeat[rows] * low.role_stages[rows][:, :, None], axis=1)
    chunked = np.zeros(len(rows), bool)
    given = given_layers(low)
    if given:
        for place, row in enumerate(rows):
            if (own := given.get(int(row))) is not None:
                chunked[place] = own.ndim == 3
                layers[place] = own if own.ndim == 3 else split_chunks(own, virtual)
                whole[place] = np.sum(layers[place], axis=(0, 1))
    turned = (low.schedule[rows] == _ZBV) & ~chunked
    if stages > 1 and turned.any():
        _, _, after = _around_spread(whole)
        tail = np.where(turned[:, None] & after, np.sum(layers[:, -1], axis=1), 0)
        layers[:, 0, -1] += tail
        layers[:, -1] = np.where(tail[:, None] > 0, 0, layers[:, -1])
    return layers


def alike_in_the_middle(layers: Ints) -> NDArray[np.bool_]:
    """Whether the stages between the first and the last hold the same, (n, p, v, G) -> (n,)."""
    middle = layers[:, 1:-1]
    return np.asarray((middle == middle[:, :1]).all(axis=(1, 2, 3)))


@dataclass(frozen=True, kw_only=True)
class RoleBlocks:
    """Blocks of the first, a middle and the last stage; (S, R, G) each."""

    whole: Ints
    first: Ints  # in the first chunk
    last: Ints  # in the last chunk


@once_per_object
def role_blocks(low: Lowered) -> RoleBlocks:
    """Blocks by role; where stages are given one by one, those of stage 0, 1 and p - 1."""
    if (low.virtual_stages == 1).all():
        first = last = low.repeat
    else:
        first, last = first_chunk(low.repeat, low.virtual_stages), last_chunk(low.repeat, low.virtual_stages)
    given = given_layers(low)
    if not given:
        return RoleBlocks(whole=low.repeat, first=first, last=last)
    whole, first, last = low.repeat.copy(), first.copy(), last.copy()
    for row in given:
        layers = stage_layers(low, np.array([row]))[0]
        for role, stage in enumerate((0, 1, -1)):
            if low.role_stages[row, role]:
                whole[row, role] = layers[stage].sum(axis=0)
                first[row, role], last[row, role] = layers[stage, 0], layers[stage, -1]
    return RoleBlocks(whole=whole, first=first, last=last)


def by_stage(low: Lowered, rows: Ints, layers: Ints, of_role_ps: Ints) -> Ints:
    """A duration of stages from that of roles, (S, R) -> (n, p) [ps].

    In proportion to the parameters that a stage holds where it holds others than its role; a collective's latency is
    scaled with the rest.
    """
    roles = roles_of(layers.shape[1])
    values = of_role_ps[rows][:, roles]
    held = low.held_parameters[rows]
    own = np.einsum("npg,ng->np", layers.sum(axis=2).astype(float), held)
    usual = np.einsum("nrg,ng->nr", low.repeat[rows].astype(float), held)[:, roles]
    ratio = np.where(usual > 0.0, own / np.where(usual > 0.0, usual, 1.0), 1.0)
    return np.asarray(np.rint(values * ratio), dtype=np.int64)


def by_role(low: Lowered, of_role_ps: Ints) -> Ints:
    """The same by role, (S, R): where stages are given one by one, those of stage 0, 1 and p - 1."""
    given = given_layers(low)
    if not given:
        return of_role_ps
    values = of_role_ps.copy()
    for row in given:
        rows = np.array([row])
        own = by_stage(low, rows, stage_layers(low, rows), of_role_ps)[0]
        for role, stage in enumerate((0, 1, -1)):
            if low.role_stages[row, role]:
                values[row, role] = own[stage]
    return values
