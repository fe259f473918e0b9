"""Modes on one clock: hours only where samples to the target are known."""

import pytest

from simulator.modes import ModeError, ModeJob, Spread, estimate, on_one_clock
from simulator.modes.synchronous import best_backups

SPREAD = Spread(mean_s=1.0, kind="shifted_exponential", variation=0.2)
PLAIN = ModeJob(mode="synchronous", workers=64, compute=SPREAD, batch=32, exchange_s=0.1)
APART = ModeJob(mode="asynchronous", workers=64, compute=SPREAD, batch=32, push_s=0.05, pull_s=0.05)
LOCAL = ModeJob(mode="local-sgd", workers=64, compute=SPREAD, batch=32, exchange_s=0.1, period=8)
BACKED = ModeJob(mode="synchronous", workers=64, compute=SPREAD, batch=32, exchange_s=0.1, backups=4)


def found(samples=1e6, **more):
    jobs = {"all": PLAIN, "backups": BACKED, "apart": APART, "local": LOCAL} | more
    return {mode.name: mode for mode in on_one_clock(jobs, reference="all", samples=samples)}


def test_hours_are_given_for_synchronous_modes_and_unknown_for_all_others():
    modes = found()
    assert {name for name, mode in modes.items() if mode.hours is not None} == {"all", "backups"}
    assert modes["apart"].staleness == 63


def test_the_reference_may_cost_once_its_own_samples_and_a_faster_mode_as_many_more_as_it_is_faster():
    modes = found()
    assert modes["all"].may_cost == 1.0
    for mode in modes.values():
        # Needing that many times the samples, a mode takes as long as the reference does.
        assert mode.free_hours * mode.may_cost == pytest.approx(modes["all"].hours)
    assert modes["apart"].may_cost > 1.0
    assert modes["local"].may_cost > 1.0


def test_hours_grow_with_samples_and_nothing_else_changes():
    once, twice = found(), found(samples=2e6)
    for name in once:
        assert twice[name].free_hours == pytest.approx(2 * once[name].free_hours)
        assert twice[name].may_cost == once[name].may_cost


def test_the_best_number_of_backups_is_the_fastest_on_the_clock():
    best, rate = best_backups(PLAIN, most=12)
    jobs = {str(b): ModeJob(mode="synchronous", workers=64, compute=SPREAD, batch=32, exchange_s=0.1, backups=b)
            for b in range(13)}  # fmt: skip
    modes = on_one_clock(jobs, reference="0", samples=1e6)
    fastest = min(modes, key=lambda mode: mode.free_hours)
    assert fastest.name == str(best)
    assert fastest.samples_per_s == rate == estimate(jobs[str(best)]).samples_per_s


def test_a_reference_without_known_samples_and_impossible_samples_are_refused():
    with pytest.raises(ModeError, match="reference is 'none'; legal: all"):
        on_one_clock({"all": PLAIN}, reference="none", samples=1.0)
    with pytest.raises(ModeError, match="unknown for mode asynchronous; legal as the reference: all"):
        on_one_clock({"all": PLAIN, "apart": APART}, reference="apart", samples=1.0)
    with pytest.raises(ModeError, match="samples is nan"):
        on_one_clock({"all": PLAIN}, reference="all", samples=float("nan"))
