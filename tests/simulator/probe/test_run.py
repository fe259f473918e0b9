"""Running the probe on a device of plain Python: stopped anywhere the file is whole, gone on with it is complete."""

from types import SimpleNamespace

import pytest

from simulator.errors import InputError
from simulator.probe.case import Case, NotHere, Scale
from simulator.probe.device import Device, caches, cpu_clock_mhz, cpu_name
from simulator.probe.record import ProbeRecord
from simulator.probe.run import Plan, Runner, listed, plan_of, until_minutes, what_more


class FakeDevice:
    """Every call takes a millisecond on a clock of its own."""

    kind = word = "cpu"
    threads = 1
    torch = SimpleNamespace()

    def __init__(self):
        self.at = 0.0

    def now(self):
        return self.at

    def timer(self, call):
        def timed(calls):
            for _ in range(calls):
                call()
            self.at += 1e-3 * calls
            return 1e-3 * calls

        return timed

    host_timer = timer

    def set_precision(self, word):
        pass

    def clock_mhz(self):
        return 2500.0

    def throttle(self):
        return ""

    def precisions(self):
        return ("fp32",)

    def scale(self):
        return Scale(flop=(1e5, 1e8), byte=(4096, 2.0**24))


def cases(suite, count):
    return tuple(Case(suite=suite, precision="fp32", shape={"i": i}, flop=1.0, byte=1.0) for i in range(count))


@pytest.fixture
def runner(monkeypatch):
    def make(record=None, fails=None):
        from simulator.probe import run

        def prepare(torch, device, case):
            if fails and case.shape["i"] in fails:
                raise fails[case.shape["i"]]
            return lambda: None

        fake = {
            name: SimpleNamespace(name=name, title=name, between_ranks=name == "collectives", host_timed=False,
                                  prepare=prepare)
            for name in ("gemm", "memory", "collectives")
        }  # fmt: skip
        monkeypatch.setattr(run, "SUITES", fake)
        saved = []
        device = FakeDevice()
        base = record or ProbeRecord(machine={"device": "cpu"}, seed=0)
        return Runner(device, base, save=saved.append, tell=lambda _: None), device, saved

    return make


PLAN = Plan(cases={"gemm": cases("gemm", 8), "memory": cases("memory", 4)})


def test_all_cases_are_measured_and_saved(runner):
    made, _, saved = runner()
    made.run(PLAN, until=lambda: float("inf"))
    assert len(saved[-1].measurements) == 12
    assert all(m.timing.median_s == pytest.approx(1e-3) for m in saved[-1].measurements.values())


def test_stopped_by_the_clock_the_record_is_balanced_and_going_on_completes_it(runner):
    made, device, saved = runner()
    end = 0.2
    made.run(PLAN, until=lambda: end - device.at)
    first = saved[-1]
    assert 0 < len(first.measurements) < 12
    assert {m.case.suite for m in first.measurements.values()} == {"gemm", "memory"}
    again, _, saved = runner(first)
    again.run(PLAN, until=lambda: float("inf"))
    assert len(saved[-1].measurements) == 12
    assert again.done == 12 - len(first.measurements)


def test_an_interrupt_saves_what_was_done_and_passes_on(runner):
    made, _, saved = runner(fails={3: KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        made.run(PLAN, until=lambda: float("inf"))
    assert 0 < len(saved[-1].measurements) < 12


def test_a_case_that_cannot_run_is_refused_with_its_reason_and_the_rest_goes_on(runner):
    made, _, saved = runner(fails={2: NotHere("too large"), 3: RuntimeError("out of\nmemory")})
    made.run(PLAN, until=lambda: float("inf"))
    assert len(saved[-1].measurements) == 8
    assert set(saved[-1].refused.values()) == {"too large", "RuntimeError: out of memory"}


def test_collectives_without_a_group_are_left_for_another_time(runner):
    made, _, saved = runner()
    made.run(Plan(cases={"collectives": cases("collectives", 3), **PLAN.cases}), until=lambda: float("inf"))
    assert {m.case.suite for m in saved[-1].measurements.values()} == {"gemm", "memory"}


def test_what_more_time_would_add_is_said(runner):
    made, device, saved = runner()
    made.run(PLAN, until=lambda: 0.1 - device.at)
    lines = what_more(PLAN, saved[-1], 0.2)
    left = 12 - len(saved[-1].measurements)
    assert lines[-1].startswith(f"all {left} cases left would take about")
    assert "8 cases" in lines[0]


def test_minutes_are_counted_from_now():
    at = [100.0]
    left = until_minutes(0.5, lambda: at[0])
    at[0] += 20.0
    assert left() == pytest.approx(10.0)
    assert until_minutes(None)() == float("inf")


def test_unknown_suites_and_precisions_are_refused_together():
    with pytest.raises(InputError) as caught:
        plan_of(FakeDevice(), suites=["gem"], precisions=["fp16"], seed=0)
    assert len(caught.value.problems) == 2
    assert "Did you mean 'gemm'?" in caught.value.problems[0]
    assert "legal: fp32" in caught.value.problems[1]


def test_a_listing_names_every_suite_with_its_time():
    plan = plan_of(FakeDevice(), suites=[], precisions=[], seed=0)
    assert len(listed(plan)) == len(plan.cases)
    assert all("about" in line for line in listed(plan))


def test_the_processor_is_read_from_the_kernels_list():
    info = "processor\t: 0\nmodel name\t: Some CPU @ 2.50GHz\ncpu MHz\t\t: 2596.132\n"
    assert cpu_name(info) == "Some CPU @ 2.50GHz"
    assert cpu_clock_mhz(info) == 2596.132
    assert cpu_name("") == ""
    assert cpu_clock_mhz("") is None


def test_caches_are_read_as_the_kernel_lists_them(tmp_path):
    for i, (level, kind, size) in enumerate([(1, "Data", "32K"), (1, "Instruction", "64K"), (3, "Unified", "32M")]):
        (tmp_path / f"index{i}").mkdir()
        for name, text in (("level", str(level)), ("type", kind), ("size", size)):
            (tmp_path / f"index{i}" / name).write_text(text)
    assert caches(tmp_path) == (32 << 10, 32 << 20)
    assert caches(tmp_path / "none") == (0, 0)


CLOCK = [0.0]


class FakeEvent:
    def __init__(self, enable_timing):
        self.at = None

    def record(self):
        self.at = CLOCK[0]

    def synchronize(self):
        pass

    def elapsed_time(self, other):
        return other.at - self.at


def test_a_card_is_timed_by_its_own_events_in_milliseconds():
    cuda = SimpleNamespace(Event=FakeEvent, synchronize=lambda: None)
    device = Device(SimpleNamespace(cuda=cuda, get_num_threads=lambda: 1), "cuda", now=lambda: 0.0)

    def call():
        CLOCK[0] += 2.0

    assert device.timer(call)(5) == pytest.approx(10e-3)
