"""``SCOREBOARD.md``: the stored scoreboard as a page."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any, Final

from ..runs import HOLDS
from .claims import WANTED_EFFICIENCY, WANTED_HELD, WANTED_HELD_PART, WANTED_TRAINING, WANTED_WIDTH
from .page_tables import (
    amount,
    conventions_table,
    coverage_table,
    errors_table,
    intervals_table,
    orders_table,
    percent,
    scaling_table,
    table,
    trainings_table,
    worse_table,
    worst_table,
)
from .page_words import CONVENTIONS, ERRORS, INTERVALS, ORDERS, SCALING, TRAININGS, WORST
from .parts import LEAST_FOR_INTERVALS
from .stored import PARTS_OF_SOURCES

Board = Mapping[str, Any]
#: Kinds of run as the page calls them.
KINDS: Final = {
    "llm": "language models", "bert": "BERT and other encoders", "cnn": "convolutional networks",
    "other": "recurrent, recommender, scientific, generative",
}  # fmt: skip
_DIMENSIONS: Final = ("kind of run", "era", "chip family", "strategy", "chips", "stack", "source")
_COMMANDS: Final = """\
python tests/readme_blocks.py RUNS.csv            # fits, holds groups out, writes README and this page
python tests/readme_blocks.py RUNS.csv --sources  # holds whole sources out besides (as long again)
python tests/readme_blocks.py                     # only writes them, from what is stored"""


def page(board: Board, explained: Mapping[tuple[str, str, str], tuple[str, str]]) -> str:
    """The page, from the stored scoreboard and the explanations of groups."""
    groups, sources = (board[hold] for hold in HOLDS)
    parts: list[str] = ["# Scoreboard", "", *_head(groups), "", "## What is wanted, and what is"]
    parts += ["", *_figures(groups, sources), "", "## Which rows", "", coverage_table(groups["coverage"])]
    parts += ["", "## Errors", "", *_wrapped(ERRORS)]
    for dimension in _DIMENSIONS:
        parts += ["", f"### By {dimension}", "", errors_table(_parts(groups, dimension))]
    parts += ["", "## Whole sources held out", "", *_sources(groups, sources)]
    parts += ["", "## 80 % intervals", "", *_wrapped(INTERVALS)]
    for dimension in _DIMENSIONS:
        found = [p for p in _parts(groups, dimension) if p["runs"] >= LEAST_FOR_INTERVALS]
        if found:
            parts += ["", f"### Intervals by {dimension}", "", intervals_table(found)]
    parts += ["", "## Which setting is faster", "", *_wrapped(ORDERS)]
    found = [p for d in _DIMENSIONS for p in _parts(groups, d, prefix=f"{d}: ") if p["sweeps"]]
    parts += ["", orders_table(found)]
    parts += ["", "## Scaling", "", *_wrapped(SCALING), "", scaling_table(groups["scaling"])]
    parts += ["", "## Whole trainings", "", *_wrapped(TRAININGS), "", trainings_table(groups["trainings"])]
    parts += [
        "",
        "## The worst",
        "",
        *_wrapped(WORST),
        "",
        "### Runs",
        "",
        worst_table(groups["worst_runs"], explained),
    ]
    parts += ["", "### Groups", "", worst_table(groups["worst_groups"], explained)]
    parts += ["", "### Groups that constant utilisation predicts better", ""]
    parts += [*_wrapped(_worse(groups)), "", worse_table(groups["worse_than_utilisation"], explained)]
    parts += ["", "## What a FLOP is", "", *_wrapped(CONVENTIONS), "", conventions_table(groups["conventions"])]
    return "\n".join(parts) + "\n"


def _parts(groups: Board, dimension: str, *, prefix: str = "") -> list[dict[str, Any]]:
    """Scores of a dimension under the names that the page calls its parts; kinds of run follow all runs."""
    first = [{**p, "name": "**all runs**"} for p in groups["parts"]["all"]] if dimension == _DIMENSIONS[0] else []
    words = KINDS if dimension == _DIMENSIONS[0] else {}
    return first + [{**p, "name": prefix + words.get(p["name"], p["name"])} for p in groups["parts"][dimension]]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 120, break_long_words=False, break_on_hyphens=False)


def _head(groups: Board) -> list[str]:
    fitted, overall = groups["fitted"], groups["parts"]["all"][0]
    scopes = ", ".join(f"{n} by {scope}" for scope, n in fitted["by_scope"].items())
    yardstick = min(overall["utilisation"], overall["roofline"])
    text = (
        f"How far off step times are that were predicted for {fitted['runs']:,} published runs, each with constants "
        f"fitted without its group (all runs of one source, model and chip). {fitted['constants']} constants "
        f"({scopes}) are fitted on these runs together. Errors are |ln(predicted / measured)|: "
        f"{percent(overall['macro'])} in the mean over {overall['groups']:,} groups, {percent(overall['median'])} in "
        f"the median over runs; the better of two yardsticks misses by {percent(yardstick)}. This page is made, not "
        "typed, from `simulator/data/scoreboard.json` and `explanations.csv` beside it:"
    )
    return [*_wrapped(text), "", "```", _COMMANDS, "```"]


