"""Step times of strategies that are followed task by task: schedules without a closed form, stages of any kind.

Axes: n (strategies with like schedule, stages and virtual stages), P (ranks), C (chunks of a rank), G (blocks).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..kernels.optable import Ints
from ..schedules import SCHEDULES as ORDERS
from ..schedules import Traits, settled
from ..schedules.longest_path import longest_path
from ..schedules.route import Stop, blocks_at, neighbours, stop_chunks
from ..schedules.task import Task
from ..stepspec import GRADIENT_MODES, PARTS, SCHEDULES
from .exchange import not_hidden_ps
from .layers import by_stage, stage_layers
from .steps import StepBatch

_BACKWARD = GRADIENT_MODES.index("backward")
_AFTER = GRADIENT_MODES.index("after")


def path_times(steps: StepBatch, rows: Ints, columns: dict[str, Ints]) -> None:
    """Fill in the parts of some strategies; see `composition.bound.bound` for the equations."""
    low = steps.lowered
    shape = np.stack([low.schedule[rows], low.pp[rows], low.virtual_stages[rows]], axis=1)
    for schedule, stages, virtual in np.unique(shape, axis=0):
        members = rows[(shape == (schedule, stages, virtual)).all(axis=1)]
        parts = _parts(_Group(steps=steps, rows=members, schedule=SCHEDULES[schedule]))
        for part in PARTS[:-1]:
            columns[f"{part}_ps"][members] = parts[part]


@lru_cache(maxsize=256)
def _last_tasks(schedule: str, stages: int, virtual_stages: int) -> tuple[Task, ...]:
    """The task every rank ends with. How long the run is does not matter."""
    orders = (ORDERS[schedule].order(rank, stages, 2 * stages, virtual_stages) for rank in range(stages))
    return tuple(list(order)[-1] for order in orders)


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Strategies that share a schedule and a pipeline's shape."""

    steps: StepBatch
    rows: Ints
    schedule: str

    @property
    def traits(self) -> Traits:
        return ORDERS[self.schedule].TRAITS

    @property
    def stages(self) -> int:
        return int(self.steps.lowered.pp[self.rows[0]])

    @property
    def virtual_stages(self) -> int:
        return int(self.steps.lowered.virtual_stages[self.rows[0]])

    @property
    def stops(self) -> list[list[Stop]]:
        """Stages and their chunks whose blocks run at every rank's chunks."""
        chunks = range(stop_chunks(self.traits.route, self.virtual_stages))
        return [[blocks_at(self.traits.route, Stop(i, c), self.stages) for c in chunks] for i in range(self.stages)]

    def on_ranks(self, layers: Ints) -> Ints:
        """Blocks of stages -> blocks that run on ranks, (n, p, v, G) -> (n, P, C, G)."""
        if self.traits.route != "both_ways":
            return layers
        at = np.array(self.stops)
        return np.asarray(layers[:, at[:, :, 0], at[:, :, 1]])

    def of_ranks(self, layers: Ints, of_role_ps: Ints) -> Ints:
        """What all stages of a rank need together, (S, R) -> (n, P) [ps]."""
        of_stages = by_stage(self.steps.lowered, self.rows, layers, of_role_ps)
        return np.stack(
            [of_stages[:, sorted({stop.rank for stop in stops})].sum(axis=1) for stops in self.stops], axis=1
        )

    def block(self, *names: str) -> Ints:
        """Sum of block durations, (n, G) [ps]."""
        return np.asarray(sum(getattr(self.steps, f"{name}_ps")[self.rows] for name in names))

    def exposed(self, layers: Ints, blocks: Ints) -> Ints:
        """Gradient exchange that a rank waits for after its last pass, (n, P) [ps]."""
        steps, rows, mode = self.steps, self.rows, self.steps.lowered.gradient_mode[self.rows]
        exposed = np.where((mode == _AFTER)[:, None], self.of_ranks(layers, steps.reduce_after_ps), 0)
        some = np.flatnonzero(mode == _BACKWARD)
        if not len(some):
            return exposed
        tasks = _last_tasks(self.schedule, self.stages, self.virtual_stages)
        ranks, chunks = np.arange(self.stages), np.array([task.chunk for task in tasks])
        apart = np.array([task.kind == "backward_weight" for task in tasks])[:, None]
        last = blocks[some][:, ranks, chunks]
        unit = np.where(
            apart, self.block("weight")[some][:, None, :], self.block("backward", "backward_tensor")[some][:, None, :]
        )
        others = blocks[some].sum(axis=2) - last
        exposed[some] = not_hidden_ps(last, others, unit, steps.reduce_ps[rows][some][:, None, :])
        if self.traits.sends_hold:
            stops = neighbours(self.traits.route, self.stages, 2 * self.stages, self.virtual_stages)
            before = [stops[Stop(int(i), int(c))].before for i, c in zip(ranks, chunks, strict=True)]
            sends = np.array([stop is not None and stop.rank != i for i, stop in enumerate(before)])
            exposed[some] = np.maximum(0, exposed[some] - steps.send_ps[rows][some][:, None] * sends)
        return exposed

    def sends(self) -> Ints:
        """Sends that hold every rank in one micro-batch, (P,)."""
        counts = np.zeros(self.stages, np.int64)
        stops = neighbours(self.traits.route, self.stages, 2 * self.stages, self.virtual_stages)
        for stop, ends in stops.items():
            counts[stop.rank] += sum(end is not None and end.rank != stop.rank for end in ends[:2])
        return counts * self.traits.sends_hold


