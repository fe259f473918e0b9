"""Cutting the layers of a network over pipeline stages so that the slowest stage is as fast as it can be.

Layers stand one by one in forward order (n of them); a split is the cuts between them. A pipeline of p stages has p
chunks, an interleaved one p v: chunk k stands on stage k mod p. Batches of strategies go along the first axis, S.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workloads.workload import Workload

from .cut_search import PICOSECONDS, Costs, best_chunks, best_cuts, filled_cuts
from .kernels.optable import Floats, Ints
from .schedules import SCHEDULES
from .stage_costs import crossing_elements, layer_repeats, one_by_one

#: Cells of one batch of cost matrices.
_CELLS: Final = 40_000


@dataclass(frozen=True, kw_only=True)
class LayerSplit:
    """Layers cut over stages, for a batch of S strategies.

    ``cut``: chunk k holds the layers ``cut[k]`` to ``cut[k + 1]``; shape (S, p v + 1). ``stage_s``: forward and
    backward pass of one micro-batch with what the stage sends [s]; ``stage_byte``: what it holds; shape (S, p).
    ``fits``: within the capacity, shape (S,); where no split is, the one that needs least is given. ``exact``: no
    other split has a faster slowest stage (searched, not proved, for interleaved chunks).
    """

    cut: Ints
    stages: int
    stage_s: Floats
    stage_byte: Floats
    fits: NDArray[np.bool_]
    exact: bool

    @property
    def slowest_s(self) -> Floats:
        """What the slowest stage takes for one micro-batch; shape (S,) [s]."""
        return np.asarray(self.stage_s.max(axis=1))

    @property
    def unevenness(self) -> Floats:
        """The slowest stage over the mean stage; shape (S,)."""
        return np.asarray(self.slowest_s / self.stage_s.mean(axis=1))

    def stage_layers(self, workload: Workload) -> Ints:
        """Repeats of every layer of a workload in every chunk of every stage; shape (S, p, v, G)."""
        return stage_layers(self.cut, layer_repeats(workload), self.stages)


def stage_layers(cut: Ints, repeats: Ints, stages: int) -> Ints:
    """Cuts (S, p v + 1) between single layers -> repeats of every layer kind by stage and chunk, (S, p, v, G)."""
    end = np.cumsum(repeats)
    first, last = cut[:, :-1, None], cut[:, 1:, None]
    held = np.maximum(np.minimum(last, end) - np.maximum(first, end - repeats), 0)
    chunks = held.reshape(len(cut), -1, stages, len(repeats))
    return np.asarray(chunks.transpose(0, 2, 1, 3), dtype=np.int64)


def balanced_split(
    seconds: ArrayLike,
    byte: ArrayLike,
    stages: int,
    *,
    kept_byte: ArrayLike = 0.0,
    send_s: ArrayLike = 0.0,
    in_flight: Sequence[float] | None = None,
    capacity_byte: float | None = None,
    chunks: int = 1,
) -> LayerSplit:
    """The contiguous split whose slowest stage is fastest; of those the one that needs least memory, then the evenest.

    A stage that holds layers i to j takes t_i + ... + t_(j-1) + c_i + c_j, with c the send at a cut (forward at its
    end, backward at its start), and holds sum(byte) + in flight x sum(kept). Dynamic programming over stages, exact:
    three passes (slowest stage, fullest stage, squares of stage times), O(p n^2) each.

    Interleaved chunks are coupled through their stages: these are cut evenly first, then cuts are moved, alone and in
    runs, for as long as that helps; the result is checked against nothing but the bounds.

    Parameters
    ----------
    seconds
        Forward and backward pass of one micro-batch through every layer; shape (n,) or (S, n) [s].
    byte, kept_byte
        What a layer holds always (parameters, gradients, states), and for every micro-batch in flight; the same shape.
    send_s
        One message across the cut behind every layer but the last; shape (n - 1,), (S, n - 1) or one number [s].
    in_flight
        Micro-batches whose activations a stage holds, (p,); those of 1F1B (p - i) or the interleaved schedule if None.
    capacity_byte
        What a stage may hold.

    Raises
    ------
    ValueError
        For fewer layers than chunks, shapes that do not match, negative or endless numbers.

    References
    ----------
    Narayanan et al. 2019, PipeDream, section 3.1 (the recurrence); Fan et al. 2021, DAPPLE, section 4.
    """
    costs = Costs(seconds, byte, kept_byte, send_s)
    _check_stages(costs.layers, stages, chunks)
    flight = _in_flight(stages, chunks, in_flight)
    if chunks > 1:
        cut, fits = best_chunks(costs, flight, chunks, capacity_byte)
        return _evaluate(costs, cut, stages, flight, fits=fits, exact=False)
    cuts, fitting = [], []
    step = max(1, _CELLS // (costs.layers + 1) ** 2)
    for start in range(0, costs.strategies, step):
        one, fits = best_cuts(costs.part(start, start + step), flight, capacity_byte)
        cuts.append(one)
        fitting.append(fits)
    return _evaluate(costs, np.concatenate(cuts), stages, flight, fits=np.concatenate(fitting), exact=True)


def quick_split(seconds: ArrayLike, stages: int, *, send_s: float = 0.0) -> LayerSplit:
    """`balanced_split` by filling, for thousands of strategies at once: as fast a slowest stage, no more said.

    ``send_s`` is the same at every cut. Stages are filled from the last, so that the first, which holds most
    micro-batches, has fewest layers; ``stage_byte`` is 0.
    """
    costs = Costs(seconds, 0.0, 0.0, send_s)
    _check_stages(costs.layers, stages, 1)
    cut = filled_cuts(costs.time, round(send_s * PICOSECONDS), stages)
    return _evaluate(costs, cut, stages, np.ones(stages), fits=np.ones(costs.strategies, bool), exact=True)


def split_at(
    cut: ArrayLike,
    seconds: ArrayLike,
    byte: ArrayLike,
    stages: int,
    *,
    kept_byte: ArrayLike = 0.0,
    send_s: ArrayLike = 0.0,
    in_flight: Sequence[float] | None = None,
    capacity_byte: float | None = None,
) -> LayerSplit:
    """What a split that is given costs; ``cut`` of shape (p v + 1,) or (S, p v + 1), the rest as `balanced_split`."""
    costs = Costs(seconds, byte, kept_byte, send_s)
    cuts = np.atleast_2d(np.asarray(cut, dtype=np.int64))
    cuts = np.broadcast_to(cuts, (costs.strategies, cuts.shape[1]))
    chunks = (cuts.shape[1] - 1) // stages
    split = _evaluate(
        costs, cuts, stages, _in_flight(stages, chunks, in_flight), fits=np.ones(costs.strategies, bool), exact=False
    )
    limit = np.inf if capacity_byte is None else capacity_byte
    fits = split.stage_byte.max(axis=1) <= limit
    return replace(split, fits=fits)


def split_of(
    workload: Workload,
    stages: int,
    layer_s: ArrayLike,
    *,
    chunks: int = 1,
    layer_byte: ArrayLike = 0.0,
    kept_byte: ArrayLike = 0.0,
    element_send_s: float = 0.0,
    in_flight: Sequence[float] | None = None,
    capacity_byte: float | None = None,
) -> LayerSplit:
    """`balanced_split` of a network's layers of whatever kinds; ``split.stage_layers(workload)`` says what is where.

    ``layer_s``, ``layer_byte`` and ``kept_byte`` are those of ONE repeat of every layer, shape (G,) or (S, G);
    ``element_send_s`` is the time one element of one sample takes to the next stage (micro-batch x bytes / rate),
    which `crossing_elements` multiplies [s].
    """
    shape = np.atleast_2d(np.asarray(layer_s, dtype=np.float64)).shape
    if shape[1] != len(workload.layers):
        raise ValueError(
            f"layer_split: {shape[1]} durations for the {len(workload.layers)} layers of {workload.name}; one each."
        )

    def spread(value: ArrayLike) -> Floats:
        return one_by_one(workload, np.broadcast_to(np.asarray(value, dtype=np.float64), shape))

    return balanced_split(
        spread(layer_s), spread(layer_byte), stages, kept_byte=spread(kept_byte), chunks=chunks,
        send_s=element_send_s * crossing_elements(workload), in_flight=in_flight, capacity_byte=capacity_byte,
    )  # fmt: skip


def _check_stages(layers: int, stages: int, chunks: int) -> None:
    for name, count in (("stages", stages), ("chunks", chunks)):
        if count < 1:
            raise ValueError(f"layer_split: {name} is {count}; at least 1.")
    if layers < stages * chunks:
        on = f"{stages} stages" if chunks == 1 else f"{stages} stages of {chunks} chunks"
        raise ValueError(f"layer_split: {layers} layers on {on}; every chunk holds one, so at most {layers} chunks.")


def _in_flight(stages: int, chunks: int, given: Sequence[float] | None) -> Floats:
    if given is None:
        word = "interleaved" if chunks > 1 else "1f1b"
        order = SCHEDULES[word]
        given = [order.activations_in_flight(i, stages, 4 * stages, chunks) for i in range(stages)]
    if len(given) != stages:
        raise ValueError(f"layer_split: in_flight has {len(given)} numbers for {stages} stages; one each.")
    return np.asarray(given, dtype=np.float64)


def _evaluate(
    costs: Costs, cut: Ints, stages: int, flight: Floats, *, fits: NDArray[np.bool_], exact: bool
) -> LayerSplit:
    rows = np.arange(len(cut))[:, None]

    def held(values: NDArray[Any]) -> NDArray[Any]:
        sums = np.pad(np.cumsum(values, axis=1), ((0, 0), (1, 0)))
        each = sums[rows, cut[:, 1:]] - sums[rows, cut[:, :-1]]
        return np.asarray(each.reshape(len(cut), -1, stages).sum(axis=1))

    sent = (costs.send[rows, cut[:, 1:]] + costs.send[rows, cut[:, :-1]]).reshape(len(cut), -1, stages).sum(axis=1)
    return LayerSplit(
        cut=cut, stages=stages, stage_s=(held(costs.time) + sent) / PICOSECONDS,
        stage_byte=held(costs.byte) + flight * held(costs.kept), fits=fits, exact=exact,
    )  # fmt: skip


def strategy_stages(
    workload: Workload, layer_s: ArrayLike, pp: Ints, virtual_stages: Ints, *, element_send_s: ArrayLike = 0.0
) -> dict[int, Ints]:
    """Balanced stages of many strategies: index -> repeats by stage, chunk and layer, (p, v, G); one stage: not there.

    ``layer_s``: forward and backward of one micro-batch through one repeat of every layer on one rank, (S, G) [s];
    ``element_send_s`` as in `split_of`, (S,) or one number. Strategies that are alike are cut once.
    """
    count = len(pp)
    times = np.broadcast_to(np.asarray(layer_s, dtype=np.float64), (count, len(workload.layers)))
    sends = np.broadcast_to(np.asarray(element_send_s, dtype=np.float64), (count,))
    key = np.column_stack([pp, virtual_stages, sends, times])
    distinct, where = np.unique(key, axis=0, return_inverse=True)
    where = where.reshape(-1)
    found: dict[int, Ints] = {}
    for index, row in enumerate(distinct):
        stages, chunks = int(row[0]), int(row[1])
        if stages > 1:
            split = split_of(workload, stages, row[3:], chunks=chunks, element_send_s=float(row[2]))
            held = split.stage_layers(workload)[0]
            found |= {int(member): held for member in np.flatnonzero(where == index)}
    return found


def given_cuts(workload: Workload, counts: Sequence[int], stages: int, *, chunks: int = 1) -> Ints:
    """Cuts (p v + 1,) of a split as a user gives it: layers, or blocks only, in every chunk in forward order.

    Where the numbers add up to the network's blocks, what stands before the first block goes to the first chunk, what
    stands behind the last to the last, and what stands between two blocks to the chunk of the second. Where they add up
    to all its layers, they are those.

    Raises
    ------
    ValueError
        Saying what does not add up, and what would.
    """
    single = [layer.kind for layer in workload.layers for _ in range(layer.repeat)]
    blocks = [place for place, kind in enumerate(single) if kind == "block"]
    _check_stages(len(single), stages, chunks)
    given, want = list(counts), stages * chunks
    kinds = f"{len(blocks)} blocks" if blocks else ""
    legal = f"{kinds}{' or ' if blocks else ''}{len(single)} layers"
    whole = len(blocks) or len(single)
    even = [whole // want + (k < whole % want) for k in range(want)]
    nearest = f"; for example {even}." if min(even) > 0 or want < 3 else "."
    if any(isinstance(c, bool) or not isinstance(c, int) or c < 0 for c in given):
        raise ValueError(f"stages = {given}: legal are whole numbers of layers, 0 or more{nearest}")
    if len(given) != want:
        on = f"{stages} stages" if chunks == 1 else f"{stages} stages of {chunks} chunks"
        raise ValueError(f"stages = {given}: {len(given)} numbers for {on}; legal: {want}{nearest}")
    ends = np.cumsum(given)
    if ends[-1] == len(single):
        cut = np.concatenate([[0], ends])
    elif blocks and ends[-1] == len(blocks):
        inner = [blocks[e - 1] + 1 if e else blocks[0] for e in ends[:-1]]
        cut = np.array([0, *inner, len(single)])
    else:
        raise ValueError(f"stages = {given}: adds up to {ends[-1]}, but {workload.name} has {legal}{nearest}")
    if (np.diff(cut) < 1).any():
        empty = int(np.flatnonzero(np.diff(cut) < 1)[0])
        raise ValueError(f"stages = {given}: chunk {empty} holds no layer; legal: 1 or more{nearest}")
    return np.asarray(cut, dtype=np.int64)
