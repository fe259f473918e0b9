"""Modes of training: events beside closed forms, laws of staleness, limits in which modes are the same."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.events.modes import ModeRun, run_mode
from simulator.modes import MODES, ModeError, ModeJob, Spread, best_backups, estimate
from simulator.modes.servers import mean_value_rate_per_s

CERTAIN = Spread(mean_s=1.0)
VARIED = [
    Spread(mean_s=1.0, kind="gamma", variation=0.5),
    Spread(mean_s=1.0, kind="lognormal", variation=0.5),
    Spread(mean_s=1.0, kind="shifted_exponential", variation=0.5),
]
PORTS = {"push_s": 0.05, "pull_s": 0.05, "push_port_s": 0.04, "pull_port_s": 0.03}
OWN: dict[str, dict[str, Any]] = {
    "stale-synchronous": {"bound": 2},
    "elastic-averaging": {"period": 4},
    "local-sgd": {"period": 4, "exchange_s": 0.2},
    "groups": {"groups": 4, "exchange_s": 0.1},
}


def job(mode: str, workers: int = 8, compute: Spread = CERTAIN, **parts: Any) -> ModeJob:
    return ModeJob(**({"mode": mode, "workers": workers, "compute": compute} | PORTS | OWN.get(mode, {}) | parts))


def half_width(run: ModeRun) -> float:
    """What sampling may move a rate by: three half-widths of its interval."""
    return 1.5 * (run.high_per_s - run.low_per_s) + 1e-9 * run.samples_per_s


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("workers", [4, 16, 40])
@pytest.mark.parametrize("compute", [CERTAIN, *VARIED], ids=lambda one: one.kind)
def test_events_stay_within_the_closed_form(mode: str, workers: int, compute: Spread) -> None:
    asked = job(mode, workers, compute)
    form = estimate(asked)
    for seed in (0, 1):
        run = run_mode(asked, updates=1500, seed=seed)
        assert run.samples_per_s <= form.samples_per_s + half_width(run)
        assert run.samples_per_s >= form.least_samples_per_s - half_width(run)
        assert 0.0 <= run.idle_share <= 1.0
        assert 0.0 <= run.server_utilisation <= 1.0 + 1e-12


@given(
    mode=st.sampled_from(["synchronous", "asynchronous", "hogwild", "elastic-averaging", "groups", "local-sgd"]),
    groups=st.integers(1, 6), members=st.integers(1, 6), compute_s=st.floats(1e-3, 10.0),
    held=st.tuples(st.floats(0.0, 2.0), st.floats(0.0, 2.0)), rest=st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)),
    period=st.integers(1, 5),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_without_spread_events_are_the_closed_form(
    mode: str, groups: int, members: int, compute_s: float, held: tuple[float, float], rest: tuple[float, float],
    period: int,
) -> None:  # fmt: skip
    own: dict[str, Any] = {
        "groups": {"groups": groups}, "local-sgd": {"period": period, "exchange_s": rest[0]},
        "elastic-averaging": {"period": period},
    }.get(mode, {})  # fmt: skip
    asked = ModeJob(
        mode=mode, workers=groups * members, compute=Spread(mean_s=compute_s), push_port_s=held[0], pull_port_s=held[1],
        push_s=held[0] + rest[0], pull_s=held[1] + rest[1], **own,
    )  # fmt: skip
    form = estimate(asked)
    assert form.exact
    # Ports that are nearly alike settle slowly; until then the rate is that of the faster.
    ratio = min(held) / max(held) if max(held) else 0.0
    off = 1e-7 if ratio < 0.8 or mode == "hogwild" else 1.0 / ratio - 1.0 + 1e-7
    assert run_mode(asked, updates=100).samples_per_s == pytest.approx(form.samples_per_s, rel=off)


@pytest.mark.parametrize("compute", [CERTAIN, *VARIED], ids=lambda one: one.kind)
@pytest.mark.parametrize("mode", ["asynchronous", "hogwild", "elastic-averaging", "groups"])
@pytest.mark.parametrize("size", [4, 12, 64])
def test_the_mean_staleness_is_one_less_than_those_who_push(mode: str, compute: Spread, size: int) -> None:
    asked = job(mode, size, compute)
    alone = 4 if mode == "groups" else size
    for seed in (0, 3):
        run = run_mode(asked, updates=4000, seed=seed)
        # The law is exact over all time; a window cuts one interval of each at either end.
        assert abs(run.mean_staleness - (alone - 1)) <= alone**2 / run.updates
        assert sum(run.staleness.values()) == run.updates


@given(bound=st.integers(0, 6), workers=st.integers(2, 12), variation=st.floats(0.05, 2.0), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_nobody_is_ever_further_ahead_than_the_bound(bound: int, workers: int, variation: float, seed: int) -> None:
    compute = Spread(mean_s=1.0, kind="lognormal", variation=variation)
    run = run_mode(job("stale-synchronous", workers, compute, bound=bound), updates=400, seed=seed)
    assert run.most_ahead <= bound
    # A worker that reads at step c finds all others at c - s or later, and writes before they are at c + s + 2.
    assert max(run.staleness) <= (workers - 1) * (2 * bound + 1)


def test_a_bound_that_is_never_reached_is_asynchronous_and_a_bound_of_none_is_synchronous() -> None:
    for compute in VARIED:
        loose = run_mode(job("stale-synchronous", compute=compute, bound=100_000), updates=2000)
        free = run_mode(job("asynchronous", compute=compute), updates=2000)
        assert loose.samples_per_s == free.samples_per_s
        assert loose.staleness == free.staleness
        strict = run_mode(job("stale-synchronous", compute=compute, bound=0), updates=8000)
        together = run_mode(job("synchronous", compute=compute), updates=1000)
        assert abs(strict.samples_per_s - together.samples_per_s) < half_width(strict) + half_width(together)


def test_a_looser_bound_is_never_slower() -> None:
    for compute in VARIED:
        rates = [run_mode(job("stale-synchronous", 16, compute, bound=s), updates=4000) for s in (0, 1, 2, 4, 8, 16)]
        for tight, loose in itertools.pairwise(rates):
            assert loose.samples_per_s >= tight.samples_per_s - half_width(tight)


def test_one_worker_is_the_same_in_every_mode_that_has_one() -> None:
    plain = run_mode(job("asynchronous", 1, VARIED[0]), updates=1000)
    for mode, own in (("synchronous", {}), ("stale-synchronous", {}), ("groups", {"groups": 1, "exchange_s": None})):
        run = run_mode(job(mode, 1, VARIED[0], **own), updates=1000)
        assert run.samples_per_s == pytest.approx(plain.samples_per_s, rel=0.02)
        assert set(run.staleness) == {0}


def test_as_many_groups_as_workers_are_asynchronous_and_one_group_has_no_staleness() -> None:
    alone = run_mode(job("groups", 12, VARIED[1], groups=12, exchange_s=None), updates=2000)
    free = run_mode(job("asynchronous", 12, VARIED[1]), updates=2000)
    assert alone.samples_per_s == pytest.approx(free.samples_per_s, rel=1e-12)
    assert set(run_mode(job("groups", 12, VARIED[1], groups=1), updates=500).staleness) == {0}


@pytest.mark.parametrize("workers", [1, 5, 30])
def test_ports_with_exponential_services_follow_mean_value_analysis(workers: int) -> None:
    asked = job("asynchronous", workers, VARIED[0], exponential_ports=True)
    expected = mean_value_rate_per_s(workers=workers, delay_s=1.0 + 0.03, port_s=(0.04, 0.03))
    runs = [run_mode(asked, updates=30_000, seed=seed) for seed in (0, 1, 2)]
    assert sum(run.samples_per_s for run in runs) / 3 == pytest.approx(expected, rel=0.01)


def test_mean_value_analysis_is_under_the_bound_and_meets_it_at_both_ends() -> None:
    for workers in (1, 10, 100, 1000):
        rate = mean_value_rate_per_s(workers=workers, delay_s=1.0, port_s=(0.01, 0.02))
        assert rate <= min(workers / 1.03, 50.0) * (1 + 1e-12)
    assert mean_value_rate_per_s(workers=1, delay_s=1.0, port_s=(0.01, 0.02)) == pytest.approx(1 / 1.03)
    assert mean_value_rate_per_s(workers=1000, delay_s=1.0, port_s=(0.01, 0.02)) == pytest.approx(50.0)


@pytest.mark.parametrize("compute", VARIED, ids=lambda one: one.kind)
@pytest.mark.parametrize("backups", [0, 2, 6])
def test_a_round_with_backups_is_an_order_statistic(compute: Spread, backups: int) -> None:
    asked = job("synchronous", 24, compute, backups=backups, exchange_s=0.1)
    run, form = run_mode(asked, updates=2000), estimate(asked)
    assert form.exact
    assert abs(run.samples_per_s - form.samples_per_s) < half_width(run)
    assert run.dropped_share == pytest.approx(backups / 24, rel=0.02)


def test_the_best_number_of_backups_is_the_best_in_events_too_and_none_without_spread() -> None:
    compute = Spread(mean_s=1.0, kind="shifted_exponential", variation=0.3)
    asked = job("synchronous", 40, compute, exchange_s=0.05)
    best, rate = best_backups(asked)
    assert 0 < best < 39
    by_events = {b: run_mode(replace(asked, backups=b), updates=1000).samples_per_s for b in (0, best, 2 * best + 4)}
    assert max(by_events, key=lambda b: by_events[b]) == best
    assert by_events[best] == pytest.approx(rate, rel=0.01)
    assert best_backups(job("synchronous", 40, exchange_s=0.05))[0] == 0


def test_longer_periods_of_local_steps_never_make_fewer_samples() -> None:
    for mode in ("local-sgd", "elastic-averaging"):
        rates = [estimate(job(mode, 16, VARIED[1], period=h)).samples_per_s for h in (1, 2, 4, 8, 16)]
        assert rates == sorted(rates)
        assert rates[-1] < 16.0  # never more than workers that do not exchange


def test_gossip_in_large_crowds_is_as_stale_as_its_workers_compute() -> None:
    for compute in VARIED:
        run = run_mode(job("gossip", 40, compute, push_s=0.5, push_port_s=0.1), updates=20_000)
        assert run.mean_staleness == pytest.approx(1.0 - run.idle_share, rel=0.05)


def test_more_seeds_agree_with_the_interval() -> None:
    asked = job("asynchronous", 10, VARIED[1])
    runs = [run_mode(asked, updates=2000, seed=seed) for seed in range(20)]
    mean = sum(run.samples_per_s for run in runs) / len(runs)
    assert sum(run.low_per_s <= mean <= run.high_per_s for run in runs) >= 16  # 19 of 20 expected


def test_one_more_worker_leaves_the_draws_of_the_others_as_they_were() -> None:
    from simulator.events.modes.stage import Durations

    one = [Durations(VARIED[0], 3, "compute 1").next_ps() for _ in range(3)]
    assert len(set(one)) == 1
    assert Durations(VARIED[0], 3, "compute 2").next_ps() != one[0]
    assert Durations(VARIED[0], 4, "compute 1").next_ps() != one[0]


PRINTED = """
from simulator import ModeJob, Spread, run_mode
one = Spread(mean_s=1.0, kind="lognormal", variation=0.5)
for mode in ("asynchronous", "gossip", "stale-synchronous", "synchronous"):
    run = run_mode(ModeJob(mode=mode, workers=9, compute=one, push_s=0.1, push_port_s=0.1, pull_s=0.1), updates=300)
    print(repr(run))
