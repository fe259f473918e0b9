"""Workers that wait for each other: the slowest of many, and what backups and long periods save."""

from __future__ import annotations

from dataclasses import replace

from .job import ModeJob


def exchange_alone_s(job: ModeJob) -> float:
    """An exchange of all workers once the last has come: the collective, or one push and one pull with no queue [s]."""
    return job.push_s + job.pull_s if job.exchange_s is None else job.exchange_s


def synchronous_round_s(job: ModeJob) -> tuple[float, float]:
    r"""Bounds of the mean time from one common exchange to the next; equal where compute or ports are certain [s].

    .. math:: E[X_{(N:W)}] + t_x \le t \le E[X_{(N:W)}] + t_x + (W - 1) (d_{push} + d_{pull})

    with X the sum of ``period`` mini-batches, N = W - backups, and t_x the exchange of `exchange_alone_s`. With equal
    durations workers leave the pull one behind the other and come to the push so:

    .. math:: t = X + t_x + (N - 1) \max(d_{push}, d_{pull})

    for N = W. A collective holds no port: then both bounds are one. Reference: Chen et al., Revisiting Distributed
    Synchronous SGD, 2016 (order statistics of workers' times, section 3).
    """
    waited = job.workers - job.backups
    slowest = job.compute.expected_order_s(waited, job.workers, draws=job.period)
    low = slowest + exchange_alone_s(job)
    if job.exchange_s is not None:
        return low, low
    if job.compute.kind == "constant" and not job.backups:
        certain = low + (job.workers - 1) * max(job.push_port_s, job.pull_port_s)
        return certain, certain
    return low, low + (job.workers - 1) * (job.push_port_s + job.pull_port_s)


def best_backups(job: ModeJob, *, most: int | None = None) -> tuple[int, float]:
    r"""How many of a fixed number of workers to hold as backups for the most samples a second, and that rate.

    .. math:: \max_b \frac{(W - b)\, B}{E[X_{(W - b : W)}] + t_x}

    Leaves out: ports held (their lower bound is 0), and that steps of fewer gradients learn less each: a run to a
    target quality wants fewer backups than this where batches are small. Reference: Chen et al., 2016, section 3.2.
    """
    from .closed_form import estimate

    tried = range((job.workers - 1 if most is None else min(most, job.workers - 1)) + 1)
    rates = {b: estimate(replace(job, backups=b)).samples_per_s for b in tried}
    best = max(rates, key=lambda b: (rates[b], -b))
    return best, rates[best]
