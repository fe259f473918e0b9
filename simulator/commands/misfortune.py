"""Options of misfortune for `trainyard simulate`: with one of them the step's distribution is the answer."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from ..errors import InputError
from .asking import EXIT_NOTHING_FITS, FLAGS

if TYPE_CHECKING:
    from ..events.misfortune.failures import Failures
    from ..events.misfortune.laws import Law
    from ..events.misfortune.links import Degraded
    from ..events.misfortune.patterns import Misfortune
    from ..one_step import SimulatedStep

Command = Callable[..., int]

#: Option -> (metavar, repeatable, help).
OPTIONS: Final[Mapping[str, tuple[str, bool, str]]] = {
    "jitter": ("LAW:SPREAD", False, "Jitter of every piece of compute, as lognormal:0.05 or empirical:TIMES.csv."),
    "host_jitter": ("LAW:SPREAD:MEAN", False, "Delay that the host adds to every piece, as gamma:1:5us."),
    "straggler": ("P:FACTOR", False, "In every step each rank is slow with probability P."),
    "slow_chip": ("RANK:FACTOR", True, "A chip that is always slow, as 17:1.3. Repeatable."),
    "degrade": ("KIND[@STAGE]:FACTOR", True, "A slow link on exchanges of a kind: tensor, data, pipeline. Repeatable."),
    "mtbf": ("PART:TIME", True, "Mean time between failures of one chip, server or link, as chip:50000h. Repeatable."),
    "restart": ("TIME", False, "From a failure until the job runs again, as 10min. Default: 0s."),
    "checkpoint_steps": ("N", False, "Steps from one checkpoint to the next. Default: 1."),
    "elastic": ("", False, "After a failure the other replicas go on."),
    "repetitions": ("N", False, "Steps to simulate. Default: 200."),
    "seed": ("N", False, "Of all that is drawn. Default: 0."),
    "p95_within": ("X", False, "End when the p95 is known to that share of it, as 0.01."),
}
_OF_FAILURES: Final = ("restart", "checkpoint_steps", "elastic")
_OF_COMMANDS: Final = ("from_command", "from_command_file", "search")
_UNITS_S: Final = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_PARTS: Final = ("chip", "server", "link")
_NO_HOST: Final = "constant:0:0s"
_MOST_BYTES: Final = 20_000_000


def misfortunes(command: Command) -> Command:
    """The options; a step that chance may change is repeated, all others run as ever, ``slow_chips`` and all."""

    @functools.wraps(command)
    def run(**given: Any) -> int:
        own = {key: value for key in OPTIONS if (value := given.pop(key)) not in (None, (), False)}
        if not own.keys() <= {"slow_chip"}:
            return _simulate(own, given)
        problems: list[str] = []
        slow = _Asked(own, problems).slow_chips
        if problems:
            raise InputError(*problems)
        return command(slow_chips=slow, **given)

    for key, (metavar, repeatable, text) in reversed(list(OPTIONS.items())):
        name = f"--{key.replace('_', '-')}"
        option = (
            click.option(name, key, metavar=metavar, multiple=repeatable, help=text)
            if metavar
            else click.option(name, key, is_flag=True, help=text)
        )
        run = option(run)
    return run


def _simulate(own: Mapping[str, Any], given: dict[str, Any]) -> int:
    from .question import question_of

    problems: list[str] = []
    asked = _Asked(own, problems)
    job, pins, out = (given.pop(key, None) for key in ("job", "pins", "out"))
    as_json = given.pop("as_json", False)
    known = {key: given.pop(key) for key in (*FLAGS, *_OF_COMMANDS) if key in given}
    for key in sorted(key for key, value in given.items() if value not in (None, (), False)):
        problems.append(
            f"--{key.replace('_', '-')}: is about one step, misfortune asks for many; legal: without {_names(own)}."
        )
    question = None
    try:
        question = question_of(job, known, pins or (), out)
    except InputError as error:
        problems += error.problems
    if problems or question is None:
        raise InputError(*dict.fromkeys(problems))
    from ..one_step import priced_step
    from ..report.misfortune_text import misfortune_mapping, misfortune_text
    from ..report.step_text import nothing_fits_text
    from .command_lines import command_mapping, command_text, settled
    from .printing import as_json_text, deliver

    # Contention as the closed form has it: pieces of compute that chance delays are its own.
    step = priced_step(question.query, contention=False)
    said = settled(question)
    if step.spec is None or step.parallelism is None:
        nothing = {"kind": "misfortune", "fits": False, "nearest_fit": step.nearest_fit}
        text = command_text(question, said) + nothing_fits_text(step)
        deliver(as_json_text({**nothing, **command_mapping(question, said)}) if as_json else text, out)
        return EXIT_NOTHING_FITS
    found = _run(step, asked, question.query.system)
    if as_json:
        mapping = misfortune_mapping(found, step.job, step.strategy, asked.seed)
        deliver(as_json_text({**mapping, **command_mapping(question, said)}), out)
    else:
        shown = misfortune_text(found, step.job, step.strategy, asked.seed)
        deliver(command_text(question, said) + shown, out)
    return 0 if found.steps.ended != "interrupted" else 130


def _run(step: SimulatedStep, asked: _Asked, system_name: str) -> Any:
    from ..cluster import system
    from ..events.misfortune.job import run_misfortune
    from ..events.misfortune.laws import MisfortuneError

    cut = step.parallelism
    assert cut is not None
    assert step.spec is not None
    assert step.around is not None
    assert step.around.roles is not None
    grid = step.around.roles.grid
    per_server = system(system_name).cluster.chips_per_server
    parts = {"chip": cut.chips, "server": math.ceil(cut.chips / per_server), "link": cut.chips}
    try:
        return run_misfortune(
            step.spec, grid, asked.misfortune(), links=asked.links, failures=asked.failures(parts, grid.replicas),
            repetitions=asked.repetitions, seed=asked.seed, precision=asked.precision, progress=_told(),
        )  # fmt: skip
    except MisfortuneError as error:
        raise InputError(str(error)) from None


def _told() -> Callable[[int, int], None]:
    """A plain line every ten seconds."""
    import time

    from .printing import note

    last = time.monotonic()

    def tell(done: int, all_of_them: int) -> None:
        nonlocal last
        if time.monotonic() - last > 10:
            last = time.monotonic()
            note(f"{done} of {all_of_them} steps")

    return tell


def _names(keys: Iterable[str]) -> str:
    return ", ".join(f"--{key.replace('_', '-')}" for key in keys)


class _Asked:
    """The options read, every problem of theirs one line of ``problems``."""

    def __init__(self, own: Mapping[str, Any], problems: list[str]) -> None:
        self._own, self._problems = own, problems
        self.repetitions = self._whole("repetitions", 200, 1, 1_000_000)
        self.seed = self._whole("seed", 0, 0, 2**63)
        self.precision = self._number("--p95-within", own["p95_within"], 1e-6, 1.0) if "p95_within" in own else None
        self.checkpoint_steps = self._whole("checkpoint_steps", 1, 1, 10_000_000)
        self.restart_s = self._time("--restart", own["restart"]) if "restart" in own else 0.0
        self._kernel = self._law("--jitter", own.get("jitter", "constant:0"))
        host = own.get("host_jitter", _NO_HOST)
        if host.count(":") < 2:
            self._say(f"--host-jitter: {ascii(host)[:60]} is not LAW:SPREAD:MEAN; legal: as in gamma:1:5us.")
            host = _NO_HOST
        self._host = self._law("--host-jitter", host.rpartition(":")[0])
        self._host_s = self._time("--host-jitter", host.rpartition(":")[2])
        chance, factor = self._pair("--straggler", own.get("straggler", "0:1"), "0.001:1.5")
        self._chance = self._number("--straggler", chance, 0.0, 1.0)
        self._factor = self._number("--straggler", factor, 1.0, 1e6)
        self.slow_chips = dict(self._slow_chips())
        self.links = tuple(self._degraded())
        self._mtbf_s = dict(self._failing())
        if "mtbf" not in own and (lost := [key for key in _OF_FAILURES if key in own]):
            problems.append(f"{_names(lost)}: nothing fails; legal: with --mtbf, as in --mtbf chip:50000h.")
        elif own.keys() == {"p95_within"}:
            problems.append("--p95-within: there is no misfortune; legal: with --jitter, --straggler or another.")

    def misfortune(self) -> Misfortune:
        from ..events.misfortune.patterns import Misfortune, Stragglers
        from ..events.misfortune.pieces import Jitter

        return Misfortune(
            jitter=Jitter(kernel=self._kernel, host=self._host, host_ps=self._host_s * 1e12),
            stragglers=Stragglers(probability=self._chance, factor=self._factor),
            slow_chips=self.slow_chips,
        )

    def failures(self, parts: Mapping[str, int], replicas: int) -> Failures:
        from ..events.misfortune.failures import Failures

        return Failures(
            mtbf_s=self._mtbf_s, parts=parts, restart_s=self.restart_s, checkpoint_steps=self.checkpoint_steps,
            elastic="elastic" in self._own, replicas=replicas,
        )  # fmt: skip

    def _say(self, text: str) -> None:
        self._problems.append(text)

    def _number(self, name: str, text: str, low: float, high: float) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            self._say(f"{name}: {ascii(text)[:60]} is no number that will do; legal: {low:g} to {high:g}.")
            return low
        return value

    def _whole(self, key: str, default: int, low: int, high: int) -> int:
        text = self._own.get(key)
        if text is None:
            return default
        if re.fullmatch(r"[0-9]{1,18}", text) and low <= int(text) <= high:
            return int(text)
        self._say(
            f"--{key.replace('_', '-')}: {ascii(text)[:60]} is not a whole number that will do; legal: {low} to {high}."
        )
        return default

    def _time(self, name: str, text: str) -> float:
        match = re.fullmatch(r"([0-9.]+(?:e[+-]?[0-9]+)?)\s*([a-z]+)", text.strip())
        if match and match[2] in _UNITS_S:
            try:
                value = float(match[1]) * _UNITS_S[match[2]]
            except ValueError:
                value = math.inf
            if value < 1e12:
                return value
        self._say(f"{name}: {ascii(text)[:60]} is no time; legal: a number and {', '.join(_UNITS_S)}, as 10min.")
        return 1.0

    def _pair(self, name: str, text: str, example: str) -> tuple[str, str]:
        left, sign, right = text.rpartition(":")
        if not sign:
            self._say(f"{name}: {ascii(text)[:60]} has no colon; legal: as in {example}.")
            return "0", "1"
        return left.strip(), right.strip()

    def _law(self, name: str, text: str) -> Law:
        from hwmodels.datafile import did_you_mean

        from ..events.misfortune.laws import CONSTANT, FAMILIES, Empirical, MisfortuneError, law_of

        word, sign, rest = text.partition(":")
        legal = f"legal: {', '.join(FAMILIES)} with a spread, as lognormal:0.05, or empirical:FILE"
        if not sign:
            self._say(f"{name}: {ascii(text)[:60]} has no spread; {legal}.")
            return CONSTANT
        try:
            if word == "empirical":
                return Empirical.of(_times_in(rest))
            if word not in (*FAMILIES, "constant"):
                near = did_you_mean(word, (*FAMILIES, "constant", "empirical"))
                self._say(f"{name}: there is no law {ascii(word)[:60]}.{near} {legal[0].upper()}{legal[1:]}.")
                return CONSTANT
            before = len(self._problems)
            spread = self._number(name, rest, 0.0, 5.0)
            return CONSTANT if len(self._problems) > before else law_of(word, spread)
        except (MisfortuneError, OSError, ValueError) as error:
            said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            self._say(f"{name}: {ascii(text)[:60]}: {said}")
            return CONSTANT

    def _slow_chips(self) -> Sequence[tuple[int, float]]:
        found: dict[int, float] = {}
        for text in self._own.get("slow_chip", ()):
            rank, factor = self._pair("--slow-chip", text, "17:1.3")
            if not re.fullmatch(r"[0-9]{1,9}", rank):
                self._say(f"--slow-chip: {ascii(rank)[:60]} is no rank; legal: a whole number from 0.")
            elif int(rank) in found:
                self._say(f"--slow-chip: rank {int(rank)} is given twice; legal: once.")
            else:
                found[int(rank)] = self._number("--slow-chip", factor, 1.0, 1e6)
        return tuple(found.items())

    def _degraded(self) -> Sequence[Degraded]:
        from hwmodels.datafile import did_you_mean

        from ..events.misfortune.laws import MisfortuneError
        from ..events.misfortune.links import AXES, Degraded

        found = []
        for text in self._own.get("degrade", ()):
            left, factor = self._pair("--degrade", text, "data:2 or data@0:2")
            kind, sign, stage = left.partition("@")
            if kind not in AXES:
                near = did_you_mean(kind, AXES)
                self._say(f"--degrade: there is no kind {ascii(kind)[:60]}.{near} Legal: {', '.join(AXES)}.")
            elif sign and not re.fullmatch(r"[0-9]{1,9}", stage):
                self._say(f"--degrade: {ascii(stage)[:60]} is no stage; legal: a whole number from 0.")
            else:
                value = self._number("--degrade", factor, 1.0, 1e6)
                try:
                    found.append(Degraded(axis=kind, factor=value, stage=int(stage) if sign else None))
                except MisfortuneError as error:
                    self._say(f"--degrade: {error}")
        return found

    def _failing(self) -> Sequence[tuple[str, float]]:
        from hwmodels.datafile import did_you_mean

        found: dict[str, float] = {}
        for text in self._own.get("mtbf", ()):
            part, time = self._pair("--mtbf", text, "chip:50000h")
            if part not in _PARTS:
                near = did_you_mean(part, _PARTS)
                self._say(f"--mtbf: there is no part {ascii(part)[:60]}.{near} Legal: {', '.join(_PARTS)}.")
            elif part in found:
                self._say(f"--mtbf: {part} is given twice; legal: once.")
            elif (value := self._time("--mtbf", time)) > 0:
                found[part] = value
            else:
                self._say(f"--mtbf: {part} fails all the time; legal: a time above 0.")
        return tuple(found.items())


def _times_in(path: str) -> list[float]:
    """Measured times of a file: one number a line, or the first column of a table whose head is no number."""
    with open(path, encoding="utf-8", errors="strict") as file:
        text = file.read(_MOST_BYTES + 1)
    if len(text) > _MOST_BYTES:
        raise ValueError(f"is longer than {_MOST_BYTES:,} characters; legal: a shorter file.")
    found: list[float] = []
    for number, line in enumerate(text.splitlines(), 1):
        cell = line.split(",")[0].strip()
        if not cell or cell.startswith("#"):
            continue
        try:
            found.append(float(cell))
        except ValueError:
            if found or number > 1:
                raise ValueError(f"line {number}: {ascii(cell)[:40]} is no number; legal: a time a line.") from None
    return found