"""


def test_the_same_seed_gives_the_same_bytes_whatever_the_hash_seed() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-c", PRINTED], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("0", "1", "77")
    }
    assert len(outputs) == 1
    assert next(iter(outputs))


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"mode": "bulk"}, "legal: synchronous, asynchronous"),
        ({"workers": 0}, "workers is 0; legal: a whole number from 1"),
        ({"backups": 2}, "backups belongs to mode synchronous"),
        ({"mode": "synchronous", "backups": 8}, "legal: 0 to 7"),
        ({"bound": 2}, "bound belongs to mode stale-synchronous"),
        ({"period": 2}, "period belongs to modes elastic-averaging and local-sgd"),
        ({"mode": "groups", "groups": 3}, "does not divide 8 workers; nearest: 2"),
        ({"exchange_s": 0.1}, "exchange_s belongs to"),
        ({"push_port_s": 1.0}, "push_port_s is longer than push_s"),
        ({"push_s": float("inf")}, "finite"),
        ({"mode": "gossip", "workers": 1}, "2 or more"),
    ],
)
def test_a_mode_that_cannot_be_is_refused_with_what_is_legal(parts: dict[str, Any], words: str) -> None:
    with pytest.raises(ModeError, match=words):
        ModeJob(**({"mode": "asynchronous", "workers": 8, "compute": CERTAIN} | PORTS | parts))


def test_too_few_updates_are_refused() -> None:
    with pytest.raises(ModeError, match="legal: a whole number from 100"):
        run_mode(job("asynchronous"), updates=3)
