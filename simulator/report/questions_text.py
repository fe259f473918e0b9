"""Answers of `trainyard ask` as text and as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..questions.dates import Choice, Option
from ..questions.doubling import Doublings
from ..questions.elasticity import Elasticity
from ..questions.inverse import Needed
from ..questions.largest import Largest
from ..whole_run import WholeRun
from .quantities import digits, many, percent, scaled, seconds
from .tables import fold, table
from .text import WIDTH


def _usd(value: float | None) -> str:
    return "no price" if value is None else f"USD {value:,.0f}" if value >= 100 else f"USD {value:,.2f}"


def choice_text(found: Choice) -> str:
    """The cheapest and the fastest, and all that were looked at."""
    if found.cheapest is None:
        lines = fold(f"No answer: {found.why_none}.", WIDTH)
    else:
        best = found.cheapest.run
        text = f"Cheapest: {best.job.chips:,} chips, {seconds(best.time.total_s)} expected, {_usd(best.cost_usd)}."
        if best.cost_usd is None:
            text += f" By chip-hours: {best.price.basis}."
        lines = fold(text, WIDTH)
    if found.fastest is not None:
        best = found.fastest.run
        text = f"Fastest at any price: {best.job.chips:,} chips, {seconds(best.time.total_s)}, {_usd(best.cost_usd)}."
        lines += fold(text, WIDTH)
    rows = [
        [
            f"{o.run.job.chips:,}", seconds(o.run.time.total_s), seconds(o.run.uncertain.quantile(0.9)),
            seconds(o.run.bound_s), percent(o.chance), percent(o.run.time.goodput), _usd(o.run.cost_usd),
        ]
        for o in found.options
    ]  # fmt: skip
    header = ["chips", "expected", "90 % within", "bound", "in time", "goodput", "money"]
    if rows:
        lines += ["", *table(header, rows, left=(), width=WIDTH)]
    for text in found.refused:
        lines += fold(f"left out: {text}", WIDTH, first="  ", rest="    ")
    return "\n".join(lines) + "\n"


def _option(option: Option) -> dict[str, Any]:
    run = option.run
    return {
        "chips": run.job.chips, "total_s": run.time.total_s, "p90_s": run.uncertain.quantile(0.9),
        "bound_s": run.bound_s, "chance": option.chance, "goodput": run.time.goodput, "cost_usd": run.cost_usd,
    }  # fmt: skip


def choice_mapping(found: Choice) -> dict[str, Any]:
    """The same as plain values."""
    return {
        "cheapest": None if found.cheapest is None else _option(found.cheapest),
        "fastest": None if found.fastest is None else _option(found.fastest),
        "options": [_option(option) for option in found.options], "left_out": list(found.refused),
        "why_none": found.why_none,
    }  # fmt: skip


def doublings_text(found: Doublings) -> str:
    """The curve and what stops it."""
    last = found.points[-1]
    stopped = last.run.job.chips > found.last_chips
    text = f"Doubling helps up to {found.last_chips:,} chips ({found.mode} scaling). "
    text += f"What stops it: {found.why}"
    lines = fold(f"{text} ({percent(last.lost_share)} of what is lost)." if stopped else f"{text}.", WIDTH)
    rows = [
        [
            f"{p.run.job.chips:,}", seconds(p.run.time.total_s), seconds(p.run.bound_s), f"{digits(p.speedup)} x",
            percent(p.efficiency), p.stops,
        ]
        for p in found.points
    ]  # fmt: skip
    header = ["chips", "expected", "bound", "speed-up", "efficiency", "most of what the doubling lost"]
    return "\n".join([*lines, "", *table(header, rows, left=(5,), width=WIDTH)]) + "\n"


def doublings_mapping(found: Doublings) -> dict[str, Any]:
    """The same as plain values."""
    return {
        "mode": found.mode, "last_chips": found.last_chips, "stops": found.why,
        "points": [
            {
                "chips": p.run.job.chips, "total_s": p.run.time.total_s, "bound_s": p.run.bound_s, "speedup": p.speedup,
                "efficiency": p.efficiency, "lost_most_to": p.stops, "lost_share": p.lost_share,
            }
            for p in found.points
        ],
    }  # fmt: skip


def needed_text(found: Needed) -> str:
    """The rate that is needed."""
    now = f"{scaled(found.rate_byte_per_s, 'B/s')} ({found.of}) give {percent(found.efficiency_now)} today"
    asked = f"{percent(found.efficiency)} on {found.chips:,} chips against {found.base_chips:,}"
    if found.most < found.efficiency:
        text = f"No {found.resource} rate gives {asked}: a thousand times as much gives {percent(found.most)}; {now}."
    else:
        text = f"{scaled(found.needed_byte_per_s, 'B/s')} of {found.resource} give {asked}; {now}."
    return "\n".join(fold(text, WIDTH)) + "\n"


def needed_mapping(found: Needed) -> dict[str, Any]:
    """The same as plain values."""
    reached = found.most >= found.efficiency
    return {
        "resource": found.resource, "of": found.of, "needed_byte_per_s": found.needed_byte_per_s if reached else None,
        "rate_byte_per_s": found.rate_byte_per_s, "efficiency": found.efficiency,
        "efficiency_now": found.efficiency_now, "most": found.most, "chips": found.chips,
        "base_chips": found.base_chips,
    }  # fmt: skip


def elasticities_text(found: Sequence[Elasticity]) -> str:
    """Those that matter, and how many do not."""
    rows = [[one.name, one.kind, f"{one.value:+.3f}"] for one in found if abs(one.value) >= 5e-4]
    lines = ["Percent of the step time for one percent more of each:", ""]
    lines += table(["", "kind", "d ln T / d ln c"], rows, left=(0, 1), width=WIDTH)
    lines += ["", *fold(f"{len(found) - len(rows)} others change it by less than 0.0005.", WIDTH, first="  ")]
    return "\n".join(lines) + "\n"


def largest_text(found: Largest, run: WholeRun, within_s: float) -> str:
    """The model and what it rests on."""
    text = (
        f"{many(found.parameters)} parameters on {many(found.tokens)} tokens: predicted loss {found.loss:.3f} nats a "
        f"token, the least that {run.job.chips:,} chips reach in {seconds(within_s)} ({found.law}'s law)."
    )
    told = (
        f"as many operations a second as {run.job.workload.name} here, failures counted; a law of other data and models"
    )
    return "\n".join([*fold(text, WIDTH), *fold(told, WIDTH, first="  ")]) + "\n"


def largest_mapping(found: Largest) -> dict[str, Any]:
    """The same as plain values."""
    return {"parameters": found.parameters, "tokens": found.tokens, "loss": found.loss, "law": found.law}
