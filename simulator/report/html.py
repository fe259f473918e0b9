"""A plan report as one page to mail: the same bytes for the same report."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Final

from ..plan_report import PlanReport
from .figures import Figure, figures
from .page import CLOSING, figure_place, heading, listing, page, pairs, table
from .phases_text import (
    PHASE_HEADER,
    how_texts,
    iteration_answer,
    measured_text,
    phase_rows,
    validation_rows,
)
from .quantities import capacity, digits, many, percent, seconds
from .text import (
    answer,
    breakdown_rows,
    in_common,
    known_error_text,
    memory_headroom,
    memory_rows,
    outcome_rows,
    peak_text,
    sentence,
)

_CAPTIONS: Final = {
    "breakdown": "Parts of one step, as the stage that sets the pace sees them. Strategies are numbered as above.",
    "memory": "Memory of the fullest chip by purpose, against what the chip has.",
    "scaling": "The best strategy at every number of chips, the same global batch throughout. Left: speed-up and the "
    "linear line. Right: what is kept of it.",
    "roofline": "Layers of one micro-batch, forward and backward: work per byte moved, and the rate that is reached.",
}


def plan_html(report: PlanReport) -> str:
    """The whole page."""
    drawn = figures(report)
    title = f"{report.model} on {report.chips:,} chips of {report.system}"
    return page(title, "\n".join(_sections(report, drawn)), drawn)


def _sections(report: PlanReport, drawn: dict[str, Figure]) -> Iterator[str]:
    yield f'<header><p class="kind">Trainyard plan</p>\n<h1>{escape(answer(report))}</h1></header>'
    yield from (f'<p class="warning">{escape(sentence(warning))}.</p>' for warning in report.warnings)
    if report.ranked:
        yield from _answered(report, drawn)
    if report.rejected:
        yield heading("What was rejected")
        rows = [
            [
                f"{group.count:,}",
                group.limit,
                "; ".join(filter(None, (group.example.words() if group.example else "", group.by))),
            ]
            for group in report.rejected
        ]
        yield table(["count", "first limit broken", "nearest, and by how much"], rows, left=(1, 2))
    yield from _basis(report)


def _answered(report: PlanReport, drawn: dict[str, Figure]) -> Iterator[str]:
    best = report.ranked[0]
    yield pairs(
        [("best strategy", best.parallelism.words()), *(outcome_rows(report, best.outcome) if best.outcome else [])]
    )
    yield heading("Strategies")
    yield f"<p class='note'>The best {len(report.ranked)} of {report.fitting:,} that fit, of {report.searched:,}.</p>"
    words, common = in_common([plan.parallelism.words() for plan in report.ranked])
    rows = [
        [
            str(place), seconds(plan.step.total_s), _interval(plan.low_s, plan.high_s), digits(plan.samples_per_s, 4),
            percent(plan.mfu), percent(plan.hfu), capacity(plan.memory.total_byte), own,
        ]
        for place, (plan, own) in enumerate(zip(report.ranked, words, strict=True), start=1)
    ]  # fmt: skip
    yield table(["", "step", "80 % interval", "samples/s", "MFU", "HFU", "memory", "strategy"], rows, left=(7,))
    yield f"<p class='note'>All of them: {escape(common)}.</p>" if common else ""
    yield heading("Where a step's time goes")
    yield figure_place("breakdown", drawn, _CAPTIONS["breakdown"])
    yield table(["part", "time", "share"], [list(row) for row in breakdown_rows(best)], left=(0,), total=True)
    yield f"<p>{escape(sentence(report.binds))}.</p>" if report.binds else ""
    if report.gains:
        rows = [
            [
                f"2x {g.resource}",
                seconds(g.step_s),
                f"{g.speedup:.2f}x",
                g.parallelism.words() if g.parallelism else g.note,
            ]
            for g in report.gains
        ]
        yield "<p>What twice as much of one thing would do:</p>"
        yield table(["with", "step", "faster", "best strategy then"], rows, left=(0, 3))
    yield from _phases(report)
    yield heading("Memory")
    yield figure_place("memory", drawn, _CAPTIONS["memory"])
    rows = [list(row) for row in memory_rows(best)]
    rows[-1][0] = f"total ({memory_headroom(best)})"
    yield table(["purpose", "memory", "of capacity"], rows, left=(0,), total=True)
    if "scaling" in drawn:
        yield heading("Scaling")
        yield figure_place("scaling", drawn, _CAPTIONS["scaling"])
        rows = [
            [f"{p['chips']:,.0f}", seconds(p["step_s"]), f"{p['speedup']:.2f}x", percent(p["efficiency"])]
            for p in report.scaling
        ]
        yield table(["chips", "step", "speed-up", "efficiency"], rows, left=())
    yield heading("Utilisation")
    if "roofline" in drawn:
        yield figure_place("roofline", drawn, _CAPTIONS["roofline"])
    yield pairs(
        [
            (
                "MFU",
                f"{percent(best.mfu)} of {peak_text(report)}",
            ),
            ("MFU, full attention", percent(best.mfu_full_attention)),
            ("HFU", f"{percent(best.hfu)}, recomputation counted"),
            ("convention", report.mfu_convention),
        ]
    )


def _phases(report: PlanReport) -> Iterator[str]:
    if report.validation is not None:
        yield heading("Validation")
        yield pairs(validation_rows(report.validation))
    if report.post_training_refused:
        yield heading("Post-training")
        yield f'<p class="warning">Nothing fits: {escape(report.post_training_refused)}</p>'
    if report.post_training is not None:
        found = report.post_training
        yield heading("Post-training")
        yield f"<p>{escape(iteration_answer(found))}</p>"
        yield table(PHASE_HEADER, phase_rows(found), left=(0, 1, 4))
        yield listing([*how_texts(found), *found.assumed, measured_text(found)])


def _basis(report: PlanReport) -> Iterator[str]:
    yield heading("What this rests on")
    yield pairs(
        [
            ("model", f"{report.model}, {many(report.parameters)} parameters"),
            ("system", f"{report.system}, {report.chips:,} x {report.chip}"),
            ("software stack", f"{report.stack} ({report.stack_name})"),
            ("numbers", f"{report.recipe}; optimizer {report.optimizer}"),
            ("constants", report.calibration),
            ("known error", known_error_text(report.known_error)),
        ]
    )
    for name, texts in (("Defaults used", report.defaults), ("Assumed", report.assumptions)):
        if texts:
            yield heading(name)
            yield listing(texts)
    if report.sources:
        yield heading("Sources")
        rows = [
            [line.quantity, line.printed, ", ".join(filter(None, (line.source, line.locator))), line.kind]
            for line in report.sources
        ]
        yield table(["quantity", "as printed", "where", "kind"], rows, left=(0, 1, 2, 3))
    yield CLOSING


def _interval(low_s: float | None, high_s: float | None) -> str:
    return "" if low_s is None or high_s is None else f"{seconds(low_s)} to {seconds(high_s)}"
