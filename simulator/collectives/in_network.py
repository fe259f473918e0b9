"""Switches that add: aggregation trees (SHARP), NVSwitch reduction and multicast (NVLS), Cerebras' SwarmX tree.

A rank sends its tensor once and receives the sum once, however many ranks there are. Bus bandwidth "by formula"
assumes the traffic of a ring and so may exceed the link's rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from ..kernels.optable import Floats, Ints
from .checks import counts, numbers
from .closed_form import check_collective, check_counts
from .rounds import CollectiveError, Round

TREE_COLLECTIVES: Final = ("all_reduce", "reduce", "broadcast", "barrier")
#: Of n ranks with S bytes: what leaves each chip for the switch, and what comes back, as (a, b) in S (a + b / n).
_NVLS: Final = {
    "all_reduce": ((1.0, 1.0), (1.0, 1.0)),
    "reduce_scatter": ((1.0, 0.0), (0.0, 1.0)),
    "all_gather": ((0.0, 1.0), (1.0, 0.0)),
}


@dataclass(frozen=True, kw_only=True)
class SwitchTree:
    """A tree of switches that add.

    ``radix``: children of one switch. ``chunk_byte``: what one operation of the tree carries; longer messages are
    pipelined [B]. ``window``: operations in flight, 0 for no limit. ``max_message_byte``: longest message of one call;
    0 for no limit [B].
    """

    name: str
    radix: int
    chunk_byte: int
    window: int = 0
    max_message_byte: int = 0

    def __post_init__(self) -> None:
        where = f"SwitchTree {self.name!r}"
        counts(where, "radix", self.radix, low=2)
        counts(where, "chunk_byte", self.chunk_byte, low=1)
        counts(where, "window", self.window)
        counts(where, "max_message_byte", self.max_message_byte)

    def depth(self, ranks: ArrayLike) -> Ints:
        """Levels of switches above so many ranks: the least d with radix^d >= ranks, at least 1."""
        n = counts("SwitchTree.depth", "ranks", ranks, low=1)
        levels = np.ones(n.shape, dtype=np.int64)
        reach = np.full(n.shape, float(self.radix))
        while (short := reach < n).any():
            levels, reach = levels + short, np.where(short, reach * self.radix, reach)
        return levels


#: Payload per operation of the first two and the longest streamed message: NVIDIA SHARP 2.6.1, collective library's
#: manual. Half of a switch's ports face down in a fat tree. A streamed packet of 4,096 bytes is remembered.
SHARP_SWITCH_IB_2: Final = SwitchTree(name="SHARP on Switch-IB 2", radix=18, chunk_byte=256)
SHARP_QUANTUM: Final = SwitchTree(name="SHARP on Quantum, low latency", radix=20, chunk_byte=2048)
SHARP_STREAMING: Final = SwitchTree(
    name="SHARP on Quantum, streaming", radix=20, chunk_byte=4096, max_message_byte=1_073_741_792
)


def tree_seconds(
    tree: SwitchTree, collective: str, *, ranks: ArrayLike, message_byte: ArrayLike, latency_s: ArrayLike,
    byte_per_s: ArrayLike,
) -> Floats:  # fmt: skip
    """Time of a collective in a tree of switches, chunks pipelined over h = 2 d hops (d for reduce or broadcast).

    .. math:: t = h (\\alpha + c / \\beta) + (S - c) \\max(1 / \\beta, h (\\alpha + c/\\beta) / (w c))

    with chunks c = min(S, chunk) and, where the tree limits it, w of them in flight. Messages beyond the longest one
    go as several calls. ``latency_s`` is one hop with its switch. A barrier is h hops of nothing. Zero for one rank,
    and, but for a barrier, for an empty message. Arguments broadcast; [B], [s], [B/s]; returns [s]. Leaves out: the
    switch's adders (as fast as its ports), other trees in the same switch. Reference: Graham et al., Scalable
    hierarchical aggregation protocol (SHArP), 2016.
    """
    where = tree.name
    check_collective(where, collective, TREE_COLLECTIVES)
    n = counts(where, "ranks", ranks, low=1)
    size = numbers(where, "message_byte", message_byte) * (collective != "barrier")
    alpha = numbers(where, "latency_s", latency_s)
    beta = numbers(where, "byte_per_s", byte_per_s, above=True)
    hops = tree.depth(n) * (2 if collective in ("all_reduce", "barrier") else 1)
    if tree.max_message_byte:
        calls = np.floor(size / tree.max_message_byte)
        rest = size - calls * tree.max_message_byte
        longest = _streamed_s(tree, hops, np.asarray(float(tree.max_message_byte)), alpha, beta)
        time = calls * longest + np.where(rest > 0, _streamed_s(tree, hops, rest, alpha, beta), 0.0)
    else:
        time = _streamed_s(tree, hops, size, alpha, beta)
    if collective == "barrier":
        return np.asarray(np.where(n > 1, hops * alpha, 0.0) + 0.0 * size / beta)
    return np.asarray(np.where((n > 1) & (size > 0), time, 0.0))


def _streamed_s(tree: SwitchTree, hops: Ints, size: Floats, alpha: Floats, beta: Floats) -> Floats:
    chunk = np.minimum(size, tree.chunk_byte)
    through = hops * (alpha + chunk / beta)
    per_byte = 1.0 / beta
    if tree.window:
        per_byte = np.maximum(per_byte, through / (tree.window * np.maximum(chunk, 1.0)))
    return np.asarray(through + (size - chunk) * per_byte)


def tree_rounds(tree: SwitchTree, collective: str, ranks: int, message_byte: int) -> tuple[Round, ...]:
    """Chunks moving up the tree and, for an all-reduce, down again, one hop per round; switches are numbered after the
    ranks, level by level.

    The sum has one size on every link. In these rounds each hop's latency is paid in every round, in the machine (and
    in `tree_seconds`) by the first chunk only; without latency both agree.
    """
    check_collective(tree.name, collective, ("all_reduce", "reduce", "broadcast"))
    check_counts(tree.name, ranks, message_byte)
    if ranks == 1 or message_byte == 0:
        return ()
    up, below, first, count = [], np.arange(ranks), ranks, ranks
    for _ in range(int(tree.depth(ranks))):
        count = -(-count // tree.radix)
        above = first + np.arange(len(below)) // tree.radix
        up.append((below, above))
        below, first = first + np.arange(count), first + count
    down = [(above, low) for low, above in reversed(up)]
    stages = {"all_reduce": up + down, "reduce": up, "broadcast": down}[collective]
    chunks = -(-message_byte // tree.chunk_byte)
    last = message_byte - (chunks - 1) * tree.chunk_byte
    found, turn = [], 0
    while turn < chunks + len(stages) - 1:
        parts = [
            (*stages[s], last if turn - s == chunks - 1 else tree.chunk_byte)
            for s in range(len(stages))
            if 0 <= turn - s < chunks
        ]
        # Once the pipeline is full of whole chunks nothing changes until the last one enters.
        repeat = max(1, chunks - 1 - turn) if turn == len(stages) - 1 and turn < chunks - 1 else 1
        found.append(
            Round(
                source=np.concatenate([source for source, _, _ in parts]),
                target=np.concatenate([target for _, target, _ in parts]),
                byte=np.concatenate([np.full(len(source), size) for source, _, size in parts]),
                repeat=repeat,
            )
        )
        turn += repeat
    return tuple(found)


@dataclass(frozen=True, kw_only=True)
class LinkByte:
    """What one chip's links to its switches carry: ``out`` from the chip, ``back`` to it [B]."""

    out: Floats
    back: Floats


