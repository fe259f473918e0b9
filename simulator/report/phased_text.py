"""A run whose batch and image size change, phase by phase, as text and as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..outcome.convergence.phases import Phase, constant_batch, total_s, total_samples, total_steps
from ..plan_report import Outcome, PlanReport
from ..query import PlanQuery
from .quantities import many, money, seconds
from .tables import fold, table

WIDTH = 100


def outcome_of(report: PlanReport) -> Outcome:
    """What a phase that fits takes."""
    outcome = report.ranked[0].outcome
    assert outcome is not None, "a phase has a length"
    return outcome


def phases_of(queries: Sequence[PlanQuery], reports: Sequence[PlanReport]) -> tuple[Phase, ...]:
    """The phases that fit, in samples."""
    return tuple(
        Phase(samples=outcome_of(report).samples, batch=query.global_batch, image_size=query.image_size)
        for query, report in zip(queries, reports, strict=True)
        if report.ranked
    )


def phased_mapping(queries: Sequence[PlanQuery], reports: Sequence[PlanReport]) -> dict[str, Any]:
    """Every phase and their sums, for JSON; sums are None where a phase does not fit."""
    listed = []
    for query, report in zip(queries, reports, strict=True):
        best = report.ranked[0] if report.ranked else None
        outcome = outcome_of(report) if best else None
        listed.append(
            {
                "batch": query.global_batch, "image_size": query.image_size or None, "fits": best is not None,
                "samples": outcome.samples if outcome else None, "steps": outcome.steps if outcome else None,
                "step_s": best.step.total_s if best else None, "time_s": outcome.time_s if outcome else None,
                "cost_usd": outcome.cost_usd if outcome else None,
            }
        )  # fmt: skip
    fits = all(report.ranked for report in reports)
    phases = phases_of(queries, reports)
    prices = [outcome_of(report).cost_usd for report in reports] if fits else []
    known = [price for price in prices if price is not None]
    return {
        "schema": 1, "kind": "phased_plan", "phases": listed,
        "samples": total_samples(phases) if fits else None, "steps": total_steps(phases) if fits else None,
        "time_s": total_s(phases, [report.ranked[0].step.total_s for report in reports]) if fits else None,
        "cost_usd": sum(known) if fits and len(known) == len(prices) else None,
        "constant_batch": constant_batch(phases) if fits else None,
    }  # fmt: skip


def phased_text(queries: Sequence[PlanQuery], reports: Sequence[PlanReport]) -> str:
    """Phases as a table with their sum, ending in a newline."""
    whole = phased_mapping(queries, reports)
    cells = []
    for i, (phase, report) in enumerate(zip(whole["phases"], reports, strict=True), start=1):
        size = f"{phase['image_size']}" if phase["image_size"] else "own"
        start = [f"{i}", f"{phase['batch']:,}", size]
        if not phase["fits"]:
            cells.append([*start, "-", "-", "-", "-", "-", f"nothing fits. {report.nearest_fit}".rstrip()])
            continue
        cost = "unknown" if phase["cost_usd"] is None else money(phase["cost_usd"])
        words = report.ranked[0].parallelism.words()
        cells.append(
            [
                *start, many(phase["samples"]), f"{phase['steps']:,}", seconds(phase["step_s"]),
                seconds(phase["time_s"]), cost, words,
            ]
        )  # fmt: skip
    header = ["phase", "batch", "image", "samples", "steps", "step", "time", "money", "strategy"]
    first = reports[0]
    lines = [
        *fold(f"{first.model} on {first.chips:,} chips of {first.system}, in {len(reports)} phases", WIDTH), "",
        *table(header, cells, left=(8,), width=WIDTH, indent=""),
    ]  # fmt: skip
    if whole["time_s"] is not None:
        cost = "" if whole["cost_usd"] is None else f", {money(whole['cost_usd'])}"
        lines += fold(
            f"All phases: {seconds(whole['time_s'])}, {many(whole['samples'])} samples in {whole['steps']:,} steps, as "
            f"many as at a constant batch of {whole['constant_batch']:,.0f}{cost}. Not counted: what is paid between "
            "phases, start-up, evaluation.", WIDTH,
        )  # fmt: skip
    return "\n".join([*lines, "", "The longest phase:", ""]) + "\n"
