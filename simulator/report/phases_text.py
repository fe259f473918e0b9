"""Validation and post-training of a plan in text and as plain values."""

from __future__ import annotations

from typing import Any

from ..iteration import Iteration, Phase, ValidationCost
from ..plan_report import PlanReport
from .quantities import digits, many, percent, seconds
from .tables import fold, table


def validation_rows(cost: ValidationCost) -> list[tuple[str, str]]:
    """Names and texts: one pass, its share of the run, all passes where the run's length is known."""
    rows = [
        ("pass", f"{seconds(cost.time_s)} over {cost.samples:,} samples, forward only; {cost.binds} takes longest"),
        ("share", f"{percent(cost.share, 2)} of the run, every {cost.every_steps:,} steps"),
    ]
    if cost.passes:
        rows.append(("all passes", f"{cost.passes:,}, {seconds(cost.total_s)}; counted in the time of the training"))
    return rows


def iteration_answer(found: Iteration) -> str:
    """The iteration in one or two sentences."""
    text = f"One iteration of {found.algorithm} takes {seconds(found.time_s)} on {found.chips:,} chips"
    text += f": {many(found.produced)} {found.unit}, {digits(found.produced_per_s)} {found.unit}/s"
    text += f", {found.steps:,} updates. {found.longest.name[:1].upper()}{found.longest.name[1:]} takes longest"
    text += f" ({found.longest.binds})." if found.longest.binds else "."
    if found.idle_share:
        idle = "learners" if found.pace == "actors" else "actors"
        text += f" The {found.pace} set the pace; the {idle} are idle for {percent(found.idle_share)}."
    return text


def phase_rows(found: Iteration) -> list[list[str]]:
    """(phase, chips, time, share of its group, what takes longest in it) of every phase."""
    return [
        [
            phase.name, f"{phase.chips:,} {phase.group}", seconds(phase.time_s),
            percent(phase.time_s / found.group_s(phase.group)) if found.group_s(phase.group) else "", phase.binds,
        ]
        for phase in found.phases
    ]  # fmt: skip


PHASE_HEADER = ["phase", "chips", "time", "share", "most of it"]


def how_texts(found: Iteration) -> list[str]:
    """How phases run, and what they take besides, a line each."""
    return [
        f"{phase.name}: {'; '.join(filter(None, (phase.how, *(f'{n} {seconds(t)}' for n, t in phase.beside))))}"
        for phase in found.phases
        if phase.how
    ]


def measured_text(found: Iteration) -> str:
    """How much of an iteration was ever checked."""
    return (
        f"{found.measured_rows} measured rows of generation or of whole iterations: they rest on the same kernels and "
        "links as steps, without a record of their own."
    )


def phase_sections(report: PlanReport, width: int) -> list[tuple[str, list[str]]]:
    """Sections of a plan in text: headings and their lines; none where nothing was asked."""
    sections: list[tuple[str, list[str]]] = []
    if report.validation is not None:
        lines = [
            line
            for name, text in validation_rows(report.validation)
            for line in fold(text, width, first=f"  {name}".ljust(16), rest=" " * 16)
        ]
        sections.append(("VALIDATION (strategy that trains)", lines))
    if report.post_training_refused:
        sections.append(("POST-TRAINING", fold(f"Nothing fits: {report.post_training_refused}", width, first="  ")))
    if report.post_training is not None:
        found = report.post_training
        lines = fold(iteration_answer(found), width, first="  ")
        lines += table(PHASE_HEADER, phase_rows(found), left=(0, 1, 4), width=width)
        for text in (*how_texts(found), *found.assumed, measured_text(found)):
            lines += fold(text, width, first="  - ", rest="    ")
        sections.append(("POST-TRAINING (one iteration)", lines))
    return sections


def phase_mapping(report: PlanReport) -> dict[str, Any]:
    """The same as plain values, units in the names; only what was asked."""
    found: dict[str, Any] = {}
    cost = report.validation
    if cost is not None:
        found["validation"] = {
            "every_steps": cost.every_steps, "samples": cost.samples, "time_s": cost.time_s, "share": cost.share,
            "passes": cost.passes, "total_s": cost.total_s, "binds": cost.binds,
        }  # fmt: skip
    if report.post_training_refused:
        found["post_training"] = {"fits": False, "refused": report.post_training_refused}
    if report.post_training is not None:
        one = report.post_training
        found["post_training"] = {
            "fits": True, "algorithm": one.algorithm, "time_s": one.time_s, "chips": one.chips, "pace": one.pace,
            "idle_share": one.idle_share, one.unit: one.produced, f"{one.unit}_per_s": one.produced_per_s,
            "sequences": one.sequences, "updates": one.steps, "longest": one.longest.name,
            "phases": [_phase(phase) for phase in one.phases], "assumed": list(one.assumed),
            "measured_rows": one.measured_rows,
        }  # fmt: skip
    return found


def _phase(phase: Phase) -> dict[str, Any]:
    return {
        "name": phase.name, "kind": phase.kind, "model": phase.model, "group": phase.group, "chips": phase.chips,
        "time_s": phase.time_s, "samples": phase.samples, "how": phase.how, "binds": phase.binds,
        "beside": [{"name": name, "time_s": time_s} for name, time_s in phase.beside],
    }  # fmt: skip
