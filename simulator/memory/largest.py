"""The largest micro-batch that fits."""

from __future__ import annotations

from dataclasses import replace

from workloads.workload import Workload

from ..lowering import Context
from ..parallelism import Parallelism, columns_of
from .peak import memory_byte


def largest_micro_batch(
    workload: Workload, context: Context, parallelism: Parallelism, *, capacity_byte: float | None = None
) -> int:
    """The largest micro-batch of a strategy that fits into a chip's memory; 0 where one sample does not.

    The number of micro-batches stays, so that the global batch grows with it. Memory rises with the micro-batch, hence
    doubling and then halving the interval. ``capacity_byte`` defaults to the memory of the cluster's chip [B].
    """
    capacity = context.cluster.chip.memory_byte if capacity_byte is None else capacity_byte

    def fits(micro_batch: int) -> bool:
        batch = micro_batch * parallelism.dp * parallelism.micro_batches
        one = replace(parallelism, micro_batch=micro_batch, global_batch=batch)
        return bool(memory_byte(workload, context, columns_of([one])).total_byte[0] <= capacity)

    if not fits(1):
        return 0
    low, high = 1, 2
    while high < 2**40 and fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
