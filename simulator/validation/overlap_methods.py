"""How published overlap methods release and send gradients, as mechanisms of the event engine.

A method says when gradients leave (after the pass, one by one, merged, or by need) and as what (an all-reduce, or
pushes to parameter servers and pulls from them). No factor of a method's own is fitted: prices are those of
the library's cost model with the stored constants, message by message.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, TypeAlias

import numpy as np

from ..collectives import parameter_server
from ..constants import Constants
from ..events import Release
from ..lowering import Lowered
from ..pricing import exchanging_of, ticks
from ..stepspec import BlockSpec, StepSpec
from ..traffic import Groups, gradient_byte_of
from .rows import RunJob

#: Seconds of one message of so many bytes.
Price: TypeAlias = Callable[[float], float]


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way of exchanging gradients.

    ``release``: "after" the last backward pass as one message, each block "alone" when it is done, "merged" by the best
    grouping of blocks, or by "need" in pieces of ``piece_byte`` [B]. ``servers``: pushed to as many parameter servers
    as there are workers' hosts, on hosts of their own, in slices of ``piece_byte``; else an all-reduce.

    Leaves out: tensors of one block apart (the stored constants are fitted to one message a block, and hold what calls
    for each tensor cost).
    """

    name: str
    release: str
    servers: bool = False
    piece_byte: float = 0.0


#: Slices of BytePS and pieces of ByteScheduler (4,000,000 parameters of 4 B) as the benchmark's launch scripts set them
#: (HKBU-HPML/ddl-benchmarks, byteps/launch.sh and bytescheduler/horovod_mpi_cj.sh).
_SLICE_BYTE: Final = 4.096e6
_PIECE_BYTE: Final = 16e6

#: Words of a row's exchange -> the method; the first that fits.
METHODS: Final = (
    ("BSP-PS", Method(name="after, servers", release="after", servers=True, piece_byte=_SLICE_BYTE)),
    ("WFBP-PS", Method(name="layer by layer, servers", release="alone", servers=True, piece_byte=_SLICE_BYTE)),
    # The benchmark's own optimizer (byteps_distributed_optimizer.py) waits for all gradients before it updates, so that
    # the order in which servers answer changes no step.
    ("ByteScheduler-PS", Method(name="by priority, servers", release="alone", servers=True, piece_byte=_SLICE_BYTE)),
    ("ByteScheduler-A2A", Method(name="by need, ring", release="need", piece_byte=_PIECE_BYTE)),
    ("MG-WFBP", Method(name="merged, ring", release="merged")),
    ("WFBP-A2A", Method(name="layer by layer, ring", release="alone")),
    ("BSP-A2A", Method(name="after, ring", release="after")),
)  # fmt: skip


def method_of(words: str) -> Method | None:
    """The method that a row's words on its exchange name; None where they name none of these."""
    return next((method for pattern, method in METHODS if re.search(pattern, words)), None)