def nvls_link_byte(collective: str, *, ranks: ArrayLike, message_byte: ArrayLike) -> LinkByte:
    """Bytes on one chip's links when NVSwitches add and copy (NVLink SHARP).

    Each rank owns one n-th of the tensor. To reduce, it asks the switch for the sum of its part: the switch reads that
    part from all n chips (also from the asker) and answers with one n-th. To distribute, it writes its part once and
    the switch writes it to all n. So an all-reduce moves S + S/n each way, a reduce-scatter S out and S/n back, an
    all-gather S/n out and S back. Zero for one rank. Arguments broadcast.
    """
    check_collective("NVLS", collective, _NVLS)
    n = counts("NVLS", "ranks", ranks, low=1)
    size = np.where(n > 1, numbers("NVLS", "message_byte", message_byte), 0.0)
    (a, b), (c, d) = _NVLS[collective]
    return LinkByte(out=np.asarray(size * (a + b / n)), back=np.asarray(size * (c + d / n)))


def nvls_seconds(
    collective: str, *, ranks: ArrayLike, message_byte: ArrayLike, latency_s: ArrayLike, byte_per_s: ArrayLike
) -> Floats:
    """Time of a collective by NVLS: two trips to the switch and back per phase, and the busier way's bytes.

    .. math:: t = 4 \\alpha + S (1 + 1/n) / \\beta \\quad \\text{(all-reduce)}

    (2 alpha and S / beta for the halves.) ``byte_per_s`` is what a chip's links achieve with these accesses, one
    direction: on 5 to 8 H200 and 6 to 8 B200 measured all-reduces follow 1 + 1/n within 1.2 %, at 0.683 and 0.60 of
    the links' nominal rate. Leaves out: memory traffic of the chips.
    """
    link = nvls_link_byte(collective, ranks=ranks, message_byte=message_byte)
    alpha = numbers("NVLS", "latency_s", latency_s) * (4.0 if collective == "all_reduce" else 2.0)
    busier = np.maximum(link.out, link.back)
    time = alpha + busier / numbers("NVLS", "byte_per_s", byte_per_s, above=True)
    return np.asarray(np.where(busier > 0, time, 0.0))


