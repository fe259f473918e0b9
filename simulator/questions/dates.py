"""Finishing by a date: how likely, how cheaply, how fast at any price."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from simulator.cluster import system
from simulator.errors import InputError
from simulator.outcome.failures import RunError
from simulator.query import PlanQuery
from simulator.whole_run import RunTerms, WholeRun, whole_run

_DAY_S = 86400.0


def seconds_until(by: str, start: str) -> float:
    """Seconds from the start of one day to the end of another, both as 2026-11-30.

    Raises
    ------
    RunError
        For what is no date, or an end before the start.
    """
    days = []
    for name, text in (("start", start), ("by", by)):
        try:
            days.append(datetime.date.fromisoformat(text))
        except ValueError:
            raise RunError(f"{name}: {text!a} is no date; legal: as 2026-11-30.") from None
    if days[1] < days[0]:
        raise RunError(f"by: {by} is before the start, {start}; legal: {start} or later.")
    return ((days[1] - days[0]).days + 1) * _DAY_S


def date_after(start: str, time_s: float) -> str:
    """The day on which a run that starts in the morning of another is over."""
    try:
        return str(datetime.date.fromisoformat(start) + datetime.timedelta(seconds=time_s))
    except (ValueError, OverflowError):
        raise RunError(f"start: {start!a} and {time_s / _DAY_S:,.0f} days come to no date.") from None


@dataclass(frozen=True, kw_only=True)
class Option:
    """A run on one number of chips; ``chance`` that it is over in time, 1 without a limit."""

    run: WholeRun
    chance: float


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The cheapest that is in time and within budget, the fastest at any price, and all that were looked at."""

    cheapest: Option | None
    fastest: Option | None
    options: tuple[Option, ...]
    refused: tuple[str, ...]
    why_none: str = ""


def chip_counts(most: int, batch: int, *, least: int = 1) -> list[int]:
    """Numbers of chips worth looking at: powers of two times the fewest, up to the system and what a batch can feed."""
    counts, count = [], least
    while count <= most:
        counts.append(count)
        count *= 2
    if most <= 4 * batch and (not counts or counts[-1] != most):
        counts.append(most)
    return counts


def choose(
    query: PlanQuery, terms: RunTerms | None = None, *, within_s: float = 0.0, budget_usd: float = 0.0,
    chance: float = 0.9, counts: Sequence[int] = (),
) -> Choice:  # fmt: skip
    """The same job on more and more chips: the cheapest that ends in time with that probability, and the fastest.

    Money is expected cost without a hyper-parameter search. Without prices the fewest chip-hours count.
    """
    if not 0 < chance < 1:
        raise RunError(f"chance: {chance:g}; legal: above 0, below 1, as 0.9.")
    options, refused = [], []
    for count in counts or _counts(query):
        try:
            run = whole_run(replace(query, chips=count), replace(terms or RunTerms(), draws=200))
        except (InputError, LookupError, ValueError) as error:
            refused.append(f"{count:,} chips: {str(error).splitlines()[0]}")
            continue
        options.append(Option(run=run, chance=run.uncertain.within(within_s) if within_s else 1.0))
    fastest = min(options, key=lambda option: option.run.time.total_s, default=None)
    in_time = [option for option in options if option.chance >= chance]
    fits = [option for option in in_time if not budget_usd or (option.run.cost_usd or 0.0) <= budget_usd]
    cheapest = min(fits, key=lambda option: (_money(option.run), option.run.time.total_s), default=None)
    return Choice(
        cheapest=cheapest, fastest=fastest, options=tuple(options), refused=tuple(refused),
        why_none="" if cheapest else _why_none(options, in_time, within_s, budget_usd),
    )  # fmt: skip


def _counts(query: PlanQuery) -> list[int]:
    most = system(query.system).cluster.max_chips
    per_server = system(query.system).cluster.chips_per_server
    counts = chip_counts(most, query.global_batch, least=min(per_server, most))
    return counts[-8:]


def _money(run: WholeRun) -> float:
    return run.chip_hours if run.cost_usd is None else run.cost_usd


def _why_none(options: Iterable[Option], in_time: Sequence[Option], within_s: float, budget_usd: float) -> str:
    known = list(options)
    if not known:
        return "nothing fits on any number of chips"
    if not in_time:
        best = max(known, key=lambda option: (option.chance, -option.run.time.total_s))
        return (
            f"nothing is over in {within_s / _DAY_S:.1f} days; nearest: {best.run.job.chips:,} chips, half of the runs "
            f"within {best.run.uncertain.quantile(0.5) / _DAY_S:.1f} days"
        )
    least = min(in_time, key=lambda option: _money(option.run))
    cost = least.run.cost_usd or 0.0
    hour = (least.run.price.usd_per_chip_hour or 0.0) * min(option.run.job.chips for option in known)
    if hour and budget_usd < hour:
        return (
            f"USD {budget_usd:,.2f} do not pay an hour of the fewest chips, USD {hour:,.2f}; the run costs {cost:,.0f}"
        )
    return (
        f"nothing costs USD {budget_usd:,.0f} or less in time; nearest: USD {cost:,.0f} on "
        f"{least.run.job.chips:,} chips"
    )
