"""Running the probe: a case of every suite in turn until the time is spent, resumed where it stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from hwmodels.datafile import did_you_mean

from ..errors import InputError
from .case import Case, NotHere, Suite
from .device import Device
from .ranks import Group
from .record import Measurement, ProbeRecord, differences, read_record
from .suites import SUITES
from .timing import CASE_S, Timing, measure

#: Seconds between two writes of the file, and between two lines of progress.
_SAVE_S: Final = 15.0
_TELL_S: Final = 10.0
_CLOCK_S: Final = 5.0
#: What a case takes with its tensors made and its call warmed up, before anything was measured [s].
EXPECTED_CASE_S: Final = 0.2
#: Short runs leave out what needs processes of its own: they take seconds to start [s].
_START_S: Final = 12.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a probe would measure: the cases of every chosen suite, each in its own order."""

    cases: Mapping[str, tuple[Case, ...]]

    def in_turn(self) -> Iterator[Case]:
        """A case of every suite in turn; one with four times the cases comes twice as often."""
        place = dict.fromkeys(self.cases, 0)
        while True:
            left = [name for name in self.cases if place[name] < len(self.cases[name])]
            if not left:
                return
            # The order of the suites decides between equals, so that the first round has one case of each.
            name = min(left, key=lambda n: place[n] / len(self.cases[n]) ** 0.5)
            yield self.cases[name][place[name]]
            place[name] += 1


def plan_of(device: Device, *, suites: Sequence[str], precisions: Sequence[str], seed: int) -> Plan:
    """The cases of some suites and precisions on a device.

    Raises
    ------
    InputError
        With every name that is not known and every precision that the device cannot multiply in.
    """
    able = device.precisions()
    problems = [
        f"--suites: there is no suite {name!a}; legal: {', '.join(SUITES)}.{did_you_mean(name, SUITES)}"
        for name in suites
        if name not in SUITES
    ]
    problems += [
        f"--precision: {word!a} does not multiply here; legal: {', '.join(able)}.{did_you_mean(word, able)}"
        for word in precisions
        if word not in able
    ]
    if problems:
        raise InputError(*problems)
    words = tuple(word for word in able if not precisions or word in precisions)
    chosen = [SUITES[name] for name in SUITES if not suites or name in suites]
    made = {s.name: tuple(s.cases(words, device.kind, seed, device.scale())) for s in chosen}
    return Plan(cases={name: cases for name, cases in made.items() if cases})


def resumed(path: str | Path, machine: Mapping[str, Any], seed: int) -> ProbeRecord:
    """What stands in a file already, if it was measured here; nothing where there is no file.

    Raises
    ------
    InputError
        Where the file is of another machine or of another seed.
    """
    if not Path(path).exists():
        return ProbeRecord(machine=machine, seed=seed)
    there = read_record(path)
    found = differences(there.machine, machine)
    if found:
        raise InputError(
            f"{path}: was measured on another machine or with other software ({'; '.join(found[:4])}); "
            "name another file with --out."
        )
    if there.seed != seed:
        raise InputError(f"{path}: its cases were drawn with --seed {there.seed}, not {seed}; go on with that one.")
    return there


