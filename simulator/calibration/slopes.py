"""How step times of runs follow the fitted constants: which constant touches which run, and by how much.

A run depends on the constants of its own chip family, stack and fabrics only, so that of some hundred constants a few
dozen touch it. Constants that touch no run in common (those of one name with different owners, those of attention and
those of convolutions) form one *move*: they are moved together, and a row of the Jacobian is one number for each move
instead of one for each constant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from ..constants import SPECS, Constants, key_of
from ..kernels.optable import Floats, Ints
from ..lowering import Context


@dataclass(frozen=True, kw_only=True)
class Owners:
    """Which chip family, chip, stack and fabrics every run depends on."""

    chip: tuple[str, ...]
    board: tuple[str, ...]
    stack: tuple[str, ...]
    up_fabric: tuple[str, ...]
    out_fabric: tuple[str, ...]


def owners_of(contexts: Sequence[Context]) -> Owners:
    """The owners of constants, run by run."""
    return Owners(
        chip=tuple(c.cluster.chip.architecture for c in contexts),
        board=tuple(c.cluster.chip.id for c in contexts),
        stack=tuple(c.stack.id for c in contexts),
        up_fabric=tuple(c.cluster.up_fabric for c in contexts),
        out_fabric=tuple(c.cluster.out_fabric for c in contexts),
    )


@dataclass(frozen=True, kw_only=True)
class Moves:
    """Constants that are moved at once, and which of each move touches every run.

    ``keys`` are those of every move, ``all_keys`` of all in order; ``touching`` (runs, moves) is the place of the one
    that touches a run in ``all_keys``, -1 where none does.
    """

    keys: tuple[tuple[str, ...], ...]
    all_keys: tuple[str, ...]
    touching: Ints


def moves_of(owners: Owners) -> Moves:
    """All moves of the constants that runs depend on."""
    columns: list[tuple[list[str], list[str]]] = []  # keys of the move, key by run
    for spec in SPECS.values():
        if spec.scope == "global":
            columns.append(([spec.name], [spec.name] * len(owners.chip)))
        elif spec.scope == "fabric":
            for fabrics in _apart(owners.up_fabric, owners.out_fabric):
                pairs = zip(owners.up_fabric, owners.out_fabric, strict=True)
                own = [up if up in fabrics else out if out in fabrics else "" for up, out in pairs]
                keys = [key_of(spec.name, o) for o in sorted(fabrics)]
                columns.append((keys, [key_of(spec.name, o) if o else "" for o in own]))
        else:
            by_run = [key_of(spec.name, o) for o in getattr(owners, spec.scope)]
            columns.append((sorted(set(by_run)), by_run))
    all_keys = tuple(sorted({key for keys, _ in columns for key in keys}))
    index = {key: i for i, key in enumerate(all_keys)} | {"": -1}
    touching = np.array([[index[key] for key in by_run] for _, by_run in columns], dtype=np.int64).T
    return Moves(keys=tuple(tuple(keys) for keys, _ in columns), all_keys=all_keys, touching=touching)


def merged(moves: Moves, depending_on: Callable[[Sequence[str]], NDArray[np.bool_]]) -> Moves:
    """Fewer moves: those that no run depends on two of become one, the ones of most runs first.

    ``depending_on`` says of every run whether it can depend on some keys, shape (runs,).
    """
    touched = [depending_on(keys) & (moves.touching[:, i] >= 0) for i, keys in enumerate(moves.keys)]
    together: list[list[int]] = []
    runs: list[NDArray[np.bool_]] = []
    for i in sorted(range(len(touched)), key=lambda i: -int(touched[i].sum())):
        place = next((p for p, taken in enumerate(runs) if not (taken & touched[i]).any()), len(runs))
        if place == len(runs):
            together.append([])
            runs.append(np.zeros(len(touched[i]), bool))
        together[place].append(i)
        runs[place] |= touched[i]
    touching = np.full((len(moves.touching), len(together)), -1, np.int64)
    for place, members in enumerate(together):
        for i in members:
            touching[touched[i], place] = moves.touching[touched[i], i]
    keys = tuple(tuple(key for i in members for key in moves.keys[i]) for members in together)
    return Moves(keys=keys, all_keys=moves.all_keys, touching=touching)


def _apart(one: Sequence[str], other: Sequence[str]) -> list[set[str]]:
    """The owners in two columns of runs, in sets of which no run has two: a greedy colouring of those that meet."""
    met: dict[str, set[str]] = {owner: set() for owner in (*sorted(set(one)), *sorted(set(other)))}
    for a, b in set(zip(one, other, strict=True)):
        met[a].add(b)
        met[b].add(a)
    sets: list[set[str]] = []
    for owner, others in met.items():
        free = next((members for members in sets if others.isdisjoint(members)), None)
        if free is None:
            sets.append({owner})
        else:
            free.add(owner)
    return sets


def measured_slopes(
    step_s: Callable[[Constants, Sequence[str]], Floats], before_s: Floats, moves: Moves, point: Floats, step: Floats
) -> Floats:
    """d ln(step time) / d ln(constant) by finite differences; (runs, moves).

    Parameters
    ----------
    step_s
        Step times with constants of which only those of the given keys have moved.
    before_s
        Step times at ``point``, shape (runs,).
    point, step
        Logarithms of the constants, in the order of ``moves.all_keys``, and by how much to move each.
    """
    index = {key: i for i, key in enumerate(moves.all_keys)}
    slopes = np.zeros(moves.touching.shape)
    for column, keys in enumerate(moves.keys):
        chosen = [index[key] for key in keys]
        shifted = point.copy()
        shifted[chosen] += step[chosen]
        change = np.log(step_s(constants_at(moves, shifted), keys) / before_s)
        touching = moves.touching[:, column]
        slopes[:, column] = np.where(touching >= 0, change / step[touching], 0.0)
    return slopes


def corrected_slopes(slopes: Floats, moves: Moves, step: Floats, change: Floats) -> Floats:
    """The slopes nearest to given ones that explain what a step changed; (runs, moves).

    .. math:: J_i' = J_i + (y_i - J_i s_i) s_i^T / (s_i^T s_i)

    run by run, with the step s_i of the constants that touch run i and the change y_i of its logarithm: Broyden's
    update of each row within its own pattern (Schubert, Mathematics of Computation 24, 1970).
    """
    taken = np.where(moves.touching >= 0, step[moves.touching], 0.0)
    taken = np.where(slopes != 0.0, taken, 0.0)
    length = np.sum(taken**2, axis=1)
    missed = change - np.sum(slopes * taken, axis=1)
    factor = np.divide(missed, length, out=np.zeros_like(missed), where=length > 1e-12)
    return np.asarray(slopes + factor[:, None] * taken)


def normal_equations(slopes: Floats, moves: Moves, weight: Floats, residual: Floats) -> tuple[Floats, Floats]:
    """J^T W J and J^T W r, (keys, keys) and (keys,); summed in the order of runs, the same on any number of cores."""
    runs, column = np.nonzero((slopes != 0.0) & (weight > 0.0)[:, None] & (moves.touching >= 0))
    slope, places = slopes[runs, column], (runs, moves.touching[runs, column])
    shape = (len(residual), len(moves.all_keys))
    jacobian = scipy.sparse.csr_array((slope, places), shape=shape)
    weighted = scipy.sparse.csr_array((slope * weight[runs], places), shape=shape)
    return np.asarray((weighted.T @ jacobian).toarray()), np.asarray(weighted.T @ residual)


def constants_at(moves: Moves, point: Floats) -> Constants:
    """The constants whose logarithms are a point."""
    return Constants(values=dict(zip(moves.all_keys, np.exp(point).tolist(), strict=True)))
