"""What every mode of training makes in a second and how stale its gradients are, in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .job import ModeJob
from .servers import PortTimes, asynchronous_period_s, mean_staleness, mean_value_rate_per_s
from .synchronous import synchronous_round_s


@dataclass(frozen=True, kw_only=True)
class ModeEstimate:
    """Samples a second, at most; ``least_samples_per_s`` below which it does not fall; the mean staleness.

    Both rates are equal where the formula is exact. ``staleness`` is a mean, None where only its bound is known.
    ``binds``: "workers" or "servers".
    """

    samples_per_s: float
    least_samples_per_s: float
    staleness: float | None
    binds: str

    @property
    def exact(self) -> bool:
        """Whether nothing but rounding separates the formula from events."""
        return self.samples_per_s == self.least_samples_per_s


def estimate(job: ModeJob) -> ModeEstimate:
    """The closed form of a mode.

    "synchronous", "local-sgd": `synchronous.synchronous_round_s`. "asynchronous", "hogwild", "elastic-averaging" (with
    ``period`` mini-batches for one), "groups" (a group for a worker, the slowest of its members for one): at most
    `servers.asynchronous_period_s`, at least mean-value analysis. "stale-synchronous": between the synchronous and the
    asynchronous. "gossip": at most as fast as workers that never meet a busy peer.
    """
    return {"synchronous": _together, "local-sgd": _together, "gossip": _gossip, "stale-synchronous": _bounded}.get(
        job.mode, _apart
    )(job)


def lone_compute_s(job: ModeJob) -> float:
    """Mean time that one pusher computes before it pushes: a worker, or a group with its inner exchange [s]."""
    if job.mode == "groups":
        members = job.workers // job.groups
        return job.compute.expected_order_s(members, members) + (job.exchange_s or 0.0)
    return job.period * job.compute.mean_s


def pushers(job: ModeJob) -> int:
    """Who pushes by itself: workers, or groups."""
    return job.groups if job.mode == "groups" else job.workers


def _apart(job: ModeJob) -> ModeEstimate:
    count, compute_s = pushers(job), lone_compute_s(job)
    # A thread writes and reads at one go, through one memory.
    held = (job.push_port_s + job.pull_port_s,) if job.mode == "hogwild" else (job.push_port_s, job.pull_port_s)
    whole = (job.push_s, job.pull_s)
    times = PortTimes(
        push_s=np.array(whole[0]), pull_s=np.array(whole[1]), push_port_s=np.array(held[0]),
        pull_port_s=np.array(held[-1]),
    )  # fmt: skip
    period = float(asynchronous_period_s(workers=count, compute_s=compute_s, times=times))
    most = count / period
    least = most
    if (job.compute.kind != "constant" or job.exponential_ports) and max(held) > 0:
        delay = compute_s + sum(whole) - job.push_port_s - job.pull_port_s
        least = mean_value_rate_per_s(workers=count, delay_s=delay, port_s=held)
    alone = compute_s + sum(whole)
    return ModeEstimate(
        samples_per_s=most * job.samples_per_update, least_samples_per_s=least * job.samples_per_update,
        staleness=float(mean_staleness(count)), binds="workers" if period <= alone else "servers",
    )  # fmt: skip


def _together(job: ModeJob) -> ModeEstimate:
    low, high = synchronous_round_s(job)
    ports = job.exchange_s is None and (job.workers - 1) * max(job.push_port_s, job.pull_port_s) > job.compute.mean_s
    return ModeEstimate(
        samples_per_s=job.samples_per_update / low, least_samples_per_s=job.samples_per_update / high, staleness=0.0,
        binds="servers" if ports else "workers",
    )  # fmt: skip


def _bounded(job: ModeJob) -> ModeEstimate:
    free = _apart(job)
    _, high = synchronous_round_s(job)
    lockstep = job.workers * job.batch / high
    return ModeEstimate(
        samples_per_s=free.samples_per_s, least_samples_per_s=min(lockstep, free.samples_per_s), staleness=None,
        binds=free.binds,
    )  # fmt: skip


def _gossip(job: ModeJob) -> ModeEstimate:
    r"""Gossip with one peer a step.

    .. math:: X \le \min\left(\frac{W}{t_{compute} + t_x}, \frac{\lfloor W/2 \rfloor}{d}\right)

    An exchange holds two ports; one waits for W - 1 others at most. A worker's model is averaged by others X / W times
    a second, so that its staleness is about the share of time it computes. Leaves out: how often a peer is busy, and
    that workers of equal durations stay in step. Reference: Lian et al., Asynchronous Decentralized Parallel Stochastic
    Gradient Descent, 2018.
    """
    alone = job.compute.mean_s + job.push_s
    pairs = (job.workers // 2) / job.push_port_s if job.push_port_s else float("inf")
    most = min(job.workers / alone, pairs)
    least = min(job.workers / (alone + (job.workers - 1) * job.push_port_s), most)
    return ModeEstimate(
        samples_per_s=most * job.batch, least_samples_per_s=least * job.batch,
        staleness=job.compute.mean_s * most / job.workers,
        binds="workers" if job.workers / alone <= pairs else "servers",
    )  # fmt: skip
