"""Forward passes alone (validation, reference and reward models): times of whole batches of strategies at once.

Axes as in the other modules: S (strategies), R (roles of stages), n (strategies with like pipelines), P (ranks),
C (chunks of a rank).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Final

import numpy as np

from ..constants import Constants
from ..kernels.optable import Ints
from ..lowering import Lowered
from ..parallelism import OFFLOADS
from ..schedules import SCHEDULES as ORDERS
from ..schedules import forward_order
from ..schedules.route import Stop, blocks_at, neighbours, stop_chunks
from ..schedules.task import Task
from ..stepspec import GRADIENT_MODES, LEARNING_DURATIONS, PARTS, SCHEDULES, STAGE_DURATIONS
from .layers import given_layers, role_blocks, stage_layers
from .sharded import sharded_ps
from .steps import StepBatch, StepTimes, batch

_SHARDED: Final = GRADIENT_MODES.index("sharded")
_HOLDS: Final = np.array([ORDERS[word].TRAITS.sends_hold for word in SCHEDULES])
_LINE: Final = np.array([ORDERS[word].TRAITS.route == "line" for word in SCHEDULES])
#: A rank that has not begun: before all times, with room to add to.
_NEVER: Final = np.iinfo(np.int64).min // 4


def forward_batch(lowered: Lowered, constants: Constants) -> StepBatch:
    """Price the forward passes of lowered strategies, and nothing else.

    ZeRO-3 still gathers; no gradient is computed or exchanged, nothing is kept, moved to the host, recomputed or
    updated. What a step has once (input, logging) a run of forward passes has once.
    """
    none = GRADIENT_MODES.index("none")
    alone = replace(
        lowered,
        gradient_mode=np.where(lowered.gradient_mode == _SHARDED, _SHARDED, none),
        offload=np.full(lowered.strategies, OFFLOADS.index("none")),
    )
    return forward_part(batch(alone, constants))


def forward_part(steps: StepBatch) -> StepBatch:
    """Priced steps without what only learning has."""
    names = (*LEARNING_DURATIONS, *STAGE_DURATIONS)
    return replace(steps, forward_only=True, **{name: np.zeros_like(getattr(steps, name)) for name in names})


def forward_times(steps: StepBatch) -> StepTimes:
    """What m micro-batches take to go forward through the pipeline; every strategy, exact to the tick.

    Ranks run like passes in the same order, so that of a pipeline of one chunk a rank (any schedule)

    .. math:: T = t_{fixed} + \\sum_i h_i + (m - 1) \\max_i h_i

    with h the pass of stage i, its send included where sends hold the rank; where they run beside it every send is a
    stage of its own. Interleaved chunks: `_interleaved`. Other routes are followed pass by pass. In ZeRO-3 on one
    stage the gather of the next block runs under the block at work (`analytic.sharded`).

    Parts are those of the rank that is busy longest, as in `step_times`; ``data`` is what it waited for gathers.

    Leaves out: contention.
    """
    low = steps.lowered
    rows = np.arange(low.strategies)
    whole = role_blocks(low).whole
    present = low.role_stages > 0
    send = np.where(low.pp > 1, steps.send_ps, 0)
    holds = _HOLDS[low.schedule]
    compute = np.where(present, np.sum(whole * steps.forward_ps[:, None, :], axis=2), 0)
    tensor = np.where(present, np.sum(whole * steps.forward_tensor_ps[:, None, :], axis=2), 0)
    # The last stage sends nothing on.
    held = np.where(present & holds[:, None], send[:, None] * np.array([1, 1, 0]), 0)
    held = np.where((low.pp == 1)[:, None], 0, held)
    chunked = (low.virtual_stages > 1) & (low.pp > 1)
    # All chunks of a rank but the very last send on.
    held = held + np.where(present & (chunked & holds)[:, None], (low.virtual_stages - 1)[:, None] * send[:, None], 0)
    busy = compute + tensor + held
    m = low.micro_batches
    slowest = np.max(busy, axis=1)
    beside = np.where(holds | (low.pp == 1), 0, send)
    passes = np.sum(busy * low.role_stages, axis=1) + (low.pp - 1) * beside
    passes = passes + (m - 1) * np.maximum(slowest, beside)
    k = np.argmax(np.where(present, busy, -1), axis=1)
    parts = {
        "compute": m * compute[rows, k], "tensor": m * tensor[rows, k], "pipeline": m * held[rows, k],
        "data": np.zeros_like(m), "optimizer": np.zeros_like(m), "fixed": steps.fixed_ps,
    }  # fmt: skip
    sharded = np.flatnonzero(low.gradient_mode == _SHARDED)
    if len(sharded):
        passes[sharded] = sharded_ps(steps, sharded)
        parts["data"][sharded] = passes[sharded] - (m * busy[rows, k])[sharded]
    parts["bubble"] = passes - sum(parts[name] for name in ("compute", "tensor", "pipeline", "data"))
    _follow_others(steps, parts)
    return StepTimes(**{f"{part}_ps": np.asarray(parts[part], dtype=np.int64) for part in PARTS})


def _follow_others(steps: StepBatch, parts: dict[str, Ints]) -> None:
    """Fill in strategies of several chunks a rank, and those whose stages are given one by one."""
    low = steps.lowered
    follow = ((low.virtual_stages > 1) & (low.pp > 1)) | ~_LINE[low.schedule]
    for row in given_layers(low):
        follow[row] = True
    rows = np.flatnonzero(follow & (low.gradient_mode != _SHARDED))
    shape = np.stack([low.schedule[rows], low.pp[rows], low.virtual_stages[rows], low.micro_batches[rows]], axis=1)
    if len(rows):
        # Micro-batches matter only where passes are followed one by one.
        shape[_LINE[shape[:, 0]], 3] = 0
    for key in np.unique(shape, axis=0):
        members = rows[(shape == key).all(axis=1)]
        for part, values in _parts(steps, members).items():
            parts[part][members] = values


def _parts(steps: StepBatch, rows: Ints) -> dict[str, Ints]:
    """Parts of strategies with like pipelines, (n,) each [ps]."""
    low = steps.lowered
    word, stages, virtual = SCHEDULES[low.schedule[rows[0]]], int(low.pp[rows[0]]), int(low.virtual_stages[rows[0]])
    traits = ORDERS[word].TRAITS
    layers = stage_layers(low, rows)
    chunks = stop_chunks(traits.route, virtual)
    if traits.route == "both_ways":
        at = np.array([[blocks_at(traits.route, Stop(i, c), stages) for c in range(chunks)] for i in range(stages)])
        layers = layers[:, at[:, :, 0], at[:, :, 1]]
    compute, tensor = (
        np.asarray(np.einsum("npcg,ng->npc", layers, duration[rows]), dtype=np.int64)
        for duration in (steps.forward_ps, steps.forward_tensor_ps)
    )
    stops = neighbours(traits.route, stages, int(low.micro_batches[rows[0]]), virtual)
    sends = np.zeros((stages, chunks), np.int64)
    for stop, (_, behind, _) in stops.items():
        sends[stop] = behind is not None and behind.rank != stop.rank
    send = sends * steps.send_ps[rows][:, None, None]
    held = send if traits.sends_hold else np.zeros_like(send)
    m = low.micro_batches[rows]
    at_stop = (m // (2 if traits.route == "both_ways" else 1))[:, None]
    if traits.route != "line":
        done = _followed(word, stages, virtual, int(m[0]), compute + tensor, send)
    elif chunks > 1:
        done = _interleaved(compute + tensor + held, m // stages if stages > 1 else m)
    else:
        passes = (compute + tensor + held)[:, :, 0]
        beside = np.where(traits.sends_hold, 0, send[:, :, 0])
        slowest = np.maximum(passes.max(axis=1), beside.max(axis=1))
        done = passes.sum(axis=1) + beside.sum(axis=1) + (m - 1) * slowest
    own = {"compute": compute, "tensor": tensor, "pipeline": held}
    by_rank = {name: at_stop * value.sum(axis=2) for name, value in own.items()}
    busy = np.sum(list(by_rank.values()), axis=0)
    k, n = np.argmax(busy, axis=1), np.arange(len(rows))
    found = {name: value[n, k] for name, value in by_rank.items()}
    return {**found, "bubble": done - busy[n, k], "data": np.zeros_like(done)}


def _interleaved(passes_ps: Ints, rounds: Ints) -> Ints:
    """Forward passes of interleaved chunks; durations with sends (n, P, C), rounds (n,) -> (n,) [ps].

    Ranks run rounds of P micro-batches, chunk after chunk. What a round does to the times at which ranks are free is a
    matrix in the algebra of maximum and sum, so that all rounds are its power,

    .. math:: x_r = A^{\\otimes r} \\otimes x_0, \\quad (A \\otimes x)_i = \\max_j (A_{ij} + x_j)

    (Baccelli et al., Synchronization and Linearity, 1992, section 1.2), in log2 r products whatever r.
    """
    n, ranks, chunks = passes_ps.shape
    # clock[:, i, j]: when rank i is free if rank j alone was at 0, all others before all times.
    clock = np.full((n, ranks, ranks), _NEVER, np.int64)
    clock[:, np.arange(ranks), np.arange(ranks)] = 0
    arrived = np.full((n, ranks, ranks), _NEVER, np.int64)  # by micro-batch of the round
    for chunk in range(chunks):
        for rank in range(ranks):
            for place in range(ranks):
                end = np.maximum(clock[:, rank], arrived[:, place]) + passes_ps[:, rank, chunk, None]
                clock[:, rank] = arrived[:, place] = np.maximum(end, _NEVER)
    times = np.zeros((n, ranks), np.int64)
    left, power = rounds.copy(), clock
    while (left > 0).any():
        odd = left % 2 == 1
        times[odd] = np.max(power[odd] + times[odd][:, None, :], axis=2)
        left = left // 2
        if (left > 0).any():
            power = np.maximum(np.max(power[:, :, :, None] + power[:, None, :, :], axis=2), _NEVER)
    return np.asarray(times.max(axis=1), dtype=np.int64)


@lru_cache(maxsize=64)
def _in_turn(schedule: str, stages: int, virtual: int, micro_batches: int) -> tuple[tuple[int, Task], ...]:
    """All forward passes of a pipeline, each behind what it needs."""
    route = ORDERS[schedule].TRAITS.route
    stops = neighbours(route, stages, micro_batches, virtual)
    orders: list[Iterator[Task]] = [
        forward_order(schedule, rank, stages, micro_batches, virtual) for rank in range(stages)
    ]
    upcoming = [next(order, None) for order in orders]
    ran: set[tuple[Stop, int]] = set()
    result: list[tuple[int, Task]] = []
    while any(task is not None for task in upcoming):
        before = len(result)
        for rank, order in enumerate(orders):
            while (task := upcoming[rank]) is not None:
                source = stops[Stop(rank, task.chunk)].before
                if source is not None and (source, task.micro_batch) not in ran:
                    break
                ran.add((Stop(rank, task.chunk), task.micro_batch))
                result.append((rank, task))
                upcoming[rank] = next(order, None)
        if len(result) == before:
            raise RuntimeError(f"The {schedule} schedule deadlocked; this is our mistake, not the input's.")
    return tuple(result)


def _followed(
    schedule: str, stages: int, virtual: int, micro_batches: int, passes_ps: Ints, send_ps: Ints
) -> Ints:  # fmt: skip
    """Pass by pass where sends run beside the next pass; durations (n, P, C) -> (n,) [ps]."""
    stops = neighbours(ORDERS[schedule].TRAITS.route, stages, micro_batches, virtual)
    n = len(passes_ps)
    clock = np.zeros((stages, n), np.int64)
    link: dict[tuple[int, int], Ints] = {}
    arrived: dict[tuple[Stop, int], Ints] = {}
    for rank, task in _in_turn(schedule, stages, virtual, micro_batches):
        stop = Stop(rank, task.chunk)
        begin = np.maximum(clock[rank], arrived.pop((stop, task.micro_batch), clock[rank]))
        end = there = begin + passes_ps[:, rank, task.chunk]
        clock[rank] = end
        behind = stops[stop].behind
        if behind is not None and behind.rank != rank:
            there = np.maximum(end, link.get((rank, behind.rank), end)) + send_ps[:, rank, task.chunk]
            link[rank, behind.rank] = there
        if behind is not None:
            arrived[behind, task.micro_batch] = there
    return np.asarray(clock.max(axis=0), dtype=np.int64)
