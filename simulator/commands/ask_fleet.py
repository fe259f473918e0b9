"""`trainyard ask fleet`: several job files on one system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .ask_chips import leave_chips_open
from .question import question_of
from .run_terms import duration, number

if TYPE_CHECKING:
    from ..query import PlanQuery
    from ..whole_run import RunTerms

Answer = tuple[str, dict[str, Any], bool]


def fleet_answer(
    jobs: Sequence[str], flags: Mapping[str, str | None], pins: Sequence[str], terms: RunTerms,
    values: Mapping[str, Any], out: str | None,
) -> Answer:  # fmt: skip
    """The schedule of the jobs in these files; exit status 3 where one of them is late.

    A job is called like its file. ``due`` and ``weight`` are lists of NAME=VALUE; a due date goes with ``start``.
    """
    problems: list[str] = []
    queries: dict[str, PlanQuery] = {}
    if not jobs:
        raise InputError("ask fleet: no job is named; legal: one job file or more, as a.toml b.toml.")
    for path in jobs:
        name = _job_name(path)
        if name in queries:
            problems.append(f"{path!a}: a job called {name!a} is there already; legal: files of different names.")
            continue
        own = dict(flags)
        try:
            opened = leave_chips_open(path, own)
            query = question_of(path, own, pins, out).query
            queries[name] = replace(query, chips=0) if opened else query
        except InputError as error:
            problems += error.problems
    from ..questions.dates import date_after

    start = values.get("start", "")
    due = _named(values.get("due", ()), "due", lambda text: _due_s(text, start), problems)
    weights = _named(values.get("weight", ()), "weight", number, problems)
    if start:
        try:
            date_after(start, 0.0)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(*dict.fromkeys(problems))
    from ..questions.fleet_runs import plan_fleet
    from ..report.fleet_text import fleet_mapping, fleet_text

    for name in queries:
        if "within" in values:
            due.setdefault(name, values["within"])
    found = plan_fleet(
        queries, terms, chips=values.get("fleet", 0), goal=values.get("goal", "late" if due else "makespan"),
        due_s=due, weights=weights,
    )  # fmt: skip
    late = any(slot.late_s for slot in found.schedule.slots)
    return fleet_text(found, start=start), fleet_mapping(found), not late


def _job_name(path: str) -> str:
    """A job is called like its file: of runs/gpt.v2.toml that is gpt.v2."""
    return Path(path).name.removesuffix(".toml")


def _due_s(text: str, start: str) -> float:
    """Seconds after the start, from a date or a time."""
    from ..questions.dates import seconds_until

    if "-" not in text:
        return duration(text)
    if not start:
        raise InputError("a date goes with --start, as --start 2026-11-01.")
    return seconds_until(text, start)


def _named(pairs: Sequence[str], option: str, read: Any, problems: list[str]) -> dict[str, float]:
    """NAME=VALUE as a mapping; what is wrong goes into ``problems``."""
    found: dict[str, float] = {}
    for pair in pairs:
        name, sign, text = pair.rpartition("=")
        name = _job_name(name)
        try:
            if not sign or not name:
                raise InputError("as JOB=VALUE.")
            if name in found:
                raise InputError("each job once.")
            found[name] = float(read(text))
            if not found[name] > 0:
                raise InputError("above 0.")
        except InputError as error:
            problems.append(f"--{option}: is {pair[:80]!a}; legal: {error}")
    return found
