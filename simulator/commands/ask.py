"""`trainyard ask`: cheapest, doubling, bandwidth, elasticities, largest, fleet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import click

from ..errors import InputError
from .ask_chips import leave_chips_open
from .ask_fleet import fleet_answer
from .asking import EXIT_NOTHING_FITS, JSON, OUT, asks
from .printing import as_json_text, deliver
from .question import question_of
from .run_terms import count, duration, number, run_terms_options, take_terms

if TYPE_CHECKING:
    from ..query import PlanQuery
    from ..whole_run import RunTerms

_QUESTIONS: Final[Mapping[str, str]] = {
    "cheapest": "cheapest number of chips that is in time and within budget, and the fastest",
    "doubling": "when twice the chips stop helping, and what stops it",
    "bandwidth": "which rate gives an efficiency",
    "elasticities": "percent of a step for one percent of each fact and constant",
    "largest": "the largest language model worth training on these chips in that time",
    "fleet": "when each of several jobs runs on one fleet, on how many chips, and which is late",
}
#: Option -> (questions it goes with, metavar, help).
_OPTIONS: Final[Mapping[str, tuple[tuple[str, ...], str, str]]] = {
    "start": (("cheapest", "fleet"), "DATE", "Of cheapest, fleet: the day it starts, or chips are delivered."),
    "by": (("cheapest", "fleet"), "DATE", "Of cheapest, fleet: over by the end of that day; with --start."),
    "within": (("cheapest", "largest", "fleet"), "TIME", "Of cheapest, largest, fleet: in so long, as 30d."),
    "budget": (("cheapest",), "USD", "Of cheapest: at most so much."),
    "chance": (("cheapest",), "X", "Of cheapest: of being in time. Default: 0.9."),
    "gain": (("doubling",), "X", "Of doubling: the least speed-up that counts. Default: 1.1."),
    "efficiency": (("bandwidth",), "X", "Of bandwidth: against --base chips. Default: 0.9."),
    "base": (("bandwidth",), "N", "Of bandwidth: chips. Default: one server."),
    "resource": (("bandwidth",), "NAME", "Of bandwidth: scale-out (default), scale-up, memory-bandwidth."),
    "mode": (("doubling", "bandwidth"), "NAME", "Of doubling, bandwidth: strong or weak."),
    "law": (("largest",), "NAME", "Of largest: besiroglu (default) or hoffmann."),
    "fleet": (("fleet",), "N", "Of fleet: its chips. Default: all of the system."),
    "goal": (("fleet",), "NAME", "Of fleet: makespan (default), mean, late (default where a job is due)."),
    "due": (("fleet",), "JOB=DATE", "Of fleet: when that job is due, as b=2026-11-30 or b=12d. Repeatable."),
    "weight": (("fleet",), "JOB=X", "Of fleet: how much that job's end matters. Default: 1. Repeatable."),
}
_REPEATED: Final = ("due", "weight")


def _options(command: Any) -> Any:
    for key, (_, metavar, text) in reversed(list(_OPTIONS.items())):
        many = key in _REPEATED
        command = click.option(f"--{key}", f"ask_{key}", metavar=metavar, help=text, multiple=many)(command)
    return command


@click.command()
@click.argument("what", metavar="QUESTION")
@asks("top", several=True)
@_options
@run_terms_options
@JSON
@OUT
def ask(what: str, jobs: Sequence[str], pins: Sequence[str], as_json: bool, out: str | None, **flags: Any) -> int:
    """Answer a question about whole runs of a job, or of several.

    \b
    QUESTION is
      cheapest      cheapest number of chips in time and within budget; the fastest
      doubling      when twice the chips stop helping, and what stops it
      bandwidth     which rate gives an efficiency
      elasticities  percent of a step for one percent of each fact and constant
      largest       the largest language model worth training in a time
      fleet         several job files on one system: when each runs, which is late

    \b
    Answered elsewhere: two quotes (trainyard compare); how likely by a date, a power
    cap, delivery, amortisation, carbon (run); a target quality (plan --target); strong
    or weak scaling (scale); waiting for all or not (modes).
    """
    given = {key: text for key in _OPTIONS if (text := flags.pop(f"ask_{key}"))}
    terms = take_terms(flags)
    if what not in _QUESTIONS:
        from hwmodels.datafile import did_you_mean

        legal = ", ".join(_QUESTIONS)
        raise InputError(f"ask: {what[:80]!a} is not known; legal: {legal}.{did_you_mean(what, _QUESTIONS)}")
    problems = [
        f"--{key}: goes with {' and '.join(_OPTIONS[key][0])}, not with {what}."
        for key in given
        if what not in _OPTIONS[key][0]
    ]
    values = _values(given, problems)
    if problems:
        raise InputError(*problems)
    if what == "fleet":
        text, mapping, answered = fleet_answer(jobs, flags, pins, terms, values, out)
        deliver(as_json_text(mapping) if as_json else text, out)
        return 0 if answered else EXIT_NOTHING_FITS
    if len(jobs) > 1:
        raise InputError(f"ask {what}: is asked of {len(jobs)} jobs; legal: one (several: ask fleet, or compare).")
    job = jobs[0] if jobs else None
    searched = what in ("cheapest", "doubling") and leave_chips_open(job, flags)
    query = question_of(job, flags, pins, out).query
    text, mapping, answered = _ANSWERS[what](replace(query, chips=0) if searched else query, terms, values)
    deliver(as_json_text(mapping) if as_json else text, out)
    return 0 if answered else EXIT_NOTHING_FITS


def _values(given: Mapping[str, str], problems: list[str]) -> dict[str, Any]:
    """Options as numbers, words and seconds; what is wrong goes into ``problems``."""
    from ..questions.dates import seconds_until

    values: dict[str, Any] = {}
    for key, text in given.items():
        try:
            if key in ("start", "by", "resource", "mode", "law", "goal", *_REPEATED):
                values[key] = text
            elif key == "within":
                values[key] = duration(text)
            elif key in ("base", "fleet"):
                values[key] = count(text)
            else:
                values[key] = number(text)
            if values[key] == 0:
                raise InputError("above 0.")
        except InputError as error:
            problems.append(f"--{key}: is {text[:80]!a}; legal: {_OPTIONS[key][1]}, {error}")
    if ("by" in given and "start" not in given) or ("start" in given and not {"by", "due"} & set(given)):
        problems.append("--by and --start: legal together, as --start 2026-11-01 --by 2026-11-30.")
    elif "by" in given and "within" in given:
        problems.append("--within: is given together with --by; legal: one of them.")
    elif "by" in given:
        try:
            values["within"] = seconds_until(given["by"], given["start"])
        except InputError as error:
            problems += [f"--{problem}" for problem in error.problems]
    return values


Answer = tuple[str, dict[str, Any], bool]


def _cheapest(query: PlanQuery, terms: RunTerms, values: Mapping[str, Any]) -> Answer:
    from ..questions.dates import choose
    from ..report.questions_text import choice_mapping, choice_text

    counts = (query.chips,) if query.chips else ()
    found = choose(
        query, terms, within_s=values.get("within", 0.0), budget_usd=values.get("budget", 0.0),
        chance=values.get("chance", 0.9), counts=counts,
    )  # fmt: skip
    return choice_text(found), choice_mapping(found), found.cheapest is not None


def _doubling(query: PlanQuery, terms: RunTerms, values: Mapping[str, Any]) -> Answer:
    from ..questions.doubling import doublings
    from ..report.questions_text import doublings_mapping, doublings_text

    found = doublings(query, terms, first=query.chips, gain=values.get("gain", 1.1), mode=values.get("mode", "strong"))
    return doublings_text(found), doublings_mapping(found), True


def _bandwidth(query: PlanQuery, terms: RunTerms, values: Mapping[str, Any]) -> Answer:
    from ..questions.inverse import needed_rate
    from ..report.questions_text import needed_mapping, needed_text

    mode = values.get("mode", "weak")
    if mode not in ("strong", "weak"):
        raise InputError(f"--mode: is {mode[:80]!a}; legal: strong, weak.")
    found = needed_rate(
        query, resource=values.get("resource", "scale-out"), efficiency=values.get("efficiency", 0.9),
        base_chips=values.get("base", 0), weak=mode == "weak",
    )  # fmt: skip
    return needed_text(found), needed_mapping(found), found.most >= found.efficiency


def _elasticities(query: PlanQuery, terms: RunTerms, values: Mapping[str, Any]) -> Answer:
    from ..questions.elasticity import elasticities
    from ..report.questions_text import elasticities_text

    found = elasticities(query)
    rows = [{"name": one.name, "kind": one.kind, "elasticity": one.value} for one in found]
    return elasticities_text(found), {"elasticities": rows}, True


def _largest(query: PlanQuery, terms: RunTerms, values: Mapping[str, Any]) -> Answer:
    from ..questions.largest import worth_training
    from ..report.questions_text import largest_mapping, largest_text
    from ..whole_run import whole_run

    if "within" not in values:
        raise InputError("--within: is missing; the time that these chips are there for, as --within 30d.")
    if not (query.tokens or query.samples or query.epochs):
        query = replace(query, samples=1e4 * query.global_batch)
    run = whole_run(query, replace(terms, draws=1))
    found = worth_training(run, values["within"], law=values.get("law", "besiroglu"))
    return largest_text(found, run, values["within"]), largest_mapping(found), True


_ANSWERS: Final[Mapping[str, Callable[[PlanQuery, RunTerms, Mapping[str, Any]], Answer]]] = {
    "cheapest": _cheapest, "doubling": _doubling, "bandwidth": _bandwidth, "elasticities": _elasticities,
    "largest": _largest,
}  # fmt: skip