def bus_byte_per_s(collective: str, *, ranks: ArrayLike, message_byte: ArrayLike, time_s: ArrayLike) -> Floats:
    """Bus bandwidth as benchmarks print it: the rate of a ring's traffic, whatever really moved [B/s].

    .. math:: p \\frac{n - 1}{n} \\frac{S}{t}, \\quad p = 2 \\text{ for an all-reduce, else } 1

    By NVLS without latency an all-reduce shows 2 (n-1)/(n+1) of the link's rate: 1.56 on 8 chips.
    """
    check_collective("bus_byte_per_s", collective, _NVLS)
    n = counts("bus_byte_per_s", "ranks", ranks, low=2)
    size = numbers("bus_byte_per_s", "message_byte", message_byte)
    phases = 2.0 if collective == "all_reduce" else 1.0
    return np.asarray(phases * (n - 1.0) / n * size / numbers("bus_byte_per_s", "time_s", time_s, above=True))


def over_servers_s(*, inside_s: ArrayLike, between_s: ArrayLike, slices: ArrayLike = 1) -> Floats:
    """An all-reduce that reduces inside servers, adds between them in switches, and distributes inside again.

    .. math:: t = \\frac{\\sum_i t_i}{k} + \\frac{k - 1}{k} \\max_i t_i

    over its three stages: ``inside_s`` for the reduce-scatter and again for the all-gather inside a server,
    ``between_s`` for the tree, in k slices that follow each other; k = 1 is one stage after the other.
    """
    where = "over_servers_s"
    inside, between = numbers(where, "inside_s", inside_s), numbers(where, "between_s", between_s)
    k = counts(where, "slices", slices, low=1)
    return np.asarray((2.0 * inside + between) / k + (k - 1.0) / k * np.maximum(inside, between))


def swarmx_seconds(
    *, weight_byte: ArrayLike, gradient_byte: ArrayLike, systems: ArrayLike, radix: int, latency_s: ArrayLike,
    byte_per_s: ArrayLike,
) -> tuple[Floats, Floats]:  # fmt: skip
    """Seconds that weight streaming spends on wires in a forward and in a backward pass.

    Weights come from outside through the tree to all systems, in both passes; gradients are added on their way back,
    the other direction of the same wires:

    .. math:: t_f = (d + 1) \\alpha + W / \\beta, \\quad t_b = 2 (d + 1) \\alpha + \\max(W, G) / \\beta

    for a tree of d levels under one more hop to the memory. Bytes do not depend on how many systems there are. Leaves
    out: the memory's own rate, computing (streams hide under it or it under them).
    """
    where = "SwarmX"
    if radix < 2:
        raise CollectiveError(f"{where}: radix is {radix!r}; at least 2.")
    hops = SwitchTree(name=where, radix=radix, chunk_byte=1).depth(systems) + 1.0
    weights = numbers(where, "weight_byte", weight_byte)
    gradients = numbers(where, "gradient_byte", gradient_byte)
    alpha = numbers(where, "latency_s", latency_s)
    beta = numbers(where, "byte_per_s", byte_per_s, above=True)
    forward = hops * alpha + weights / beta
    return np.asarray(forward), np.asarray(2.0 * hops * alpha + np.maximum(weights, gradients) / beta)
