"""A parameter server: workers push gradients to servers that each own a shard, and pull the new parameters.

All workers push at once, so a server's link carries one shard of every worker (incast). Hosts hang on a network that
never blocks; each has one link, as fast one way as the other at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from ..kernels.optable import Floats, Ints
from .checks import counts, numbers, word
from .closed_form import check_collective, check_counts
from .rounds import CollectiveError, Round, chunk_bounds

COLLECTIVES: Final = ("all_reduce",)
#: How tensors come to servers. "even": every tensor is cut into equal parts; the others keep tensors whole.
SHARDINGS: Final = ("even", "round_robin", "greedy", "one_each")
#: To add a gradient a server reads it and the sum and writes the sum.
SERVER_MEMORY_PASSES: Final = 3.0


def shards_byte(tensor_byte: ArrayLike, *, servers: int, sharding: str) -> Ints:
    """Bytes that each server owns, shape (servers,); exactly all of them together [B].

    "round_robin" deals tensors out in the order given (as TensorFlow places variables), "greedy" gives the largest
    tensor left to the server with least, "one_each" needs a server per tensor.
    """
    where = "shards_byte"
    word(where, "sharding", sharding, SHARDINGS)
    size = counts(where, "tensor_byte", tensor_byte).ravel()
    amount = int(counts(where, "servers", servers, low=1))
    owned = np.zeros(amount, dtype=np.int64)
    if sharding == "even":
        return np.asarray(np.diff(chunk_bounds(int(size.sum()), amount)), dtype=np.int64)
    if sharding == "one_each" and size.size > amount:
        raise CollectiveError(
            f"{where}: {size.size} tensors on {amount} servers, one each; at least {size.size} servers."
        )
    if sharding == "greedy":
        for one in np.sort(size)[::-1]:
            owned[np.argmin(owned)] += one
        return owned
    np.add.at(owned, np.arange(size.size) % amount, size)
    return owned


def imbalance(shards: ArrayLike) -> float:
    """The largest shard over the mean shard, 1 for even ones: how much slower the busiest server makes the exchange."""
    size = counts("imbalance", "shards", shards)
    if not size.size or size.sum() == 0:
        raise CollectiveError("imbalance: no bytes in any shard; give the bytes that each server owns.")
    return float(size.max() / size.mean())


def server_rate_byte_per_s(*, byte_per_s: ArrayLike, memory_byte_per_s: ArrayLike) -> Floats:
    """What a server takes in: its link's rate, or a third of its memory's, since adding passes three times [B/s]."""
    link = numbers("server_rate_byte_per_s", "byte_per_s", byte_per_s, above=True)
    memory = numbers("server_rate_byte_per_s", "memory_byte_per_s", memory_byte_per_s, above=True)
    return np.asarray(np.minimum(link, memory / SERVER_MEMORY_PASSES))


def rounds(
    collective: str, ranks: int, message_byte: int, *, servers: int = 1, colocated: bool = False,
    shards: Sequence[int] | None = None, slices: int = 1,
) -> tuple[Round, ...]:  # fmt: skip
    """Push, then pull; in ``slices`` parts the pull of one runs with the push of the next.

    Workers are ranks 0 to ``ranks`` - 1; server p is rank ``ranks`` + p, or on the host of worker p mod ``ranks`` where
    ``colocated`` (a shard does not leave its own host). ``shards``: bytes each server owns, else even ones.
    """
    check_collective("parameter_server", collective, COLLECTIVES)
    check_counts("parameter_server", ranks, message_byte)
    counts("parameter_server", "slices", slices, low=1)
    own = shards_byte([message_byte], servers=servers, sharding="even") if shards is None else np.asarray(shards)
    owned = counts("parameter_server", "shards", own)
    if owned.sum() != message_byte:
        raise CollectiveError(f"parameter_server: shards hold {owned.sum()} bytes of {message_byte}; all, exactly.")
    if colocated:
        hosts = np.zeros(min(ranks, owned.size), dtype=np.int64)
        np.add.at(hosts, np.arange(owned.size) % ranks, owned)
        owned, server = hosts, np.arange(hosts.size)
    else:
        server = ranks + np.arange(owned.size)
    worker, place = (grid.ravel() for grid in np.meshgrid(np.arange(ranks), np.arange(owned.size), indexing="ij"))
    bounds = np.stack([chunk_bounds(int(one), slices) for one in owned])
    found = []
    for turn in range(slices + 1):
        source, target, byte = [], [], []
        for part, push in ((turn, True), (turn - 1, False)):
            if not 0 <= part < slices:
                continue
            size = (bounds[:, part + 1] - bounds[:, part])[place]
            some = (size > 0) & (worker != server[place])
            ends = (worker[some], server[place][some])
            source.append(ends[0] if push else ends[1])
            target.append(ends[1] if push else ends[0])
            byte.append(size[some])
        one = Round(source=np.concatenate(source), target=np.concatenate(target), byte=np.concatenate(byte))
        found += [one] if len(one.byte) else []
    return tuple(found)


def seconds(
    collective: str, *, ranks: ArrayLike, message_byte: ArrayLike, latency_s: ArrayLike, byte_per_s: ArrayLike,
    servers: ArrayLike = 1, server_byte_per_s: ArrayLike | None = None, colocated: bool = False, slices: ArrayLike = 1,
) -> Floats:  # fmt: skip
    """Time of push and pull with even shards.

    .. math:: t = (k + 1) \\alpha + \\frac{M}{k P} \\left(2 x_1 + (k - 1) x_2\\right)

    with k slices, P servers, and x the seconds per byte of a shard: on hosts of their own
    x_1 = x_2 = max(W / beta_server, P / beta_worker); on workers' hosts x_1 = (W - 1) / beta, and with push and pull at
    once x_2 = (W + P - 2) / beta. Zero for an empty message, and for one worker that is its own server. Arguments
    broadcast; [B], [s], [B/s]; returns [s]. Leaves out: the update's arithmetic (`server_rate_byte_per_s` covers its
    memory), time-outs of incast, stragglers. Reference: Li et al., Scaling distributed machine learning with the
    parameter server, 2014.
    """
    where = "parameter_server"
    check_collective(where, collective, COLLECTIVES)
    n, processes = counts(where, "ranks", ranks, low=1), counts(where, "servers", servers, low=1)
    message = numbers(where, "message_byte", message_byte)
    hosts = np.minimum(n, processes) if colocated else processes
    uneven = colocated & (processes > n) & (processes % n != 0)
    # More processes than hosts: the host with one more of them has the largest shard and decides.
    largest = np.where(uneven, np.ceil(processes / n) / processes, 1.0 / hosts)
    alpha, x1, x2 = _slopes(n, hosts, latency_s, byte_per_s, server_byte_per_s, colocated)
    k = numbers(where, "slices", counts(where, "slices", slices, low=1))
    if np.any(uneven & (k > 1)):
        raise CollectiveError(f"{where}: servers share workers' hosts unevenly; give shards to sharded_seconds.")
    time = (k + 1.0) * alpha + message * largest / k * (2.0 * x1 + (k - 1.0) * x2)
    return np.asarray(np.where((message > 0) & (x1 > 0), time, 0.0))


def sharded_seconds(
    *, ranks: int, shards: ArrayLike, latency_s: float, byte_per_s: float, server_byte_per_s: float | None = None,
    colocated: bool = False, slices: int = 1,
) -> float:  # fmt: skip
    """Time of push and pull with shards of any sizes, links shared max-min fairly.

    All workers are alike, so flows end in the order of shard sizes s_1 <= ... <= s_P and while a are left each byte
    of each takes x(a) seconds (see `seconds`):

    .. math:: t = \\sum_i (s_i - s_{i-1}) \\, x(P - i + 1)

    Where the servers' links bind this is the largest shard times x; where the workers' do, imbalance costs less.
    """
    where = "parameter_server.sharded_seconds"
    n = int(counts(where, "ranks", ranks, low=1))
    owned = counts(where, "shards", shards).ravel()
    k = int(counts(where, "slices", slices, low=1))
    if colocated:
        hosts = np.zeros(min(n, owned.size), dtype=np.int64)
        np.add.at(hosts, np.arange(owned.size) % n, owned)
        owned = hosts
    size = np.sort(owned[owned > 0]).astype(np.float64)
    left = np.arange(size.size, 0, -1)
    alpha, x1, x2 = _slopes(np.asarray(n), left, latency_s, byte_per_s, server_byte_per_s, colocated)
    if not size.size or (colocated and n == 1):
        return 0.0
    step = np.diff(size, prepend=0.0) / k
    return float((k + 1.0) * alpha + np.sum(step * (2.0 * x1 + (k - 1.0) * x2)))


def asynchronous_updates_per_s(
    *, ranks: ArrayLike, message_byte: ArrayLike, compute_s: ArrayLike, latency_s: ArrayLike, byte_per_s: ArrayLike,
    servers: ArrayLike = 1, imbalance: ArrayLike = 1.0,
) -> Floats:  # fmt: skip
    """The most updates that workers make in a second when each pushes and pulls as it ends, not waiting for others.

    .. math:: X \\le \\min\\left(\\frac{W}{t_{compute} + 2 (\\alpha + M/\\beta)}, \\frac{P \\beta}{i M}\\right)

    The bound of operational analysis: workers never wait for each other, or the busiest server's link is never idle.
    ``imbalance``: the largest shard over the mean. Leaves out: queues between the two regimes, and what stale
    gradients cost in steps. Reference: Denning and Buzen, The operational analysis of queueing network models, 1978.
    """
    where = "asynchronous_updates_per_s"
    n, p = counts(where, "ranks", ranks, low=1), counts(where, "servers", servers, low=1)
    message = numbers(where, "message_byte", message_byte, above=True)
    rate = numbers(where, "byte_per_s", byte_per_s, above=True)
    alone = numbers(where, "compute_s", compute_s) + 2.0 * (numbers(where, "latency_s", latency_s) + message / rate)
    return np.asarray(np.minimum(n / alone, p * rate / (numbers(where, "imbalance", imbalance, low=1.0) * message)))


def _slopes(
    workers: Ints, active: Ints, latency_s: ArrayLike, byte_per_s: ArrayLike, server_byte_per_s: ArrayLike | None,
    colocated: bool,
) -> tuple[Floats, Floats, Floats]:  # fmt: skip
    """Latency, and seconds per byte of a shard one way (x1) and both ways at once (x2), with so many active servers."""
    where = "parameter_server"
    alpha, rate = numbers(where, "latency_s", latency_s), numbers(where, "byte_per_s", byte_per_s, above=True)
    if colocated:
        if server_byte_per_s is not None:
            raise CollectiveError(f"{where}: server_byte_per_s is given, but servers share the workers' links.")
        return alpha, (workers - 1.0) / rate, (workers + active - 2.0) / rate
    own = rate if server_byte_per_s is None else numbers(where, "server_byte_per_s", server_byte_per_s, above=True)
    slope = np.maximum(workers / own, active / rate)
    return alpha, slope, slope
