"""Tables of the scoreboard's page, each from plain values."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from .worst import NOT_EXPLAINED

Plain = Mapping[str, Any]
Explained = Mapping[tuple[str, str, str], tuple[str, str]]


def table(head: Sequence[str], lines: Sequence[Sequence[object]], *, left: int = 1) -> str:
    """A table in Markdown, its first ``left`` columns to the left and the others to the right."""
    rule = ["---"] * left + ["---:"] * (len(head) - left)
    rows = [head, rule, *([_cell(value) for value in line] for line in lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(value: object) -> str:
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return text.replace("|", "\\|")


def percent(value: float | None) -> str:
    """A share in percent; nothing for none."""
    return "" if value is None else f"{100.0 * value:.1f}%"


def amount(value: float | None) -> str:
    """A number with two digits behind the point; nothing for none."""
    return "" if value is None else f"{value:.2f}"


def _signed(value: float) -> str:
    return f"{100.0 * value:+.1f}%"


def _named(part: Plain, names: Mapping[str, str]) -> str:
    return "**all runs**" if part["name"] == "all" else names.get(part["name"], part["name"])


def errors_table(parts: Sequence[Plain], names: Mapping[str, str]) -> str:
    """Errors beside those of the yardsticks."""
    head = [
        "runs", "number", "groups", "constants", "error", "mean", "median", "p90", "bias", "utilisation", "roofline",
        "skill",
    ]  # fmt: skip
    lines = [
        [
            _named(p, names), p["runs"], p["groups"], p["constants"],
            *(percent(p[key]) for key in ("macro", "mean", "median", "p90")), _signed(p["bias"]),
            percent(p["utilisation"]), percent(p["roofline"]), amount(p["skill"]),
        ]
        for p in parts
    ]  # fmt: skip
    return table(head, lines)


def intervals_table(parts: Sequence[Plain], names: Mapping[str, str]) -> str:
    """Coverage, width and interval score beside those of constant utilisation."""
    head = [
        "runs", "number", "inside", "high / low", "score", "inside, conformal utilisation", "high / low", "score",
    ]  # fmt: skip
    lines = [
        [
            _named(p, names), p["runs"], percent(p["held"]), amount(p["width"]), amount(p["score"]),
            percent(p["conformal_held"]), amount(p["conformal_width"]), amount(p["conformal_score"]),
        ]
        for p in parts
    ]  # fmt: skip
    return table(head, lines)


def orders_table(parts: Sequence[Plain], names: Mapping[str, str]) -> str:
    """Order and regret within sweeps."""
    head = ["sweeps of", "number", "rank", "by utilisation", "regret", "p90", "by utilisation"]
    lines = [
        [
            _named(p, names), p["sweeps"], amount(p["rank"]), amount(p["utilisation_rank"]), percent(p["regret"]),
            percent(p["regret_p90"]), percent(p["utilisation_regret"]),
        ]
        for p in parts
    ]  # fmt: skip
    return table(head, lines)


def scaling_table(scores: Sequence[Plain]) -> str:
    """Scaling efficiency in points beside linear scaling's."""
    head = ["curves of", "curves", "points", "error", "median", "linear scaling", "skill"]
    lines = [
        [
            "**all**" if s["name"] == "all" else s["name"], s["curves"], s["points"],
            *(f"{100.0 * s[key]:.1f}" for key in ("error", "median", "linear")), amount(s["skill"]),
        ]
        for s in scores
    ]  # fmt: skip
    return table(head, lines)


def named_program(scores: Sequence[Plain], pattern: str) -> tuple[float, float, int, int] | None:
    """Mean error over the curves of the sources that a pattern names, the largest median of them, points, curves."""
    found = [s for s in scores if s["name"] != "all" and re.search(pattern, s["name"])]
    curves = sum(s["curves"] for s in found)
    if not curves:
        return None
    error = math.fsum(s["curves"] * s["error"] for s in found) / curves
    return error, max(s["median"] for s in found), sum(s["points"] for s in found), curves


def trainings_table(trainings: Sequence[Plain]) -> str:
    """Errors of whole trainings."""
    head = ["what", "rows", "groups", "error", "mean", "median", "p90", "bias", "in the 80 % interval", "high / low"]
    lines = [
        [
            g["name"], g["runs"], g["groups"], *(percent(g[key]) for key in ("macro", "mean", "median", "p90")),
            _signed(g["bias"]), percent(g["held"]), amount(g["width"]),
        ]
        for g in trainings
    ]  # fmt: skip
    return table(head, lines)


#: How a mechanism is named before its sentence.
_KNOWN: Final = {"known": "Known: ", "suspected": "Suspected: ", "unknown": "Unknown: "}


def _explained(one: Plain, explained: Explained) -> str:
    known, sentence = explained.get((one["source"], one["model"], one["chip"]), ("", NOT_EXPLAINED))
    return _KNOWN.get(known, "") + sentence


def worst_table(worst: Sequence[Plain], explained: Explained) -> str:
    """Runs or groups that are furthest off, with what is known of why."""
    head = ["source", "model", "chip", "chips", "row or runs", "error", "ratio", "why"]
    rows = [
        [
            w["source"], w["model"], w["chip"], w["chips"], f"row {w['row']}" if w["row"] else f"{w['runs']} runs",
            percent(w["size"]), amount(math.exp(w["error"])), _explained(w, explained),
        ]
        for w in worst
    ]  # fmt: skip
    return table(head, rows, left=4)


def worse_table(worse: Sequence[Plain], explained: Explained) -> str:
    """Groups whose yardstick is better."""
    head = ["source", "model", "chip", "runs", "error", "utilisation", "ratio", "why"]
    rows = [
        [
            w["source"], w["model"], w["chip"], w["runs"], percent(w["size"]), percent(w["utilisation"]),
            amount(math.exp(w["error"])),
            _explained(w, explained) if (w["source"], w["model"], w["chip"]) in explained else "",
        ]
        for w in worse
    ]  # fmt: skip
    return table(head, rows, left=3)


def coverage_table(coverage: Plain) -> str:
    """Rows by what became of them, and refused rows by reason."""
    lines: list[list[object]] = [
        ["**all**", coverage["rows"]],
        ["step times and rates, scored: one row of every run", coverage["scored"]],
        ["other metrics of the same runs", coverage["not_scored"]],
        ["flagged: they contradict themselves or their source says so", coverage["flagged"]],
        ["memory of a chip", coverage["memory"]],
        ["whole trainings: times to a target, epochs, speed-ups", coverage["trainings"]],
        *([f"refused: {one['reason']}", one["rows"]] for one in coverage["refused"]),
    ]
    return table(["rows", "number"], lines)


def conventions_table(conventions: Sequence[Plain]) -> str:
    """What sources count, and how that is known."""
    lines = [
        [
            ", ".join(c["sources"][:6]) + (f" and {len(c['sources']) - 6} more" if len(c["sources"]) > 6 else ""),
            c["tflops"], c["mfu"], c["why"], c["rows"],
        ]
        for c in conventions
    ]  # fmt: skip
    return table(["sources", "TFLOP/s", "MFU", "how that is known", "rows"], lines, left=4)
