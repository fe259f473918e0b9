"""Exact times of any schedule: the longest path through its graph, for many strategies at once.

A task begins when the one before it on its rank is done and what it needs has arrived. With the duration ``t`` of a
task and ``s`` of a send, in the order of `graph`'s levels::

    begin = max(end of the task before, arrival of what it needs)
    end = begin + t + s,                                           arrival = end                    where sends hold it
    end = begin + t,    arrival = max(end, arrival of what was sent the same way before) + s        where they do not

(and a rank that updates after a backward pass is held by that, with its gradient on its way).

Maxima and sums only, so that a delay common to all a task waits for is the task's own delay. If every task of the last
round before a cut in the steady state ends exactly ``c`` later than its like one round before, so will those of every
further round, and what follows the last of them: a long run is a short one and ``c`` for each round that it lacks.
Where a strategy is not steady yet the short run is made longer, up to the whole.

Leaves out: contention.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulator.schedules import SCHEDULES
from simulator.schedules.graph import Ints, graph, orders_of
from simulator.schedules.task import KINDS, Task

_BACKWARD: Final = KINDS.index("backward")

#: Times held at once, tasks x strategies: more are computed in turns.
_MOST_TIMES: Final = 4_000_000


@dataclass(frozen=True, kw_only=True)
class Times:
    """When every rank begins its first task, ends its last, and ended the marked one; (strategies, ranks) each."""

    begun: Ints
    done: Ints
    marked: Ints


def longest_path(
    schedule: str, stages: int, virtual_stages: int, micro_batches: Ints, task_ps: Ints, send_ps: Ints, *,
    after_backward_ps: Ints | None = None, mark: int = 0, shorten: bool = True,
) -> Times:  # fmt: skip
    """Times of strategies that share a schedule and a pipeline's shape.

    Parameters
    ----------
    micro_batches
        Of every strategy, shape (n,).
    task_ps
        Durations by kind (as `KINDS`), rank and chunk (of `route.stop_chunks`), shape (n, kinds, p, chunks); where
        sends hold the rank without the send.
    send_ps
        Duration of a send, shape (n,).
    after_backward_ps
        What holds every rank after a backward pass whose gradient is on its way already, shape (n, p); only where
        sends do not hold ranks.
    mark
        The time of `Times.marked` is that of the end of backward pass `mark` - 1 of chunk 0; none if 0.
    shorten
        Whether long runs may be cut short; the result is the same.

    Raises
    ------
    ValueError
        Where the schedule cannot have that shape.
    """
    shape = (len(micro_batches), stages)
    result = Times(begun=np.zeros(shape, np.int64), done=np.zeros(shape, np.int64), marked=np.zeros(shape, np.int64))
    step = _round(schedule, stages)
    short = mark + 3 * stages + 2
    left = np.arange(len(micro_batches))
    alike = _first_alike(task_ps, send_ps, after_backward_ps)
    while len(left):
        followed = micro_batches[left]
        if shorten and SCHEDULES[schedule].TRAITS.repeats:
            # Long runs of the same remainder share a graph.
            followed = np.minimum(followed, -(-short // step) * step + followed % step)
        unsteady = []
        for many in np.unique(followed):
            run = _Run(schedule, stages, virtual_stages, int(many), mark)
            rows = left[followed == many]
            like, which = np.unique(alike[rows], return_inverse=True)
            for part in np.array_split(np.arange(len(like)), -(-run.graph.size * len(like) // _MOST_TIMES)):
                chosen = (which >= part[0]) & (which <= part[-1])
                some, one = rows[chosen], like[part]
                after = None if after_backward_ps is None else after_backward_ps[one]
                rounds = (micro_batches[some] - many) // step
                ran = run.solve(result, some, which[chosen] - part[0], rounds, task_ps[one], send_ps[one], after)
                unsteady.append(some[~ran])
        left = np.concatenate(unsteady)
        short *= 3
    return result


def _round(schedule: str, stages: int) -> int:
    """Micro-batches by which the order of a rank repeats itself."""
    traits = SCHEDULES[schedule].TRAITS
    if traits.route == "both_ways":
        return 2
    return stages if traits.round_is_stages else 1


def _first_alike(task_ps: Ints, send_ps: Ints, after_ps: Ints | None) -> Ints:
    """For every strategy the first one with the same durations, (n,): micro-batches alone may differ."""
    columns = [task_ps.reshape(len(send_ps), -1), send_ps[:, None]] + ([] if after_ps is None else [after_ps])
    rows = np.ascontiguousarray(np.concatenate(columns, axis=1))
    as_one = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).reshape(-1)
    _, first, which = np.unique(as_one, return_index=True, return_inverse=True)
    return np.asarray(first[which.reshape(-1)])


class _Run:
    """One length of run of one shape of pipeline."""

    def __init__(self, schedule: str, stages: int, virtual_stages: int, micro_batches: int, mark: int) -> None:
        self.shape = schedule, stages, micro_batches, virtual_stages
        self.graph = graph(*self.shape)
        self.sends_hold = SCHEDULES[schedule].TRAITS.sends_hold
        start, orders = self.graph.start, self.graph.orders
        self.first, self.last = np.array(start[:-1]), np.array(start[1:]) - 1
        self.marked = np.array([s + o.index(Task("backward", mark - 1)) for s, o in zip(start, orders, strict=False)]
                               if mark else self.first)  # fmt: skip

    def solve(
        self, result: Times, rows: Ints, which: Ints, rounds: Ints, task_ps: Ints, send_ps: Ints, after_ps: Ints | None
    ) -> NDArray[np.bool_]:
        """Fill in the rows, with the durations `which`; False where one is not steady yet and stays undone.

        Each has `rounds` more than the run.
        """
        ends, arrivals, first_begun = self._times(task_ps, send_ps, after_ps)
        ran, added = rounds == 0, np.zeros(len(rows), np.int64)
        early, late = _windows(*self.shape) if rounds.any() else (rows[:0], rows[:0])
        if len(early):
            lags = np.concatenate([ends[late] - ends[early], arrivals[late] - arrivals[early]])
            ran |= (lags == lags[0]).all(axis=0)[which]
            added = rounds * lags[0][which]
        result.begun[rows[ran]] = first_begun.T[which[ran]]
        result.done[rows[ran]] = (ends[self.last][:, which] + added).T[ran]
        result.marked[rows[ran]] = ends[self.marked].T[which[ran]]
        return np.asarray(ran)

    def _times(self, task_ps: Ints, send_ps: Ints, after_ps: Ints | None) -> tuple[Ints, Ints, Ints]:
        """Ends and arrivals of all tasks (tasks + 1, n), the last row 0; begin of every rank's first task (p, n)."""
        ends = np.zeros((self.graph.size + 1, len(send_ps)), np.int64)
        by_task = np.ascontiguousarray(np.moveaxis(task_ps, 0, -1))
        kind, rank, chunk, sends = _by_node(*self.shape)
        took, sent = by_task[kind, rank, chunk], sends[:, None] * send_ps
        if self.sends_hold:
            took += sent
            for level in self.graph.levels:
                begin = np.maximum(ends.take(level.before, axis=0), ends.take(level.needed, axis=0))
                ends[level.node] = begin + took.take(level.node, axis=0)
            return ends, ends, ends[self.first] - took[self.first]
        arrivals = np.zeros_like(ends)
        held = np.zeros_like(took) if after_ps is None else after_ps.T[rank] * (kind == _BACKWARD)[:, None]
        for level in self.graph.levels:
            node = level.node
            end = np.maximum(ends.take(level.before, axis=0), arrivals.take(level.needed, axis=0))
            end += took.take(node, axis=0)
            # What is not sent follows nothing: it arrives as it ends.
            before = arrivals.take(level.sent_before, axis=0)
            arrivals[node] = np.maximum(end, before) + sent.take(node, axis=0)
            ends[node] = end + held.take(node, axis=0)
        first_begun = (ends[:-1] - took - held)[self.first]
        return ends, arrivals, first_begun


