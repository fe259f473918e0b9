"""``SCOREBOARD.md``: the stored scoreboard as a page."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ..runs import HOLDS
from .claims import PROGRAMS, WANTED_EFFICIENCY, WANTED_HELD, WANTED_HELD_PART, WANTED_TRAINING, WANTED_WIDTH
from .page_tables import (
    amount,
    conventions_table,
    coverage_table,
    errors_table,
    intervals_table,
    named_program,
    orders_table,
    percent,
    scaling_table,
    table,
    trainings_table,
    worse_table,
    worst_table,
)
from .parts import LEAST_FOR_INTERVALS

Board = Mapping[str, Any]
#: Kinds of run as the page calls them.
KINDS: Final = {
    "llm": "language models", "bert": "BERT and other encoders", "cnn": "convolutional networks",
    "other": "recurrent, recommender, scientific, generative",
}  # fmt: skip
_DIMENSIONS: Final = ("kind of run", "era", "chip family", "strategy", "chips", "stack", "source")
_COMMANDS: Final = """\
python tests/readme_blocks.py RUNS.csv            # fits, holds groups out, stores their scoreboard, writes README and this page
python tests/readme_blocks.py RUNS.csv --sources  # and holds sources out (as long again)"""


def page(board: Board, explained: Mapping[tuple[str, str, str], tuple[str, str]]) -> str:
    """The page, from the stored scoreboard and the explanations of groups."""
    groups, sources = (board[hold] for hold in HOLDS)
    parts: list[str] = ["# Scoreboard", "", *_head(groups), "", "## What is wanted, and what is"]
    parts += ["", *_figures(groups, sources), "", "## Which rows", "", coverage_table(groups["coverage"])]
    parts += ["", "## Errors", "", *_wrapped(_ERRORS)]
    for dimension in _DIMENSIONS:
        parts += ["", f"### By {dimension}", "", errors_table(_everything(groups, dimension), KINDS)]
    parts += ["", "## Whole sources held out", "", *_sources(groups, sources)]
    parts += ["", "## 80 % intervals", "", *_wrapped(_INTERVALS)]
    for dimension in _DIMENSIONS:
        found = [p for p in _everything(groups, dimension) if p["runs"] >= LEAST_FOR_INTERVALS]
        if found:
            parts += ["", f"### Intervals by {dimension}", "", intervals_table(found, KINDS)]
    parts += ["", "## Which setting is faster", "", *_wrapped(_ORDERS)]
    found = [p for d in ("all", *_DIMENSIONS) for p in groups["parts"][d] if p["sweeps"]]
    parts += ["", orders_table(found, KINDS)]
    parts += ["", "## Scaling", "", *_wrapped(_SCALING), "", scaling_table(groups["scaling"])]
    parts += ["", "## Whole trainings", "", *_wrapped(_TRAININGS), "", trainings_table(groups["trainings"])]
    parts += ["", "## The worst", "", *_wrapped(_WORST), "", "### Runs", "", worst_table(groups["worst_runs"], explained)]
    parts += ["", "### Groups", "", worst_table(groups["worst_groups"], explained)]
    parts += ["", "### Groups that constant utilisation predicts better", ""]
    parts += [*_wrapped(_worse(groups)), "", worse_table(groups["worse_than_utilisation"], explained)]
    parts += ["", "## What a FLOP is", "", *_wrapped(_CONVENTIONS), "", conventions_table(groups["conventions"])]
    return "\n".join(parts) + "\n"


def _everything(groups: Board, dimension: str) -> Sequence[Board]:
    return [*groups["parts"]["all"], *groups["parts"][dimension]] if dimension == _DIMENSIONS[0] else (
        groups["parts"][dimension]
    )  # fmt: skip


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 120, break_long_words=False, break_on_hyphens=False)


