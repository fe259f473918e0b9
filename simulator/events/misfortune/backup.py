"""Backup workers: wait for the first N gradients of N + b, drop the rest (Chen et al. 2016, arXiv:1604.00981)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from scipy import special

from simulator.events.misfortune.laws import Floats, Law, MisfortuneError


def _check(waited_for: int, workers: int) -> None:
    if not 1 <= waited_for <= workers:
        raise MisfortuneError(f"backup workers: the {waited_for}-th of {workers}; legal: 1 to {workers}.")


@cache
def _gauss_legendre() -> tuple[Floats, Floats]:
    nodes, weights = np.polynomial.legendre.leggauss(600)  # 0.1 s, the same every time
    return nodes, weights


def expected_order_statistic(law: Law, waited_for: int, workers: int) -> float:
    """Mean of the k-th smallest of n draws, in means of one: E X(k:n) = int F^-1(p) beta(p; k, n - k + 1) dp.

    By Gauss-Legendre between the probabilities that the k-th leaves 1e-13 of on either side, on a scale of log p / (1 -
    p), which is smooth in both tails. David & Nagaraja, Order Statistics, 2003, section 3.1. Leaves out that workers
    differ (the same law for all), and what the network takes.
    """
    _check(waited_for, workers)
    a, b = float(waited_for), float(workers - waited_for + 1)
    low, high = special.betaincinv(a, b, 1e-13), special.betainccinv(a, b, 1e-13)
    tail = special.betaincinv(b, a, 1e-13)  # 1 - high, with its digits
    ends = special.logit(low), -special.logit(tail) if high > 0.5 else special.logit(high)
    nodes, weights = _gauss_legendre()
    z = (ends[1] + ends[0]) / 2 + (ends[1] - ends[0]) / 2 * nodes
    p, q = special.expit(z), special.expit(-z)
    log_density = a * np.log(p) + b * np.log(q) - special.betaln(a, b)  # dp = p q dz
    mass = weights * (ends[1] - ends[0]) / 2 * np.exp(log_density)
    x = np.where(q < 0.5, law.isf(np.minimum(q, 0.5)), law.ppf(np.minimum(p, 0.5)))
    return float(mass @ x / mass.sum())


def expected_exponential(spread: float, waited_for: int, workers: int) -> float:
    """The same in closed form for a shifted exponential: 1 - c + c (H_n - H_(n-k)), H_j = 1 + 1/2 + ... + 1/j."""
    _check(waited_for, workers)
    harmonic = special.digamma(workers + 1) - special.digamma(workers - waited_for + 1)
    return float(1 - spread + spread * harmonic)


def order_statistic_draws(law: Law, waited_for: int, workers: int, size: int, stream: np.random.Generator) -> Floats:
    """Draws of the k-th smallest of n, one beta number each: X(k:n) = F^-1(P), P of beta (k, n - k + 1)."""
    _check(waited_for, workers)
    q = stream.beta(workers - waited_for + 1, waited_for, size)
    return np.where(q < 0.5, law.isf(np.minimum(q, 0.5)), law.ppf(1 - np.maximum(q, 0.5)))


def share_in_time(late: float, waited_for: int, workers: int) -> float:
    """P(X(k:n) <= t) where one worker is later than t with probability ``late``: at most n - k of them are."""
    _check(waited_for, workers)
    return float(special.bdtr(workers - waited_for, workers, late))


def best_backups(law: Law, machines: int, *, steps: Callable[[int], float] = lambda n: 1.0 / n) -> tuple[int, Floats]:
    """How many of ``machines`` workers should be backups, and the relative time to the target for every number of them.

    With b backups a step waits for N = machines - b gradients and ``steps(N)`` steps are needed:
    time(b) = steps(N) E X(N:machines). By default as many samples are needed whatever N is, so that steps go as 1 / N.
    Times are those of b = 0, 1, ... machines - 1 over that of b = 0.
    """
    if machines < 1:
        raise MisfortuneError(f"best_backups: {machines} machines; at least 1.")
    times = np.array(
        [steps(machines - b) * expected_order_statistic(law, machines - b, machines) for b in range(machines)]
    )
    return int(np.argmin(times)), times / times[0]
