"""`trainyard run`: a whole run of a job's best strategy. `trainyard compare`: two of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from ..errors import InputError
from .asking import CATALOG, JSON, OUT, asks, output_problems
from .phases import PHASE_FLAGS
from .printing import as_json_text, deliver
from .question import question_of
from .run_terms import number, run_terms_options, take_terms


def _validation_options(command: Any) -> Any:
    for name in ("validation_samples", "validation_every"):
        _, _, metavar, text = PHASE_FLAGS[name]
        command = click.option(f"--{name.replace('_', '-')}", name, metavar=metavar, help=text)(command)
    return command


@click.command()
@asks("top")
@_validation_options
@run_terms_options
@click.option("--start", metavar="DATE", help="The day it starts, or chips are delivered, as 2026-11-30.")
@click.option("--by", metavar="DATE", help="How likely it is over by the end of that day; with --start.")
@click.option("--power-cap", metavar="POWER", help="What the building may draw, as 900kW: fewer chips, or slower ones.")
@JSON
@OUT
def run(
    job: str | None, pins: Sequence[str], as_json: bool, out: str | None, start: str | None, by: str | None,
    power_cap: str | None, **flags: Any,
) -> int:  # fmt: skip
    """Follow a whole run: steps, evaluations, checkpoints, failures; time, money and energy.

    Needs an amount of data: --tokens, --samples, --epochs or --target. Its best strategy is that of `trainyard plan`.
    """
    terms = take_terms(flags)
    if by is not None and start is None:
        raise InputError("--by: only with --start, the day it starts, as --start 2026-11-30.")
    from ..questions.dates import date_after, seconds_until

    within_s = seconds_until(by, start) if by is not None and start is not None else 0.0
    if start is not None:
        date_after(start, 0.0)
    cap_w = _watts(power_cap) if power_cap is not None else 0.0
    question = question_of(job, flags, pins, out)
    from ..questions.power_cap import power_cap as capped
    from ..report.whole_run_text import whole_run_mapping, whole_run_text
    from ..whole_run import whole_run

    found = whole_run(question.query, terms)
    cap = capped(found, cap_w, pue=terms.pue) if cap_w else None
    form = whole_run_mapping if as_json else whole_run_text
    text = form(found, start=start or "", by=by or "", within_s=within_s, cap=cap)
    deliver(as_json_text(text), out)
    return 0


def _watts(text: str) -> float:
    from hwmodels.units import UnitError, parse_quantity

    try:
        value = parse_quantity(text, "w")
    except UnitError as error:
        raise InputError(f"--power-cap: {error}") from None
    if not value > 0:
        raise InputError(f"--power-cap: is {text[:80]!a}; legal: above 0, as 900kW.")
    return value


@click.command()
@click.argument("first", metavar="A.toml")
@click.argument("second", metavar="B.toml")
@CATALOG
@run_terms_options
@click.option("--usd-per-chip-hour-b", metavar="X", help="Of B; --usd-per-chip-hour then is A's alone.")
@JSON
@OUT
def compare(
    first: str, second: str, usd_per_chip_hour_b: str | None, as_json: bool, out: str | None, **flags: Any
) -> int:
    """Compare two quotes: which is sooner, which is cheaper, how likely.

    Both errors are drawn together, as far as runs alike were off together.
    """
    from dataclasses import replace

    terms = take_terms(flags)
    other = terms
    if usd_per_chip_hour_b is not None:
        try:
            rate = number(usd_per_chip_hour_b)
        except InputError as error:
            raise InputError(f"--usd-per-chip-hour-b: is {usd_per_chip_hour_b[:80]!a}; {error}") from None
        other = replace(terms, price=replace(terms.price, usd_per_chip_hour=rate))
    problems = output_problems(None, [out])
    questions = []
    for name in (first, second):
        try:
            questions.append(question_of(name, {}, ()))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(*dict.fromkeys(problems))
    from ..questions.compare import compare as compared
    from ..report.whole_run_text import comparison_mapping, comparison_text
    from ..whole_run import whole_run

    a, b = whole_run(questions[0].query, terms), whole_run(questions[1].query, other)
    found = compared(a, b, seed=terms.seed)
    names = (first, second)
    deliver(as_json_text(comparison_mapping(a, b, found) if as_json else comparison_text(names, a, b, found)), out)
    return 0