def _head(groups: Board) -> list[str]:
    fitted, overall = groups["fitted"], groups["parts"]["all"][0]
    scopes = ", ".join(f"{n} by {scope}" for scope, n in fitted["by_scope"].items())
    text = (
        f"How far off step times are that were predicted for {fitted['runs']:,} published runs, each with constants fitted "
        f"without its group (all runs of one source, model and chip). {fitted['constants']} constants ({scopes}) are "
        f"fitted on these runs together. Errors are |ln(predicted / measured)|: {percent(overall['macro'])} in the mean "
        f"over {overall['groups']:,} groups, {percent(overall['median'])} in the median over runs; the better of two "
        f"yardsticks misses by {percent(min(overall['utilisation'], overall['roofline']))}. This page is made, not "
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
    for name, pattern in PROGRAMS.items():
        found = named_program(groups["scaling"], pattern)
        if found is not None:
            error, median, points, curves = found
            lines.append([
                f"scaling efficiency, {name}", f"{points} points", f"{curves} curves",
                f"{100 * WANTED_EFFICIENCY:.0f} points", f"{100 * error:.1f} points", f"{100 * median:.1f} points",
                _verdict(error <= WANTED_EFFICIENCY),
            ])  # fmt: skip
    text = ["Means are over groups, with 50 % charged for every run that was refused and could have been predicted.", ""]
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
            "Not made yet: `trainyard validate runs RUNS.csv --held-out --by sources` predicts every run with constants "
            "fitted without its whole source."
        )
    text = (
        "The same runs, predicted with constants fitted without their whole source: sources are dealt into twenty folds, "
        "so that some leave together. Stacks that only one source uses then stand at their priors. The yardsticks are "
        "fitted on the same folds."
    )
    if sources["fitted"] != groups["fitted"]:
        text += (
            f" These figures were made before the last fit, with {sources['fitted']['constants']} constants on "
            f"{sources['fitted']['runs']:,} runs."
        )
    lines = []
    for dimension in ("all", "kind of run", "era", "chip family", "strategy"):
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
    return "**all runs**" if dimension == "all" else KINDS.get(name, name)


def _worse(groups: Board) -> str:
    return (
        f"{len(groups['worse_than_utilisation'])} of {groups['groups']:,} groups, those that lose the most first. Of a "
        "group with few runs, one utilisation for its kind of run, chip family and precision can be right by luck."
    )


_ERRORS: Final = (
    "*error* is the mean over groups, *mean*, *median* and *p90* (what nine of ten do not exceed) are over runs; *bias* is "
    "the mean of ln(predicted / measured) of step times, above 0 where the prediction is too slow. *utilisation* is the "
    "error of one utilisation of the peak for each kind of run, chip family and precision, *roofline* that of one "
    "efficiency of the bare roofline (arithmetic or memory of each operation, whichever takes longer) for the same, both "
    "fitted on the same folds; *skill* is 1 - error / the smaller of the two. *constants* is how many of the fitted "
    "constants touch any of the runs. A run that is cut in several ways counts under each."
)
_INTERVALS: Final = (
    "Made from the errors of the other folds alone, so that no run widens or narrows its own. *score* is Winkler's interval "
    "score of the logarithm (width, and ten times the miss where the run lies outside; the smaller the better), beside "
    "that of constant utilisation with a conformal interval from the same folds. Parts of 30 runs or more."
)
_ORDERS: Final = (
    "Sweeps of four settings or more of one source, model, chip, number of chips and software, which differ in layout or "
    "batch; compared is the time of a sample. *rank* is the mean correlation of ranks, *regret* how much slower than the "
    "best measured the setting is that we would choose."
)
_SCALING: Final = (
    "Runs that are alike but for the number of replicas, efficiency from the smallest number of chips of each curve. "
    "*error* is the mean over curves of |predicted - measured| efficiency, in points of a hundred; *linear scaling* "
    "predicts 100."
)
_TRAININGS: Final = (
    "Times to a target, epochs and speed-ups, from held-out rates and from how long other measured runs of a recipe train."
)
_WORST: Final = (
    "Of every group at most one run; *ratio* is predicted over measured step time (of a group the geometric mean). Sentences "
    "are kept in `simulator/data/explanations.csv`, by source, model and chip."
)
_CONVENTIONS: Final = (
    "Published TFLOP/s and utilisations count different FLOPs. A prediction is a step time; it becomes a rate by what its "
    "source counts: *model* 3 forward passes, attention whole; *causal* the same with causal attention halved; *hardware* "
    "4 forward passes of blocks; *executed* hardware where it recomputes in full, else model."
)