def _parts(group: _Group) -> dict[str, Ints]:
    """Parts of the steps of a group, (n,) each [ps]."""
    steps, rows, low = group.steps, group.rows, group.steps.lowered
    layers = stage_layers(low, rows)
    blocks = group.on_ranks(layers)

    def of_chunks(*names: str) -> Ints:
        return np.asarray(np.einsum("npcg,ng->npc", blocks, group.block(*names)))

    forward, backward = of_chunks("forward", "forward_tensor"), of_chunks("backward", "backward_tensor")
    weight = of_chunks("weight")
    m = low.micro_batches[rows]
    at_stop = (m // (2 if group.traits.route == "both_ways" else 1))[:, None]
    compute = at_stop * of_chunks("forward", "backward").sum(axis=2)
    tensor = at_stop * of_chunks("forward_tensor", "backward_tensor").sum(axis=2)
    held = at_stop * group.sends() * steps.send_ps[rows][:, None]
    passes = compute + tensor + held
    exposed = group.exposed(layers, blocks)
    optimizer = group.of_ranks(layers, steps.optimizer_ps)
    fetch = group.of_ranks(layers, steps.update_gather_ps)
    each = group.traits.update == "each_micro_batch"
    early = settled(group.schedule, group.stages)
    times = longest_path(
        group.schedule, group.stages, group.virtual_stages, m + early,
        np.stack([forward, backward, backward - weight, weight], axis=1), steps.send_ps[rows],
        after_backward_ps=exposed + optimizer + fetch if each else None, mark=early,
    )  # fmt: skip
    n = np.arange(len(rows))
    if group.traits.update == "together":
        # The last backward pass of all, and the last exchange, may be on different ranks.
        k = np.argmax(passes, axis=1)
        done, gradients = times.done.max(axis=1), (times.done + exposed).max(axis=1)
        bubble, data = done - passes[n, k], gradients - done
        update = optimizer.max(axis=1) + fetch.max(axis=1)
    elif each:
        whole = passes + m[:, None] * (exposed + optimizer + fetch)
        k = np.argmax(whole, axis=1)
        bubble, data = (times.done - times.marked - whole)[n, k], m * exposed[n, k]
        update = m * (optimizer + fetch)[n, k]
    else:
        after = exposed + optimizer + fetch
        k = np.argmax(passes, axis=1)
        bubble = (times.done - times.begun + after).max(axis=1) - (passes + after)[n, k]
        data, update = exposed[n, k], (optimizer + fetch)[n, k]
    return {
        "compute": compute[n, k], "tensor": tensor[n, k], "pipeline": held[n, k], "bubble": bubble, "data": data,
        "optimizer": update,
    }  # fmt: skip