class Runner:
    """Measures cases one after the other into a record."""

    def __init__(
        self, device: Device, record: ProbeRecord, *, save: Callable[[ProbeRecord], None], tell: Callable[[str], None],
        group: Group | None = None,
    ) -> None:  # fmt: skip
        self.device, self.group, self.save, self.tell = device, group, save, tell
        self.measurements, self.refused = dict(record.measurements), dict(record.refused)
        self._base = record
        self._clock: tuple[float, float | None, str] = (-_CLOCK_S, None, "")
        self.done = 0

    @property
    def record(self) -> ProbeRecord:
        """All that was measured so far."""
        return replace(self._base, measurements=dict(self.measurements), refused=dict(self.refused))

    def run(self, plan: Plan, *, until: Callable[[], float]) -> None:
        """Measure until the cases or the seconds that ``until`` says are left run out; the record is saved whatever
        ends it."""
        saved = told = self.device.now()
        total = sum(len(cases) for cases in plan.cases.values())
        try:
            for case in plan.in_turn():
                if case.id in self.measurements or case.id in self.refused:
                    continue
                left = until()
                if left <= 0.0 and self.done:
                    break
                suite = SUITES[case.suite]
                if suite.between_ranks and (self.group is None or (left < _START_S and len(plan.cases) > 1)):
                    continue
                self._one(suite, case)
                now = self.device.now()
                if now - saved > _SAVE_S:
                    self.save(self.record)
                    saved = now
                if now - told > _TELL_S:
                    self.tell(f"{len(self.measurements)} of {total} cases; now {case.suite}")
                    told = now
        finally:
            self.save(self.record)

    def _one(self, suite: Suite, case: Case) -> None:
        try:
            timing = self._timed(suite, case)
        except NotHere as reason:
            self.refused[case.id] = str(reason)
            return
        except (
            RuntimeError,
            NotImplementedError,
        ) as error:  # what PyTorch says where it cannot, out of memory included
            self.refused[case.id] = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
            return
        clock, throttle = self._clocks()
        shared = self.group if suite.between_ranks else None
        self.measurements[case.id] = Measurement(
            case=case, timing=timing, ranks=shared.ranks if shared else 1,
            threads=shared.threads if shared else self.device.threads, library=shared.library if shared else "",
            clock_mhz=clock, throttle=throttle,
        )  # fmt: skip
        self.done += 1

    def _timed(self, suite: Suite, case: Case) -> Timing:
        if suite.between_ranks:
            assert self.group is not None
            return measure(self.group.timer(case), now=self.device.now)
        self.device.set_precision(case.precision)
        grad = getattr(self.device.torch, "no_grad", nullcontext)
        with grad():
            call = suite.prepare(self.device.torch, self.device.word, case)
            timer = self.device.host_timer(call) if suite.host_timed else self.device.timer(call)
            return measure(timer, now=self.device.now)

    def _clocks(self) -> tuple[float | None, str]:
        now = self.device.now()
        if now - self._clock[0] >= _CLOCK_S:
            self._clock = (now, self.device.clock_mhz(), self.device.throttle())
        return self._clock[1:]


def until_minutes(minutes: float | None, now: Callable[[], float] = time.perf_counter) -> Callable[[], float]:
    """Seconds left of some minutes from now; without end where there are none."""
    end = float("inf") if minutes is None else now() + 60.0 * minutes
    return lambda: end - now()


def what_more(plan: Plan, record: ProbeRecord, case_s: float = EXPECTED_CASE_S) -> list[str]:
    """What is measured, what more time would add, and roughly how long all of it would take."""
    lines, left_all = [], 0
    for name, cases in plan.cases.items():
        done = sum(case.id in record.measurements for case in cases)
        refused = sum(case.id in record.refused for case in cases)
        left = len(cases) - done - refused
        left_all += left
        lines.append(f"{name}: {done} of {len(cases)} cases{f', {refused} refused' if refused else ''}, {left} left")
    if left_all:
        lines.append(f"all {left_all} cases left would take about {_minutes(left_all * case_s)}")
    return lines


def progress_of(plan: Plan, record: ProbeRecord) -> dict[str, Any]:
    """The machine, and by suite how many cases there are, were measured and were refused."""
    suites = {
        name: {
            "cases": len(cases),
            "measured": sum(case.id in record.measurements for case in cases),
            "refused": sum(case.id in record.refused for case in cases),
        }
        for name, cases in plan.cases.items()
    }
    return {"machine": dict(record.machine), "seed": record.seed, "suites": suites}


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} minutes"


def listed(plan: Plan) -> list[str]:
    """What a probe would measure and how long it takes, a line for each suite."""
    lines = []
    for name, cases in plan.cases.items():
        words = sorted({case.precision for case in cases})
        about = _minutes(len(cases) * EXPECTED_CASE_S)
        lines.append(f"{name}: {SUITES[name].title}; {len(cases)} cases in {', '.join(words)}, about {about}")
    return lines


def mean_case_s(seconds: float, done: int) -> float:
    """Seconds a case took in this run; what is expected where there was none."""
    return max(seconds / done, CASE_S / 10) if done else EXPECTED_CASE_S