@lru_cache(maxsize=256)
def _by_node(schedule: str, stages: int, micro_batches: int, virtual_stages: int) -> tuple[Ints, Ints, Ints, Ints]:
    """Kind, rank, chunk and whether it sends, of every task of a run in the order of its nodes."""
    levels = graph(schedule, stages, micro_batches, virtual_stages).levels
    order = np.argsort(np.concatenate([level.node for level in levels]))
    kind, rank, chunk, sends = (
        np.concatenate([getattr(level, name) for level in levels])[order] for name in ("kind", "rank", "chunk", "sends")
    )
    return kind, rank, chunk, sends


@lru_cache(maxsize=256)
def _windows(schedule: str, stages: int, micro_batches: int, virtual_stages: int) -> tuple[Ints, Ints]:
    """Tasks of the steady state and their likes one round later, which decide whether a run may be cut short.

    A rank's cut is where its order first differs from that of a run one round longer. A longer run has the same tasks
    before the cut, then the rounds it has more, then what here follows the cut. The first tasks given are all that
    anything from one round before the cut on still waits for. Empty where the order does not repeat itself like that.
    """
    none = np.zeros(0, np.int64), np.zeros(0, np.int64)
    run, step = graph(schedule, stages, micro_batches, virtual_stages), _round(schedule, stages)
    longer = orders_of(schedule, stages, micro_batches + step, virtual_stages)
    by = step // 2 if SCHEDULES[schedule].TRAITS.route == "both_ways" else step

    def later(tasks: tuple[Task, ...]) -> tuple[Task, ...]:
        return tuple(Task(kind, micro_batch + by, chunk) for kind, micro_batch, chunk in tasks)

    cuts, added = [], len(longer[0]) - len(run.orders[0])
    for order, long in zip(run.orders, longer, strict=True):
        same = (place for place, (a, b) in enumerate(zip(order, long, strict=False)) if a != b)
        cut = next(same, len(order))
        if cut < 2 * added or later(order[cut - added :]) != long[cut:]:
            return none
        cuts.append(cut)
    start = np.array(run.start)
    after = np.concatenate([np.arange(s + cut - added, e) for s, cut, e in zip(start, cuts, start[1:], strict=False)])
    # The earliest task of every rank that anything from one round before its cut on waits for.
    rank_of = np.repeat(np.arange(stages), np.diff(start))
    reached = start[:-1] + np.array(cuts) - added - 1
    for waits_for in (run.needed[after], run.sent_before[after]):
        named = waits_for[waits_for >= 0]
        np.minimum.at(reached, rank_of[named], named)
    early = []
    for rank, order in enumerate(run.orders):
        a, b = int(reached[rank] - start[rank]), cuts[rank] - added
        if later(order[a:b]) != order[a + added : b + added]:
            return none
        early.append(np.arange(start[rank] + a, start[rank] + b))
    tasks = np.concatenate(early)
    return tasks, tasks + added
