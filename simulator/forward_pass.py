"""Forward passes over a set of samples: with a given strategy (validation), or with the fastest that fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from workloads.workload import Workload

from .analytic import StepTimes, forward_batch, forward_times
from .constants import Constants
from .kernels.optable import Ints
from .lowering import Context, lower_columns
from .memory import forward_memory
from .parallelism import COLUMNS, Parallelism, columns_of, strategy_at, whole_columns
from .search import legal
from .staging import staged
from .stepspec import PARTS, SCHEDULES, StepTime

#: Columns that only learning has; in a forward pass at their defaults.
_OF_LEARNING = ("recompute", "recompute_every", "offload", "compression", "local_steps", "parameter_servers")


#: Micro-batches that one run is priced with, in pipelines' depths, and samples that layouts are ranked by, at most:
#: whole picoseconds of more would not fit an array's integers.
_MOST_DEPTHS = 1_024
_MOST_RANKED = 100_000


@dataclass(frozen=True, kw_only=True)
class ForwardRun:
    """Forward passes over samples: the strategy, where the time goes, the fullest chip's memory."""

    parallelism: Parallelism
    samples: int
    step: StepTime
    memory_byte: float
    parameter_byte: float

    @property
    def time_s(self) -> float:
        """How long they take [s]."""
        return self.step.total_s


def micro_batches_of(columns: Mapping[str, Ints], samples: int) -> Ints:
    """Micro-batches of every strategy for so many samples, as many as its schedule can run; shape (S,).

    The last micro-batch is padded; interleaved schedules take a multiple of the stages, dualpipe an even number that is
    twice the stages at least.
    """
    each = columns["dp"] * columns["micro_batch"]
    count = -(-samples // each)
    stages = columns["pp"]
    interleaved = (columns["schedule"] == SCHEDULES.index("interleaved")) & (stages > 1)
    count = np.where(interleaved, -(-count // stages) * stages, count)
    both_ways = columns["schedule"] == SCHEDULES.index("dualpipe")
    return np.asarray(np.where(both_ways, np.maximum(count + count % 2, 2 * stages), count), dtype=np.int64)


def forward_run_times(
    workload: Workload, context: Context, constants: Constants, columns: Mapping[str, Ints], samples: int
) -> StepTimes:
    """What forward passes over ``samples`` take with every strategy."""
    columns = {**whole_columns(columns), "micro_batches": micro_batches_of(columns, samples)}
    return forward_times(forward_batch(staged(workload, lower_columns(workload, context, columns)), constants))


def forward_run(
    workload: Workload, context: Context, constants: Constants, strategy: Parallelism, samples: int
) -> ForwardRun:
    """Forward passes over ``samples`` with the strategy that trains."""
    columns = columns_of([strategy])
    return _run(workload, context, constants, columns, samples, strategy.global_batch)


def _run(
    workload: Workload, context: Context, constants: Constants, columns: Mapping[str, Ints], samples: int, batch: int
) -> ForwardRun:
    memory = forward_memory(workload, context, columns)
    return ForwardRun(
        parallelism=strategy_at(columns, 0, global_batch=batch), samples=samples,
        step=_long_run(workload, context, constants, columns, samples),
        memory_byte=float(memory.total_byte[0]), parameter_byte=float(memory.parameter_byte[0]),
    )  # fmt: skip


def _long_run(
    workload: Workload, context: Context, constants: Constants, columns: Mapping[str, Ints], samples: int
) -> StepTime:
    """Forward passes of one strategy over any number of samples.

    Every further micro-batch costs what the slowest rank takes, so that a long run is two shorter ones and their
    difference; exact.
    """

    def run(count: int) -> StepTime:
        return forward_run_times(workload, context, constants, columns, count)[0]

    one = int(columns["dp"][0] * columns["micro_batch"][0])
    many, long = int(micro_batches_of(columns, samples)[0]), int(_MOST_DEPTHS * columns["pp"][0])
    if many <= long:
        return run(samples)
    half, whole = run(long // 2 * one), run(long * one)
    parts = {}
    for part in PARTS:
        first, second = getattr(half, f"{part}_ps"), getattr(whole, f"{part}_ps")
        parts[f"{part}_ps"] = second + (many - long) * (second - first) // (long - long // 2)
    return StepTime(engine=whole.engine, **parts)


def fastest_forward(
    workload: Workload, context: Context, constants: Constants, *, chips: int, global_batch: int, samples: int
) -> ForwardRun | None:
    """The fastest forward passes over ``samples`` of all layouts whose weights and live activations fit; None: none.

    ``global_batch`` samples are shared evenly by the replicas of every layout looked at.
    """
    found = legal(workload, context.cluster, context.stack, chips, global_batch).columns
    columns = whole_columns(found)
    plain = columns_of([Parallelism(global_batch=1)])
    rows = len(columns["tp"])
    for name in (*_OF_LEARNING, "schedule", "virtual_stages"):
        columns[name] = np.repeat(plain[name], rows)
    key = np.stack([columns[name] for name in COLUMNS])
    _, first = np.unique(key, axis=1, return_index=True)
    columns = {name: column[np.sort(first)] for name, column in columns.items()}
    fits = forward_memory(workload, context, columns).total_byte <= context.cluster.chip.memory_byte
    columns = {name: column[fits] for name, column in columns.items()}
    if not len(columns["tp"]):
        return None
    times = forward_run_times(workload, context, constants, columns, min(samples, _MOST_RANKED))
    best = np.array([int(np.argmin(times.total_ps))])
    chosen = {name: column[best] for name, column in columns.items()}
    return _run(workload, context, constants, chosen, samples, global_batch)
