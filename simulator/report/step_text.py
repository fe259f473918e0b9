"""One simulated step as text and as plain values: the two engines side by side."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..one_step import SimulatedStep
from ..step_run import RanStep
from ..stepspec import PARTS, PICOSECONDS_PER_SECOND, StepTime
from .quantities import apportion, seconds
from .tables import fold, table
from .text import PART_WORDS, WIDTH


def step_text(step: SimulatedStep) -> str:
    """Both engines' parts of the step, ending in a newline."""
    analytic, events, spec = _found(step)
    lines = [
        *fold(f"{step.job}: {seconds(events.total_s)} a step by events.", WIDTH),
        *fold(step.strategy, WIDTH, first="  strategy   ", rest=" " * 13),
        *fold(f"{step.stack}; constants {step.calibration}", WIDTH, first="  stack      ", rest=" " * 13),
        f"  pipeline   {spec['stages']} stages, {spec['micro_batches']} micro-batches, schedule {spec['schedule']}",
        "",
    ]
    parts = [part for part in PARTS if analytic.part_s(part) > 0 or events.part_s(part) > 0]
    shares = {t.engine: apportion([t.part_s(part) for part in parts], 1000) for t in (analytic, events)}
    rows = [
        [
            PART_WORDS[part], seconds(analytic.part_s(part)), f"{shares[analytic.engine][i] / 10:.1f} %",
            seconds(events.part_s(part)), f"{shares[events.engine][i] / 10:.1f} %",
        ]
        for i, part in enumerate(parts)
    ]  # fmt: skip
    rows.append(["total", seconds(analytic.total_s), "100.0 %", seconds(events.total_s), "100.0 %"])
    lines += table(["part", "closed form", "share", "events", "share"], rows, left=(0,), width=WIDTH)
    lines += ["", f"  events / closed form = {_ratio(analytic, events):.4f}"]
    if step.bound is not None and step.around is not None and step.around.contention is not None:
        bound = f"{seconds(step.bound.total_s)} where nothing shares cards, wires and cores"
        lines += fold(bound, WIDTH, first="  bound      ", rest=" " * 13)
    if step.around is not None and step.around.roles is not None:
        roles = step.around.roles
        lines.append(f"  followed   {len(roles.roles):,} of {roles.grid.ranks:,} ranks, one for all that are alike")
        slow = [f"rank {role.first_rank} ({role.compute:g})" for role in roles.roles if role.compute != 1.0]
        if slow:
            lines += fold(", ".join(slow[:8]), WIDTH, first="  slow chips ", rest=" " * 13)
    return "\n".join(lines) + "\n"


def nothing_fits_text(step: SimulatedStep) -> str:
    """Why there is nothing to simulate."""
    text = f"Nothing fits: no strategy trains {step.job} ({step.searched:,} searched). {step.nearest_fit}"
    return text.rstrip() + "\n"


def step_mapping(step: SimulatedStep) -> dict[str, Any]:
    """The same values, for JSON."""
    analytic, events, spec = _found(step)
    return {
        "schema": 1,
        "kind": "simulate",
        "fits": True,
        "job": step.job,
        "stack": step.stack,
        "calibration": step.calibration,
        "strategy": asdict(step.parallelism) if step.parallelism else None,
        **spec,
        "bound": _times(step.bound) if step.bound else None,
        "analytic": _times(analytic),
        "events": _times(events),
        "events_over_analytic": _ratio(analytic, events),
        "contention": step.around is not None and step.around.contention is not None,
        "roles": len(step.around.roles.roles) if step.around and step.around.roles else None,
        "ranks": step.around.roles.grid.ranks if step.around and step.around.roles else None,
    }


def stopped_text(ran: RanStep) -> str:
    """How far a step came that was stopped, and its closed form."""
    step = ran.step
    lines = fold(f"{step.job}: stopped after {seconds(ran.reached_ps / PICOSECONDS_PER_SECOND)} of the step.", WIDTH)
    lines += fold(step.strategy, WIDTH, first="  strategy   ", rest=" " * 13)
    if ran.passes:
        lines.append(f"  done       {ran.passes_done:,} of {ran.passes:,} passes")
    if step.analytic is not None:
        lines.append(f"  whole step {seconds(step.analytic.total_s)} by the closed form")
    return "\n".join(lines) + "\n"


def stopped_mapping(ran: RanStep) -> dict[str, Any]:
    """The same values, for JSON."""
    step = ran.step
    return {
        "schema": 1,
        "kind": "simulate",
        "fits": True,
        "interrupted": True,
        "job": step.job,
        "stack": step.stack,
        "calibration": step.calibration,
        "strategy": asdict(step.parallelism) if step.parallelism else None,
        "reached_s": ran.reached_ps / PICOSECONDS_PER_SECOND,
        "passes_done": ran.passes_done,
        "passes": ran.passes,
        "analytic": _times(step.analytic) if step.analytic else None,
    }


def _found(step: SimulatedStep) -> tuple[StepTime, StepTime, dict[str, Any]]:
    if step.analytic is None or step.events is None or step.spec is None:
        raise ValueError("step_text: nothing was simulated; use nothing_fits_text.")
    spec = {
        "stages": len(step.spec.stages),
        "micro_batches": step.spec.micro_batches,
        "virtual_stages": step.spec.virtual_stages,
        "schedule": step.spec.schedule,
    }
    return step.analytic, step.events, spec


def _times(time: StepTime) -> dict[str, Any]:
    return {"step_s": time.total_s, **{f"{part}_s": time.part_s(part) for part in PARTS}}


def _ratio(analytic: StepTime, events: StepTime) -> float:
    return events.total_s / analytic.total_s if analytic.total_ps else 1.0
