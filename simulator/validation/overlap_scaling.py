"""Published speed-ups of one batch over many servers, as jobs: one server with all of it beside all servers.

Their machines are two-socket servers of a Cray XC; a server is one chip of twice a socket's cores, rates and caches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from ..cluster import Cluster, system
from ..lowering import Context
from ..parallelism import Parallelism, ParallelismError
from .rows import RunJob, Unsupported, resolve

#: A socket of the Haswell servers of that time, and the system whose network they hang on.
_SOCKET: Final = "Xeon E5-2698 v3"
_NETWORK: Final = "cori-knl"
#: Words that say the machine is such a one; Lee et al. name no machine beyond a server of CPUs.
_MACHINES: Final = ("Xeon E5 node (Haswell, Cray XC)", "CPU compute node")


def scaling_jobs(row: Mapping[str, str]) -> tuple[RunJob, RunJob]:
    """The job on one server, and on as many as a row of speed-up has.

    Dense layers are cut over neighbours where the row says so ("hybrid"), each way that is legal in turn
    (`hybrid_choices`). Raises `Unsupported` with the reason.
    """
    if row["chip"] not in _MACHINES:
        raise Unsupported(f"speed-up on {row['chip']!r}: no such server is known; legal: {', '.join(_MACHINES)}")
    job = resolve({**row, "chip": _SOCKET, "metric": "samples_per_s", "precision": "fp32", "chips_per_node": "1"})
    stack = replace(job.context.stack, gradient_exchange="backward", bucket_byte=0.0)
    context = replace(job.context, cluster=_servers(job.context), stack=stack)
    many = replace(job, context=context)
    alone = replace(job.parallelism, dp=1, micro_batch=job.parallelism.global_batch)
    return replace(many, parallelism=alone), many


def hybrid_choices(job: RunJob) -> Iterator[Parallelism]:
    """The strategies a row may have used: dense layers cut over 2, 4, ... neighbours, where its words say hybrid."""
    yield job.parallelism
    ways = 2
    while "hybrid" in job.row["allreduce_algorithm"] and ways <= job.parallelism.dp:
        try:
            yield replace(job.parallelism, hybrid=ways)
        except ParallelismError:
            return
        ways *= 2


def _servers(context: Context) -> Cluster:
    """Servers of two such sockets on the network."""
    chip, network = context.cluster.chip, system(_NETWORK).cluster
    both = replace(
        chip, cores=2 * chip.cores if chip.cores else chip.cores,
        peak_flop_per_s={word: 2.0 * rate for word, rate in chip.peak_flop_per_s.items()},
        memory_bandwidth_byte_per_s=2.0 * chip.memory_bandwidth_byte_per_s,
        l2_byte=2.0 * chip.l2_byte if chip.l2_byte else chip.l2_byte,
    )  # fmt: skip
    return replace(
        context.cluster, chip=both, out_fabric=network.out_fabric, out_byte_per_s=network.out_byte_per_s,
        out_latency_s=network.out_latency_s, network_cards=network.network_cards,
    )  # fmt: skip
