"""The timeline of records as text, as plain values, as lines of a CSV and as a block of a page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from ..records import SYSTEMS, Timeline, TimelineRow, Waterfall
from .quantities import digits, seconds
from .tables import fold, table

WIDTH: Final = 100
COLUMNS: Final = (
    "id", "when", "chips", "measured_s", "predicted_s", "low_s", "high_s", "anchored_s", "measured_epochs",
    "predicted_epochs", "error", "rate_error", "length_error", "clock_error", "in_sample", "held_out_rate_error",
    "length", "source", "locator", "marks",
)  # fmt: skip
_CLOCK: Final = (
    "predicted: steps of the whole length, priced from chips, wires, software and batch; no start-up, evaluation, "
    "checkpoint or waiting for input. measured: what each source counted."
)


def _signed(log_error: float) -> str:
    """An error as a share of the measured value: -0.2 -> "-18 %"."""
    return f"{100.0 * math.expm1(log_error):+.0f} %"


def _seen(row: TimelineRow) -> str:
    if row.held_out_error is not None:
        return f"in sample; held out {_signed(row.held_out_error)}"
    return "in sample" if row.in_sample else "no"


def _time(row: TimelineRow) -> str:
    if row.high_s > 1.001 * row.low_s:
        return f"{seconds(row.predicted_s)} ({seconds(row.low_s)} to {seconds(row.high_s)})"
    return seconds(row.predicted_s)


def timeline_text(found: Timeline, changes: Waterfall) -> str:
    """Two tables, what explains the misses, and how to read them; ends in a newline."""
    cells = [
        [
            row.run.when, row.run.group, f"{row.run.chips:,}", seconds(row.measured_s), _time(row),
            _signed(row.error), "-" if row.anchored_s is None or row.is_anchor else _signed(row.anchored_error),
            _signed(row.rate_error), _signed(row.length_error) if row.run.target else row.run.length, _seen(row),
        ]
        for row in found.rows
    ]  # fmt: skip
    head = ["when", "who", "chips", "measured", "predicted", "error", "anchored", "rate", "length", "rate seen"]
    lines = ["records of training ImageNet, end to end", *fold(_CLOCK, WIDTH), ""]
    lines += [*table(head, cells, left=(1, 9), width=140, indent=""), "", *_verdict(found), ""]
    lines += [
        *fold(
            "error, rate, length: of the prediction, above 0 where it is too long; rate and length multiply to the "
            "error but for what the clock counted beside steps. anchored: with one printed step of the same software "
            "on the same or a like chip known, so that only scaling is predicted. rate seen: whether a constant was "
            "fitted on a step of that run; held out: the rate's error with constants fitted without it. length: "
            "epochs stated by the source, assumed, or derived from time x rate; of TPU v3 those to 75.9 %.", WIDTH,
        ),
        "", "why the misses", *_reasons(found), "", *waterfall_lines(changes),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _verdict(found: Timeline) -> list[str]:
    return fold(
        f"median over {len(SYSTEMS)} systems of 2015 to 2018: {100 * found.median_error():.1f} % as |ln(predicted / "
        f"measured)|; {100 * found.median_error(anchored=True):.1f} % with one printed step of each machine where "
        "there is one. TPU v3: "
        f"{100 * found.group_errors()['TPU v3']:.1f} % over six sizes.", WIDTH,
    )  # fmt: skip


def _reasons(found: Timeline) -> list[str]:
    lines: list[str] = []
    for row in found.rows:
        if row.run.explains:
            lines += fold(
                f"{row.run.group}, {row.run.chips:,} chips: {row.run.explains}", WIDTH, first="  ", rest="    "
            )
    return lines


def waterfall_lines(changes: Waterfall) -> list[str]:
    """Which change made training how many times as fast, one after the other."""
    start = changes.changes[0].before_s
    cells = [["measured over predicted, first record", f"{changes.start_factor:.2f}x", seconds(start)]]
    cells += [[change.name, f"{change.factor:.2f}x", seconds(change.after_s)] for change in changes.changes]
    cells += [["predicted over measured, last record", f"{changes.end_factor:.2f}x", seconds(changes.last_s)]]
    return [
        f"which change bought what: {seconds(changes.first_s)} to {seconds(changes.last_s)}, "
        f"{digits(changes.factor)} times as fast",
        *table(["change, one at a time in this order", "faster", "then takes"], cells, left=(0,), width=WIDTH),
        *fold("The factors multiply to the whole. Another order gives other factors: batch and chips help one another.",
              WIDTH),
    ]  # fmt: skip


def timeline_values(row: TimelineRow) -> dict[str, Any]:
    """One row, plain values."""
    return {
        "id": row.run.id, "when": row.run.when, "chips": row.run.chips, "measured_s": row.measured_s,
        "predicted_s": row.predicted_s, "low_s": row.low_s, "high_s": row.high_s, "anchored_s": row.anchored_s,
        "measured_epochs": row.run.epochs, "predicted_epochs": row.predicted_epochs, "error": row.error,
        "rate_error": row.rate_error, "length_error": row.length_error, "clock_error": row.clock_error,
        "in_sample": row.in_sample, "held_out_rate_error": row.held_out_error, "length": row.run.length,
        "source": row.run.source, "locator": row.run.locator, "marks": row.run.marks,
    }  # fmt: skip


def timeline_mapping(found: Timeline, changes: Waterfall) -> Mapping[str, Any]:
    """All of it, for JSON."""
    return {
        "schema": 1, "kind": "timeline", "clock": _CLOCK, "median_error": found.median_error(),
        "median_anchored_error": found.median_error(anchored=True), "group_errors": dict(found.group_errors()),
        "rows": [timeline_values(row) for row in found.rows],
        "waterfall": {
            "first_s": changes.first_s, "last_s": changes.last_s, "start_factor": changes.start_factor,
            "end_factor": changes.end_factor,
            "changes": [
                {"name": c.name, "before_s": c.before_s, "after_s": c.after_s, "factor": c.factor}
                for c in changes.changes
            ],
        },
    }  # fmt: skip


def timeline_block(found: Timeline) -> str:
    """A table in Markdown and the verdict below it."""
    lines = [
        "| | | measured | predicted | error | with one step known | length |", "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in found.rows:
        anchored = "" if row.anchored_s is None or row.is_anchor else _signed(row.anchored_error)
        seen = ", rate in sample" if row.in_sample else ""
        length = _signed(row.length_error) if row.run.target else row.run.length
        lines.append(
            f"| {row.run.when} | {row.run.what}{seen} | {seconds(row.measured_s)} | {_time(row)} | "
            f"{_signed(row.error)} | {anchored} | {length} |"
        )
    return "\n".join([*lines, "", " ".join(_verdict(found))]) + "\n"
