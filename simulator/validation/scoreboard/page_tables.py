"""Tables of the scoreboard's page, each from plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from .worst import NOT_EXPLAINED

Plain = Mapping[str, Any]
Explained = Mapping[tuple[str, str, str], tuple[str, str]]


#: Columns of words, which stand to the left wherever they are.
_WORDS: Final = ("why", "MFU", "how that is known")


def table(head: Sequence[str], lines: Sequence[Sequence[object]], *, left: int = 1) -> str:
    """A table in Markdown, its first ``left`` columns and those of words to the left, the others to the right."""
    rule = ["---" if i < left or name in _WORDS else "---:" for i, name in enumerate(head)]
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


def errors_table(parts: Sequence[Plain]) -> str:
    """Errors beside those of the yardsticks."""
    head = [
        "runs", "number", "groups", "constants", "error", "mean", "median", "p90", "bias", "utilisation", "roofline",
        "skill",
    ]  # fmt: skip
    lines = [
        [
            p["name"], p["runs"], p["groups"], p["constants"],
            *(percent(p[key]) for key in ("macro", "mean", "median", "p90")), _signed(p["bias"]),
            percent(p["utilisation"]), percent(p["roofline"]), amount(p["skill"]),
        ]
        for p in parts
    ]  # fmt: skip
    return table(head, lines)


def intervals_table(parts: Sequence[Plain]) -> str:
    """Coverage, width and interval score beside those of constant utilisation."""
    head = [
        "runs", "number", "inside", "high / low", "score", "inside, conformal utilisation", "high / low", "score",
    ]  # fmt: skip
    lines = [
        [
            p["name"], p["runs"], percent(p["held"]), amount(p["width"]), amount(p["score"]),
            percent(p["conformal_held"]), amount(p["conformal_width"]), amount(p["conformal_score"]),
        ]
        for p in parts
    ]  # fmt: skip
    return table(head, lines)


def orders_table(parts: Sequence[Plain]) -> str:
    """Order and regret within sweeps."""
    head = ["sweeps of", "number", "rank", "by utilisation", "regret", "p90", "by utilisation"]
    lines = [
        [
            p["name"], p["sweeps"], amount(p["rank"]), amount(p["utilisation_rank"]), percent(p["regret"]),
            percent(p["regret_p90"]), percent(p["utilisation_regret"]),
        ]
        for p in parts
    ]  # fmt: skip
    return table(head, lines)


def scaling_table(scores: Sequence[Plain]) -> str:
    """Scaling efficiency in points beside linear scaling's."""
    head = ["curves of", "curves", "left out", "points", "error", "median", "linear scaling", "skill"]
    lines = [
        [
            "**all**" if s["name"] == "all" else s["name"], s["curves"], s["stalled"], s["points"],
            *(f"{100.0 * s[key]:.1f}" for key in ("error", "median", "linear")), amount(s["skill"]),
        ]
        for s in scores
    ]  # fmt: skip
    return table(head, lines)


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
            w["source"], w["model"], w["chip"], w["chips"],
            f"row {w['row']}" if w["row"] else f"{w['runs']} run{'s' * (w['runs'] > 1)}",
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