def price_of(method: Method, lowered: Lowered, row: int, constants: Constants) -> Price:
    """Seconds of one message of a strategy's gradients by a method's exchange.

    Parameter servers: a sum among the chips of a host, then push and pull between hosts (`parameter_server.seconds`)
    at what the fabric's fitted scales leave of the cards' rate.
    """
    context = lowered.contexts[int(lowered.context[row])]
    ranks = int(lowered.dp[row] * lowered.cp[row])
    inside = min(context.cluster.chips_per_server, ranks)
    hosts = -(-ranks // inside)

    def summed(members: int) -> Price:
        return lru_cache(maxsize=None)(lambda byte: _sum_s(lowered, row, members, byte, constants))

    if not method.servers or hosts == 1:
        return summed(ranks)
    on_host, out = summed(inside), context.cluster.out_fabric
    scale = constants.get("wire_scale", out) * constants.get("exchange_scale", context.stack.id)

    def push_and_pull(byte: float) -> float:
        between = parameter_server.seconds(
            "all_reduce", ranks=hosts, message_byte=byte,
            latency_s=context.cluster.out_latency_s + constants.get("step_s", out),
            byte_per_s=context.cluster.out_byte_per_s / scale, servers=hosts,
            slices=max(1, round(byte / method.piece_byte)),
        )  # fmt: skip
        return (on_host(byte) if inside > 1 else 0.0) + constants.get("call_s") + float(between)

    return push_and_pull


def _sum_s(lowered: Lowered, row: int, members: int, byte: float, constants: Constants) -> float:
    """Seconds of one all-reduce, as `pricing` prices it."""
    group = Groups(
        contexts=lowered.contexts,
        context=lowered.context[[row]],
        ranks=np.array([members]),
        stride=np.ones(1, np.int64),
    )
    messages = group.cost("all_reduce", np.array([byte]))
    return float(exchanging_of(lowered, constants).seconds(messages, group.context)[0])


def merged(ready_s: Sequence[float], byte: Sequence[float], price: Price) -> tuple[int, ...]:
    """Blocks of each message, in backward order, for which the last arrives soonest.

    .. math:: e_j = \\min_{i < j} \\left(\\max(e_i, r_j) + c(i, j)\\right)

    exact, since a message never ends sooner for the stream being free later. What merged-gradient WFBP (Shi et al.,
    arXiv:1811.11141) searches for.
    """
    ends, last = [0.0], [0]
    for j in range(1, len(byte) + 1):
        options = [max(ends[i], ready_s[j - 1]) + price(sum(byte[i:j])) for i in range(j)]
        last.append(int(np.argmin(options)))
        ends.append(min(options))
    sizes, place = [], len(byte)
    while place:
        sizes.append(place - last[place])
        place = last[place]
    return tuple(reversed(sizes))


def released(
    job: RunJob, method: Method, lowered: Lowered, spec: StepSpec, constants: Constants
) -> tuple[StepSpec, Release | None]:
    """A data-parallel step with its gradients priced message by message, and how they leave.

    Raises
    ------
    ValueError
        For a job of pipeline stages.
    """
    if len(spec.stages) > 1:
        raise ValueError(f"released: {len(spec.stages)} pipeline stages; 1.")
    (stage,), context = spec.stages, job.context
    price = price_of(method, lowered, 0, constants)
    repeats = [layer.repeat for layer in job.workload.layers]
    held = lowered.held_parameters[0] * gradient_byte_of(context.stack, context.recipe)
    byte = np.repeat(held[: len(repeats)], repeats).tolist()
    if method.release == "after":
        after_ps = int(ticks(np.array(price(sum(byte)))))
        return replace(spec, gradient_mode="after", stages=(replace(stage, reduce_after_ps=after_ps),)), None
    blocks = [replace(block, repeat=1) for block in stage.blocks for _ in range(block.repeat)]
    blocks = [replace(block, name=f"{place} {block.name}") for place, block in enumerate(blocks)]
    pieces = [max(1, math.ceil(one / method.piece_byte)) if method.release == "need" else 1 for one in byte]
    messages: tuple[int, ...] = ()
    if method.release == "merged":
        messages, reduce_s = _merged(blocks, byte, price)
    else:
        # Servers are priced with their slices, of which push and pull overlap.
        calls = [1] * len(byte) if method.servers else pieces
        reduce_s = [count * price(one / count) for one, count in zip(byte, calls, strict=True)]
    priced = tuple(
        replace(block, reduce_ps=int(ticks(np.array(seconds)))) for block, seconds in zip(blocks, reduce_s, strict=True)
    )
    spec = replace(spec, gradient_mode="backward", stages=(replace(stage, reduce_after_ps=0, chunks=(priced,)),))
    if method.release == "need":
        by_name = {block.name: count for block, count in zip(blocks, pieces, strict=True)}
        return spec, Release(needed_first=True, pieces=by_name)
    return spec, Release(messages=messages) if messages else None


def _merged(
    blocks: Sequence[BlockSpec], byte: Sequence[float], price: Price
) -> tuple[tuple[int, ...], Sequence[float]]:
    """The best messages, and every block's share of its message by bytes [s]."""
    ready_s = np.cumsum([(b.backward_ps + b.backward_tensor_ps) * 1e-12 for b in reversed(blocks)])
    backward = list(reversed(byte))
    messages = merged(ready_s.tolist(), backward, price)
    shares: list[float] = []
    for size in messages:
        part = backward[len(shares) : len(shares) + size]
        whole = price(sum(part))
        shares += [whole * one / sum(part) if sum(part) else 0.0 for one in part]
    return messages, shares[::-1]
