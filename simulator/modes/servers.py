"""Workers and the ports of parameter servers: a closed queue, in closed form. Arrays in, arrays out.

A worker computes, pushes its gradient through the servers' ports, and pulls the parameters through the ports of the
other direction. Messages go through a port whole, first come, first served: a server handles one request after the
other. With equal durations every worker then finds its place in the line and keeps it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

#: Cycles of mean-value analysis are counted one worker at a time.
MOST_WORKERS: Final = 100_000


@dataclass(frozen=True, kw_only=True)
class PortTimes:
    """Seconds of one update's messages: whole, each way, when nothing else is on its way; what they hold of a port."""

    push_s: Floats
    pull_s: Floats
    push_port_s: Floats
    pull_port_s: Floats


def port_times(
    *, workers: ArrayLike, push_byte: ArrayLike, pull_byte: ArrayLike, servers: ArrayLike, workers_per_host: ArrayLike,
    host_byte_per_s: ArrayLike, latency_s: ArrayLike, update_s: ArrayLike = 0.0, push_lane_s: ArrayLike = 0.0,
    pull_lane_s: ArrayLike = 0.0, colocated: ArrayLike = True,
) -> PortTimes:  # fmt: skip
    r"""What an update's messages take, and what they hold of the servers' ports.

    Parameters are cut evenly over P servers, whose ports are fed and emptied together, as one pool. On hosts of their
    own an update holds them for

    .. math:: d = M / (P \beta)

    each way. On workers' hosts, k workers each, a shard does not leave its own host, and the same card carries what the
    workers there send and fetch: with push M and pull N the cards of a server's host take in, per update of W workers,

    .. math:: d_{push} = \frac{(W - k) M + k (P - 1) N}{W P \beta}, \quad d_{pull} = \frac{(W - k) N + k (P - 1) M}{W P \beta}

    A message alone takes :math:`\alpha` and the longest of its port, its host's own card, and its lane from the chip to
    that card (``push_lane_s``, ``pull_lane_s``); ``update_s``, the servers' arithmetic on one update, all of them at
    once, runs beside the taking in. A worker may need several hosts: then k is below 1. [B], [B/s], [s].

    Leaves out: uneven shards (give ``servers`` as M over the largest), the time-outs of incast, other traffic.
    """  # noqa: E501
    w, k, p = (np.asarray(x, dtype=float) for x in (workers, workers_per_host, servers))
    push, pull, rate = (np.asarray(x, dtype=float) for x in (push_byte, pull_byte, host_byte_per_s))
    beside = np.asarray(colocated, dtype=bool)
    k = np.minimum(k, w)
    away = np.where(beside, np.where(k < w, 1.0, 0.0), 1.0)
    share = np.where(beside, 1.0 - 1.0 / np.maximum(np.minimum(p, w / k), 1.0), 1.0)
    # Servers' hosts send (P - 1) / P of their own pushes; the other hosts all of them.
    share = np.where(beside & (p < w / k), 1.0, share) * away
    # A worker of several hosts sends over the cards of each.
    own = np.minimum(k, 1.0)
    taken_in = np.where(beside, (w - k) * push + k * (p - 1.0) * pull, w * push) / (w * p * rate)
    given_out = np.where(beside, (w - k) * pull + k * (p - 1.0) * push, w * pull) / (w * p * rate)
    taken_in, given_out = np.maximum(taken_in * away, update_s), given_out * away
    return PortTimes(
        push_s=np.asarray(latency_s + np.maximum(np.maximum(share * own * push / rate, taken_in), push_lane_s)),
        pull_s=np.asarray(latency_s + np.maximum(np.maximum(share * own * pull / rate, given_out), pull_lane_s)),
        push_port_s=np.asarray(taken_in), pull_port_s=np.asarray(given_out),
    )  # fmt: skip


def asynchronous_period_s(*, workers: ArrayLike, compute_s: ArrayLike, times: PortTimes) -> Floats:
    r"""Seconds in which every worker makes one update, none waiting for another, where all take equally long.

    .. math:: T = \max\left(t_{compute} + t_{push} + t_{pull},\ W \max(d_{push}, d_{pull})\right)

    Exact for equal durations and ports that serve in order of arrival: the order of workers settles, and the cycle with
    the largest mean of an event graph sets its pace (Baccelli et al., Synchronization and Linearity, 1992, theorem
    2.28). With durations that vary 1/T bounds the rate from above (Denning and Buzen, 1978).
    """
    alone = np.asarray(compute_s, dtype=float) + times.push_s + times.pull_s
    return np.asarray(np.maximum(alone, np.asarray(workers) * np.maximum(times.push_port_s, times.pull_port_s)))


def mean_value_rate_per_s(*, workers: int, delay_s: float, port_s: tuple[float, ...]) -> float:
    r"""Updates a second of W workers where each port's services are exponential around their mean.

    Mean-value analysis of a closed network of one delay and first-come-first-served ports, from one worker up:

    .. math:: R_j(n) = d_j (1 + Q_j(n - 1)), \quad X(n) = \frac{n}{Z + \sum_j R_j(n)}, \quad Q_j(n) = X(n) R_j(n)

    Exact for exponential services and any delay. Services that vary less queue less. Reference: Reiser and Lavenberg,
    Mean-value analysis of closed multichain queuing networks, 1980.
    """
    if not 1 <= workers <= MOST_WORKERS:
        raise ValueError(f"mean_value_rate_per_s: {workers} workers; legal: 1 to {MOST_WORKERS}.")
    queue, rate, port = [0.0] * len(port_s), 0.0, range(len(port_s))
    for n in range(1, workers + 1):
        stay = [port_s[j] * (1.0 + queue[j]) for j in port]
        rate = n / (delay_s + sum(stay))
        queue = [rate * stay[j] for j in port]
    return rate


def mean_staleness(workers: ArrayLike) -> Floats:
    """Updates by others between a worker's reading of parameters and its own update of them, in the mean: W - 1.

    A law: where the servers answer a push with the parameters, a worker's reading is the moment of its last update, and
    the intervals between a worker's updates cover all updates W times over. It holds for any durations.
    """
    return np.asarray(np.asarray(workers, dtype=float) - 1.0)
