"""How long to train from one checkpoint to the next: Young, Daly, and the least expected time."""

from __future__ import annotations

import math

from scipy.optimize import minimize_scalar
from scipy.special import lambertw

from simulator.outcome.failures import RunError


def _check(stall_s: float, rate_per_s: float) -> None:
    if not (math.isfinite(stall_s) and stall_s >= 0 and math.isfinite(rate_per_s) and rate_per_s > 0):
        raise RunError(
            f"checkpoint interval: a stall of {stall_s!r} s and {rate_per_s!r} failures a second; legal: a stall of 0 "
            "or more, and a rate above 0. Without failures no checkpoint pays."
        )


def young_s(stall_s: float, rate_per_s: float) -> float:
    """Training between checkpoints after Young [s].

    .. math:: \\tau = \\sqrt{2 \\delta M}, \\qquad M = 1 / \\lambda

    First order in delta / M. Young 1974, Communications of the ACM 17, 530.
    """
    _check(stall_s, rate_per_s)
    return math.sqrt(2 * stall_s / rate_per_s)


def daly_s(stall_s: float, rate_per_s: float) -> float:
    """Training between checkpoints after Daly's higher-order estimate [s].

    .. math:: \\tau = \\sqrt{2 \\delta M} (1 + \\frac13 \\sqrt{\\delta / 2M} + \\frac19 \\delta / 2M) - \\delta

    below delta = 2 M, else M. Daly 2006, Future Generation Computer Systems 22, 303, equation 37.
    """
    _check(stall_s, rate_per_s)
    mean_s = 1 / rate_per_s
    if stall_s >= 2 * mean_s:
        return mean_s
    ratio = stall_s / (2 * mean_s)
    return math.sqrt(2 * stall_s * mean_s) * (1 + math.sqrt(ratio) / 3 + ratio / 9) - stall_s


def exact_s(stall_s: float, rate_per_s: float) -> float:
    """Training between checkpoints that takes the least expected time with exponential failures [s].

    The zero of the derivative of `slowdown`:

    .. math:: \\lambda\\tau = 1 + W_0(-e^{-1 - \\lambda\\delta})

    whatever a restart takes, because it multiplies all intervals alike.
    """
    _check(stall_s, rate_per_s)
    # Next to -1/e the branch needs its own series: W = -1 + p - p^2/3 with p = sqrt(2 (1 + e z)).
    if rate_per_s * stall_s < 1e-10:
        return math.sqrt(2 * stall_s / rate_per_s) - stall_s * 2 / 3
    return (1 + float(lambertw(-math.exp(-1 - rate_per_s * stall_s)).real)) / rate_per_s


def slowdown(interval_s: float, stall_s: float, rate_per_s: float, *, write_s: float = 0.0) -> float:
    """Expected time over useful time, restarts left out.

    .. math:: \\frac{e^{\\lambda w} (e^{\\lambda (\\tau + \\delta)} - 1)}{\\lambda \\tau}

    with w what is written beside training before a checkpoint counts; without failures (tau + delta) / tau.
    """
    if interval_s <= 0:
        return math.inf
    if not rate_per_s:
        return (interval_s + stall_s) / interval_s
    if rate_per_s * (interval_s + stall_s + write_s) > 700:
        return math.inf
    return math.exp(rate_per_s * write_s) * math.expm1(rate_per_s * (interval_s + stall_s)) / (rate_per_s * interval_s)


def least_s(stall_s: float, rate_per_s: float, *, write_s: float = 0.0, longest_s: float = math.inf) -> float:
    """The same found by search, with writes beside training [s].

    One checkpoint must be written before the next begins, so that the interval is at least write_s - stall_s.
    """
    _check(stall_s, rate_per_s)
    low = max(write_s - stall_s, 1e-9 / rate_per_s)
    high = max(low * (1 + 1e-9), min(longest_s, 30 / rate_per_s))
    found = minimize_scalar(
        lambda x: math.log(slowdown(math.exp(x), stall_s, rate_per_s, write_s=write_s)),
        bounds=(math.log(low), math.log(high)), method="bounded", options={"xatol": 1e-10},
    )  # fmt: skip
    best = math.exp(float(found.x))
    # The search stops short of its bounds.
    return min((low, best, high), key=lambda t: slowdown(t, stall_s, rate_per_s, write_s=write_s))
