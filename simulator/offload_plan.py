"""Moving activations to the host and back over one copy stream: which layers, and how much longer the step gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .kernels.optable import Floats

#: Choices that the search looks at, at most; beyond them the best found so far is given and `exact` says so.
MOST_CHOICES: Final = 60_000


@dataclass(frozen=True, kw_only=True)
class OffloadPlan:
    """One step, moment by moment.

    ``moved``: layers whose activations go to the host; shape (n,). ``step_s``: forward and backward, waits within;
    ``wait_s``: over the compute alone. ``moment_s`` and ``held_byte``: when what is held changes, and to what.
    ``exact``: no other choice of layers is faster.
    """

    moved: NDArray[np.bool_]
    step_s: float
    wait_s: float
    moved_byte: float
    moment_s: Floats
    held_byte: Floats
    exact: bool = False

    @property
    def peak_byte(self) -> float:
        """Most that is held at a time [B]."""
        return float(self.held_byte.max())

    @property
    def mean_byte(self) -> float:
        """What is held on average over the step [B]."""
        return float(np.sum(np.diff(np.append(self.moment_s, self.step_s)) * self.held_byte) / self.step_s)


@dataclass(frozen=True, kw_only=True)
class _Chain:
    forward_s: tuple[float, ...]
    backward_s: tuple[float, ...]
    kept_byte: tuple[float, ...]
    byte_per_s: float
    limit_byte: float

    @property
    def compute_s(self) -> float:
        return sum(self.forward_s) + sum(self.backward_s)


def plan_offload(
    forward_s: ArrayLike,
    backward_s: ArrayLike,
    kept_byte: ArrayLike,
    link_byte_per_s: float,
    limit_byte: float,
    *,
    way: str = "best",
    marked: ArrayLike | None = None,
) -> OffloadPlan:
    """Which layers' activations to move so that the step fits and is hardly longer.

    What a layer keeps is there from the start of its forward pass to the end of its backward pass; moved, it is gone
    from the end of its copy out to the start of its copy back. One stream copies in order, out after the layer's
    forward pass, back in the order of the backward passes once the last forward pass is done, both as soon as the
    stream and the memory are free; a pass waits for the memory or the data it needs.

    Leaves out: gradients and workspaces (take them off the limit), host memory, contention on the host link.

    Parameters
    ----------
    way
        ``best``: the fastest choice of layers, by branch and bound (exact up to `MOST_CHOICES`). ``all``: every layer,
        as vDNN does: the next pass waits for the copy of the layer before, and a layer comes back during the backward
        pass of the layer behind it. ``marked``: so, but only the layers that ``marked`` names (vDNN's convolutions).

    Raises
    ------
    ValueError
        For an unknown way, arguments that do not match, or a limit too small for any choice.

    References
    ----------
    Rhu et al. 2016, vDNN: Virtualized Deep Neural Networks, sections III and IV, arXiv:1602.08124.
    """
    chain = _checked(forward_s, backward_s, kept_byte, link_byte_per_s, limit_byte)
    n = len(chain.forward_s)
    if way == "best":
        return _best(chain)
    if way not in ("all", "marked"):
        raise ValueError(f"offload: way is {way!r}; legal: best, all, marked.")
    moved = np.ones(n, bool)
    if way == "marked":
        moved = np.zeros(n, bool) if marked is None else np.asarray(marked, dtype=bool)
        if moved.shape != (n,) or not moved.any():
            raise ValueError(f"offload: marked must name some of the {n} layers, one true or false each.")
    # The layer that goes back first has no time to be away.
    moved[-1] = False
    found = _run(chain, moved, waits_for_copies=True)
    if found is None:
        raise ValueError(
            f"offload: way {way!r} does not fit into {limit_byte:g} B; the largest layer keeps "
            f"{max(chain.kept_byte):g} B, and what is not moved stays."
        )
    return found


def run_offload(
    forward_s: ArrayLike,
    backward_s: ArrayLike,
    kept_byte: ArrayLike,
    link_byte_per_s: float,
    limit_byte: float,
    moved: Sequence[bool],
    *,
    waits_for_copies: bool = False,
) -> OffloadPlan | None:
    """One step with these layers moved, None where it does not fit; arguments as in `plan_offload`."""
    chain = _checked(forward_s, backward_s, kept_byte, link_byte_per_s, limit_byte)
    if len(moved) != len(chain.forward_s):
        raise ValueError(f"offload: moved has {len(moved)} entries for {len(chain.forward_s)} layers; one each.")
    return _run(chain, moved, waits_for_copies=waits_for_copies)


def offload_bound_s(
    forward_s: ArrayLike, backward_s: ArrayLike, kept_byte: ArrayLike, link_byte_per_s: float, limit_byte: float
) -> float:
    """No choice of layers is faster than this [s].

    The compute alone; and, of D bytes that the layers keep beyond the limit: they must be out between the first layer's
    end and the last layer's start, and back before the first layer goes back.
    """
    return _bound(_checked(forward_s, backward_s, kept_byte, link_byte_per_s, limit_byte))


def _bound(chain: _Chain) -> float:
    over = max(sum(chain.kept_byte) - chain.limit_byte, 0.0) / chain.byte_per_s
    if not over or len(chain.forward_s) < 2:
        return chain.compute_s
    return max(chain.compute_s, chain.forward_s[0] + chain.forward_s[-1] + 2.0 * over + chain.backward_s[0])


def _checked(
    forward_s: ArrayLike, backward_s: ArrayLike, kept_byte: ArrayLike, link_byte_per_s: float, limit_byte: float
) -> _Chain:
    arrays = [np.atleast_1d(np.asarray(each, dtype=np.float64)) for each in (forward_s, backward_s, kept_byte)]
    if any(each.ndim != 1 or len(each) != len(arrays[0]) or not len(each) for each in arrays):
        raise ValueError(
            f"offload: forward_s, backward_s and kept_byte have shapes {[each.shape for each in arrays]}; legal: one "
            "number each for every layer."
        )
    if any(not np.isfinite(each).all() or (each < 0).any() for each in arrays):
        raise ValueError("offload: a duration or size is negative or not finite; legal: 0 or more.")
    if not (link_byte_per_s > 0 and np.isfinite(link_byte_per_s)):
        raise ValueError(f"offload: link_byte_per_s is {link_byte_per_s:g}; more than 0.")
    if not limit_byte > 0:
        raise ValueError(f"offload: limit_byte is {limit_byte:g}; more than 0.")
    forward, backward, kept = (tuple(each.tolist()) for each in arrays)
    return _Chain(
        forward_s=forward, backward_s=backward, kept_byte=kept, byte_per_s=link_byte_per_s, limit_byte=limit_byte
    )


class _Forward:
    """The forward pass so far: its end, what is held, copies under way (end, bytes), the stream's end."""

    __slots__ = ("changes", "copies", "end", "held", "stays", "stream")

    def __init__(self) -> None:
        self.end = self.stream = self.held = self.stays = 0.0
        self.copies: tuple[tuple[float, float], ...] = ()
        self.changes: tuple[tuple[float, float], ...] = ()

    def after(self, chain: _Chain, layer: int, moved: bool, *, waits: bool) -> _Forward | None:
        """With one more layer, moved or not; None where it never fits."""
        size = chain.kept_byte[layer]
        room = chain.limit_byte * (1.0 + 1e-12)
        if self.stays + size > room:
            return None
        new = _Forward()
        start, held, copies = self.end, self.held, list(self.copies)
        changes: list[tuple[float, float]] = []
        while copies and (waits or copies[0][0] <= start or held + size > room):
            done, freed = copies.pop(0)
            start, held = max(start, done), held - freed
            changes.append((done, -freed))
        changes.append((start, size))
        new.end, new.held, new.stream = start + chain.forward_s[layer], held + size, self.stream
        new.stays = self.stays + (0.0 if moved else size)
        if moved:
            new.stream = max(self.stream, new.end) + size / chain.byte_per_s
            copies.append((new.stream, size))
        new.copies, new.changes = tuple(copies), self.changes + tuple(changes)
        return new


def _run(chain: _Chain, moved: Sequence[bool] | NDArray[np.bool_], *, waits_for_copies: bool) -> OffloadPlan | None:
    """One step with these layers moved, event by event; None where it never fits."""
    n = len(chain.forward_s)
    state = _Forward()
    for layer in range(n):
        following = state.after(chain, layer, bool(moved[layer]), waits=waits_for_copies)
        if following is None:
            return None
        state = following
    changes = list(state.changes)
    now, stream, held = state.end, state.end, state.held
    for done, freed in state.copies:
        changes.append((done, -freed))
        stream, held = max(stream, done), held - freed
    # `held` counts what is gone by the time the stream is free; releases by backward passes come in their order.
    room = chain.limit_byte * (1.0 + 1e-12)
    released: list[tuple[float, float]] = []
    started = now
    for layer in range(n - 1, -1, -1):
        size = chain.kept_byte[layer]
        if moved[layer]:
            start = max(stream, started if waits_for_copies else stream)
            while released and (released[0][0] <= start or held + size > room):
                done, freed = released.pop(0)
                start, held = max(start, done), held - freed
            held += size
            changes.append((start, size))
            stream = start + size / chain.byte_per_s
            now = max(now, stream)
        started = now
        now += chain.backward_s[layer]
        released.append((now, size))
        changes.append((now, -size))
    changes.sort(key=lambda change: (change[0], change[1]))
    moment, step = (np.array(column) for column in zip(*changes, strict=True))
    return OffloadPlan(
        moved=np.asarray(moved, dtype=bool), step_s=now, wait_s=max(now - chain.compute_s, 0.0),
        moved_byte=float(np.dot(np.asarray(moved, dtype=float), chain.kept_byte)), moment_s=moment,
        held_byte=np.cumsum(step),
    )  # fmt: skip


def _best(chain: _Chain) -> OffloadPlan:
    """Branch and bound over layers in forward order, from the best of simple choices."""
    n = len(chain.forward_s)
    simple = [[layer < first for layer in range(n)] for first in range(n + 1)]
    runs = [run for moved in simple if (run := _run(chain, moved, waits_for_copies=False)) is not None]
    if not runs:
        raise ValueError(
            f"offload: no choice of layers fits into {chain.limit_byte:g} B; the largest keeps "
            f"{max(chain.kept_byte):g} B."
        )
    bound = _bound(chain)
    best = _flipped(chain, min(runs, key=lambda run: (run.step_s, run.moved_byte)), bound)
    forward_left = np.append(np.cumsum(chain.forward_s[::-1])[::-1], 0.0).tolist()
    backward_to = np.cumsum(chain.backward_s).tolist()
    choices = 0
    todo: list[tuple[int, tuple[bool, ...], _Forward, float]] = [(0, (), _Forward(), backward_to[-1])]
    while todo and choices < MOST_CHOICES and best.step_s > bound * (1.0 + 1e-12):
        layer, moved, state, back = todo.pop()
        if layer == n:
            run = _run(chain, moved, waits_for_copies=False)
            if run is not None and run.step_s < best.step_s:
                best = run
            continue
        for choice in (True, False):
            choices += 1
            following = state.after(chain, layer, choice, waits=False)
            if following is None:
                continue
            # Copies back come in order after the last forward pass: those of earlier layers wait for this one's.
            copied = back
            if choice:
                copied = max(backward_to[-1], _returning(chain, (*moved, True), backward_to))
            if following.end + forward_left[layer + 1] + copied < best.step_s * (1.0 - 1e-12):
                todo.append((layer + 1, (*moved, choice), following, copied))
    exact = not todo or best.step_s <= bound * (1.0 + 1e-12)
    return replace(best, exact=exact)


def _flipped(chain: _Chain, best: OffloadPlan, bound: float) -> OffloadPlan:
    """A choice that moving one layer more, or one fewer, does not make faster."""
    better = True
    while better and best.step_s > bound * (1.0 + 1e-12):
        better = False
        for layer in range(len(best.moved)):
            moved = best.moved.copy()
            moved[layer] = not moved[layer]
            run = _run(chain, moved, waits_for_copies=False)
            if run is not None and run.step_s < best.step_s * (1.0 - 1e-12):
                best, better = run, True
    return best


def _returning(chain: _Chain, moved: tuple[bool, ...], backward_to: list[float]) -> float:
    """The backward pass takes at least: copies back in order, then what goes back after each; [s]."""
    copied = longest = 0.0
    for layer in range(len(moved) - 1, -1, -1):
        if moved[layer]:
            copied += chain.kept_byte[layer] / chain.byte_per_s
            longest = max(longest, copied + backward_to[layer])
    return longest
