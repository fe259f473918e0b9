"""Servers in repair: how long a job waits for one, or how much slower it runs without."""

from __future__ import annotations

import math
from dataclasses import replace

from simulator.outcome.failures import REPAIR_S, Failures


def in_repair(failures: Failures) -> float:
    """Servers in repair if the job never stopped: failures that take one away x time of a repair."""
    return failures.server_rate_per_s * failures.repair_s


def waiting_share(failures: Failures) -> float:
    """Share of the time that a job waits for a repaired server.

    With k spares it waits while k + 1 are in repair, and none fails then: the Erlang loss system of k + 1 places,

    .. math:: B = \\frac{a^{k+1} / (k+1)!}{\\sum_{i=0}^{k+1} a^i / i!}, \\qquad a = \\lambda_{server} t_{repair}

    whatever the distribution of a repair's length (Erlang 1917; insensitivity: Sevastyanov 1957). Leaves out that
    servers do not fail while the job is down or restarts for other reasons. 0 where the job shrinks instead.
    """
    load = in_repair(failures)
    if not load or failures.elastic_replicas:
        return 0.0
    blocked = 1.0
    for places in range(1, failures.spares + 2):
        blocked = load * blocked / (places + load * blocked)
    return blocked


def mean_speed(failures: Failures) -> float:
    """Speed of a job that goes on with fewer replicas, over that with all; 1 where it waits instead.

    .. math:: v = 1 - E[\\max(0, N - k)] / n, \\qquad N \\sim Poisson(\\lambda_{server} t_{repair})

    with n replicas and k spares; every server in repair beyond the spares stands for one replica, which overstates the
    loss where two failed servers belong to one. The batch stays: the others take its samples.
    """
    load = in_repair(failures)
    if not load or not failures.elastic_replicas:
        return 1.0
    chance, missing, done = math.exp(-load) if load < 700 else 0.0, 0.0, 0.0
    most = min(failures.elastic_replicas - 1 + failures.spares, int(load + 40 * math.sqrt(load) + 40))
    for many in range(most + 1):
        missing += max(0, many - failures.spares) * chance
        done += chance
        chance *= load / (many + 1)
    # At least one replica is always left.
    missing += max(0.0, 1 - done) * (failures.elastic_replicas - 1)
    return max(1 - missing / failures.elastic_replicas, 1 / failures.elastic_replicas)


def spares_needed(failures: Failures, *, waiting: float = 0.01) -> int:
    """The fewest spare servers with which a job waits for less than that share of its time.

    With repairs of `REPAIR_S` where none is given.
    """
    asked = replace(failures, repair_s=failures.repair_s or REPAIR_S, elastic_replicas=0)
    load, blocked, places = in_repair(asked), 1.0, 0
    if not load:
        return 0
    while places == 0 or blocked > waiting:
        places += 1
        blocked = load * blocked / (places + load * blocked)
    return places - 1
