"""Who waits for whom in a schedule: its orders as arrays, in levels that can be computed one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulator.schedules import SCHEDULES
from simulator.schedules.route import Stop, neighbours
from simulator.schedules.task import KINDS, Task

Ints = NDArray[np.int64]
Orders = tuple[tuple[Task, ...], ...]

#: What a pass hands on: activations, gradients (whichever kind of backward pass made them), nothing.
_HANDS_ON: Final = {"forward": 0, "backward": 1, "backward_input": 1, "backward_weight": -1}


@dataclass(frozen=True, kw_only=True)
class Level:
    """Tasks that wait only for tasks of earlier levels. Node -1 is none: its times are 0."""

    node: Ints
    before: Ints  # the task before it on its rank
    needed: Ints  # the task that sends its input
    sent_before: Ints  # the task whose result its rank sent to the same rank before
    kind: Ints  # index in KINDS
    rank: Ints
    chunk: Ints
    sends: Ints  # 1 where the result goes to another rank


@dataclass(frozen=True, kw_only=True)
class Graph:
    """All tasks of a run, numbered rank after rank in the order they run; ``start``: each rank's first, and the end."""

    orders: Orders
    start: tuple[int, ...]
    needed: Ints
    sent_before: Ints
    levels: tuple[Level, ...]

    @property
    def size(self) -> int:
        """Number of tasks."""
        return self.start[-1]


def orders_of(schedule: str, stages: int, micro_batches: int, virtual_stages: int) -> Orders:
    """The tasks of every rank, micro-batches counted from the first of their way."""
    entry = SCHEDULES[schedule]
    orders = [tuple(entry.order(i, stages, micro_batches, virtual_stages)) for i in range(stages)]
    if entry.TRAITS.route != "both_ways":
        return tuple(orders)
    stops = neighbours(entry.TRAITS.route, stages, micro_batches, virtual_stages)
    return tuple(
        tuple(
            Task(kind, micro_batch - stops[Stop(i, chunk)].first_micro_batch, chunk)
            for kind, micro_batch, chunk in order
        )
        for i, order in enumerate(orders)
    )


@lru_cache(maxsize=256)
def graph(schedule: str, stages: int, micro_batches: int, virtual_stages: int) -> Graph:
    """The graph of a run. Raises ValueError where the shape cannot be."""
    orders = orders_of(schedule, stages, micro_batches, virtual_stages)
    stops = neighbours(SCHEDULES[schedule].TRAITS.route, stages, micro_batches, virtual_stages)
    start = [0]
    for order in orders:
        start.append(start[-1] + len(order))
    handed = {
        (rank, task.chunk, _HANDS_ON[task.kind], task.micro_batch): start[rank] + place
        for rank, order in enumerate(orders)
        for place, task in enumerate(order)
    }
    needed, sent_before, sends = ([-1] * start[-1], [-1] * start[-1], [0] * start[-1])
    for rank, order in enumerate(orders):
        last_sent: dict[int, int] = {}
        for node, (kind, micro_batch, chunk) in enumerate(order, start[rank]):
            what = _HANDS_ON[kind]
            if what < 0:
                continue
            here = stops[Stop(rank, chunk)]
            source, target = (here.before, here.behind) if what == 0 else (here.behind, here.before)
            if source is not None:
                needed[node] = handed[source.rank, source.chunk, what, micro_batch]
            if target is not None and target.rank != rank:
                sends[node] = 1
                sent_before[node] = last_sent.get(target.rank, -1)
                last_sent[target.rank] = node
    return Graph(
        orders=orders, start=tuple(start), needed=np.array(needed), sent_before=np.array(sent_before),
        levels=_levels(schedule, orders, start, needed, sent_before, sends),
    )  # fmt: skip


def _levels(
    schedule: str, orders: Orders, start: list[int], needed: list[int], sent_before: list[int], sends: list[int]
) -> tuple[Level, ...]:
    level = [-1] * (start[-1] + 1)  # the last one, node -1, stays
    todo = start[:-1]
    ends = start[1:]
    while todo != ends:
        begun = list(todo)
        for rank, end in enumerate(ends):
            node = todo[rank]
            before = level[node - 1] if node > start[rank] else -1
            while node < end:
                need = needed[node]
                if need >= 0 and level[need] < 0:
                    break
                before = max(before, level[need]) + 1
                level[node] = before
                node += 1
            todo[rank] = node
        if todo == begun:
            raise RuntimeError(f"The {schedule} schedule deadlocked; this is our mistake, not the input's.")
    of_node = np.array(level[:-1])
    by_level = np.argsort(of_node, kind="stable")
    cuts = np.searchsorted(of_node[by_level], np.arange(of_node.max() + 2))
    kinds = {kind: index for index, kind in enumerate(KINDS)}
    columns = {
        "needed": np.array(needed),
        "sent_before": np.array(sent_before),
        "sends": np.array(sends),
        "kind": np.array([kinds[task.kind] for order in orders for task in order]),
        "chunk": np.array([task.chunk for order in orders for task in order]),
        "rank": np.repeat(np.arange(len(orders)), np.diff(start)),
        "before": np.arange(start[-1]) - 1,
    }
    columns["before"][start[:-1]] = -1
    columns["node"] = np.arange(start[-1])
    return tuple(Level(**{name: column[by_level[a:b]] for name, column in columns.items()}) for a, b in pairwise(cuts))