def _figures(groups: Board, sources: Board | None) -> list[str]:
    """Everything that is wanted beside what the record says."""
    lines = []
    for one in [*(sources["figures"] if sources else []), *groups["figures"]]:
        wanted = f"{one['wanted']:.0%}" + (f", median {one['wanted_median']:.0%}" if one["wanted_median"] else "")
        lines.append([
            one["name"], f"{one['runs']:,}" + (f" + {one['refused']} refused" if one["refused"] else ""), one["groups"],
            wanted, percent(one["macro"]), percent(one["median"]), _verdict(one["is_reached"]),
        ])  # fmt: skip
    for one in groups["trainings"]:
        if one["name"] == "time to train":
            reached = one["macro"] <= WANTED_TRAINING
            lines.append([
                one["name"], one["runs"], one["groups"], f"{WANTED_TRAINING:.0%}", percent(one["macro"]),
                percent(one["median"]), _verdict(reached),
            ])  # fmt: skip
    for one in groups["programs"]:
        lines.append([
            f"scaling efficiency, {one['name']}", f"{one['points']} points", f"{one['curves']} curves",
            f"{100 * WANTED_EFFICIENCY:.0f} points", f"{100 * one['error']:.1f} points",
            f"{100 * one['median']:.1f} points", _verdict(one["error"] <= WANTED_EFFICIENCY),
        ])  # fmt: skip
    text = [
        "Means are over groups, with 50 % charged for every run that was refused and could have been predicted.",
        "",
    ]
    text += [table(["runs", "number", "groups", "wanted", "error", "median", ""], lines, left=1), ""]
    if sources is None:
        text += ["Figures with whole sources held out have not been made yet.", ""]
    return text + _interval_figures(groups)


def _verdict(reached: bool) -> str:
    return "reached" if reached else "missed"


def _interval_figures(groups: Board) -> list[str]:
    overall = groups["parts"]["all"][0]
    low, high = WANTED_HELD_PART
    every = [(d, p) for d in _DIMENSIONS for p in groups["parts"][d] if p["runs"] >= LEAST_FOR_INTERVALS]
    outside = [f"{d} {p['name']} {percent(p['held'])}" for d, p in every if not low <= p["held"] <= high]
    width = next((p["width"] for p in groups["parts"]["kind of run"] if p["name"] == "llm"), None)
    worse = len(groups["worse_than_utilisation"])
    reached = WANTED_HELD[0] <= overall["held"] <= WANTED_HELD[1]
    lines = [
        ["share of runs inside their 80 % interval", f"{WANTED_HELD[0]:.0%} to {WANTED_HELD[1]:.0%}",
         percent(overall["held"]), _verdict(reached)],
        [f"parts of {LEAST_FOR_INTERVALS} runs or more below, with {low:.0%} to {high:.0%} inside", f"{len(every)}",
         f"{len(every) - len(outside)}", _verdict(not outside)],
        ["groups that constant utilisation predicts better", "0", f"{worse} of {groups['groups']}",
         _verdict(not worse)],
    ]  # fmt: skip
    if width is not None:
        lines.insert(1, ["high / low of language models, median", f"{WANTED_WIDTH}", f"{width:.2f}",
                         _verdict(width <= WANTED_WIDTH)])  # fmt: skip
    text = [table(["intervals and yardsticks", "wanted", "is", ""], lines, left=1)]
    return text + (["", *_wrapped("Outside: " + "; ".join(outside) + ".")] if outside else [])


def _sources(groups: Board, sources: Board | None) -> list[str]:
    if sources is None:
        return _wrapped(
            "Not made yet: `trainyard validate runs RUNS.csv --held-out --by sources` predicts every run with "
            "constants fitted without its whole source."
        )
    text = (
        "The same runs, predicted with constants fitted without their whole source: sources are dealt into twenty "
        "folds, so that some leave together. Stacks that only one source uses then stand at their priors. The "
        "yardsticks are fitted on the same folds."
    )
    if sources["fitted"] != groups["fitted"]:
        text += (
            f" These figures were made before the last fit, with {sources['fitted']['constants']} constants on "
            f"{sources['fitted']['runs']:,} runs."
        )
    lines = []
    for dimension in PARTS_OF_SOURCES:
        by_word = {p["name"]: p for p in groups["parts"][dimension]}
        for p in sources["parts"][dimension]:
            if p["name"] in by_word:
                beside = by_word[p["name"]]
                lines.append([
                    _word(dimension, p["name"]), p["runs"], p["groups"], percent(beside["macro"]),
                    percent(p["macro"]), percent(beside["median"]), percent(p["median"]),
                    percent(beside["utilisation"]), percent(p["utilisation"]), amount(p["skill"]), percent(p["held"]),
                ])  # fmt: skip
    head = [
        "runs", "number", "groups", "error, groups out", "sources out", "median, groups out", "sources out",
        "constant utilisation, groups out", "sources out", "skill, sources out", "in 80 %, sources out",
    ]  # fmt: skip
    return [*_wrapped(text), "", table(head, lines, left=1)]


def _word(dimension: str, name: str) -> str:
    if dimension == "all":
        return "**all runs**"
    return f"{dimension}: {KINDS.get(name, name) if dimension == _DIMENSIONS[0] else name}"


def _worse(groups: Board) -> str:
    return (
        f"{len(groups['worse_than_utilisation'])} of {groups['groups']:,} groups, those that lose the most first. Of a "
        "group with few runs, one utilisation for its kind of run, chip family and precision can be right by luck."
    )
