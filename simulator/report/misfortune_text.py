"""The distribution of a step under misfortune, as text and as plain values."""

from __future__ import annotations

from typing import Any, Final

from ..events.misfortune.distribution import QUANTILES, StepDistribution
from ..events.misfortune.job import MisfortuneRun
from .quantities import seconds
from .tables import fold, table
from .text import WIDTH

_WHY: Final = {
    "all": "",
    "precise": "; ended early, the p95 is known as well as was asked",
    "interrupted": "; interrupted, of {asked:,} asked for",
    "certain": "; nothing is left to chance",
}


def misfortune_text(run: MisfortuneRun, job: str, strategy: str, seed: int) -> str:
    """The distribution with its intervals, ending in a newline."""
    steps = run.steps
    least = "at least " if run.at_least else ""
    rows = [["without misfortune", seconds(run.calm_s), "", "1.000"]]
    for name in ("median", "mean", "p95", "p99") if steps.repetitions > 1 else ("mean",):
        value = steps.figure_s(name)
        word = name if steps.repetitions > 1 else "with it, always"
        rows.append([word, seconds(value), _interval(steps, name), f"{value / run.calm_s:.3f}"])
    if run.failures.rate_per_s > 0:
        value = run.expected_committed_s
        rows.append(["mean with failures", seconds(value), "", f"{value / run.calm_s:.3f}"])
    drawn = f"{steps.simulated:,} simulated {'replicas' if steps.method == 'replicas' else 'steps'}"
    lines = [
        *fold(f"{job}: {least}{seconds(steps.figure_s('median'))} a step under misfortune (median).", WIDTH),
        *fold(strategy, WIDTH, first="  strategy   ", rest=" " * 13),
        f"  rests on   {drawn}, seed {seed}{_WHY[steps.ended].format(asked=steps.asked)}",
        "",
        *table(["step", "time", "95 % interval", "ratio"], rows, left=(0,), width=WIDTH),
    ]
    if run.at_least:
        said = (
            "Ranks that gather parameters before every block wait for each other more often than the slowest of them "
            "shows: with jitter these times are a lower bound."
        )
        lines += ["", *fold(said, WIDTH, first="  ", rest="  ")]
    return "\n".join(lines) + "\n"


def _interval(steps: StepDistribution, name: str) -> str:
    low, high = steps.intervals[name]
    if low is None and high is None:
        return ""
    return f"{'?' if low is None else seconds(low)} to {'?' if high is None else seconds(high)}"


def misfortune_mapping(run: MisfortuneRun, job: str, strategy: str, seed: int) -> dict[str, Any]:
    """The same values, for JSON; a bound that so few repetitions do not give is null."""
    steps = run.steps
    figures = {name: {"step_s": steps.figure_s(name), "interval_s": list(steps.intervals[name])} for name in _names()}
    return {
        "schema": 1,
        "kind": "misfortune",
        "fits": True,
        "job": job,
        "strategy": strategy,
        "seed": seed,
        "without_misfortune_s": run.calm_s,
        **figures,
        "repetitions_asked": steps.asked,
        "simulated": steps.simulated,
        "method": steps.method,
        "ended": steps.ended,
        "lower_bound": run.at_least,
        "failures_per_s": run.failures.rate_per_s,
        "mean_with_failures_s": run.expected_committed_s,
        "p99_with_failures_s": run.committed_p99_s,
    }


def _names() -> tuple[str, ...]:
    return ("mean", *QUANTILES)
