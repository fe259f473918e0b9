"""A plan report as JSON: the same values, units in the key names, keys in a fixed order, finite numbers only."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ..parallelism import Parallelism
from ..plan_report import PlanReport, RankedPlan
from ..stepspec import PARTS
from .phases_text import phase_mapping

SCHEMA = 1


class NotFiniteError(ValueError):
    """A value that JSON cannot hold: a fault of ours, never of the input."""


def dumps(value: object) -> str:
    """JSON text of a value, indented, ending in a newline.

    Raises
    ------
    NotFiniteError
        For a number that is not finite; the message says where it stands.
    """
    bad = _not_finite(value, "")
    if bad:
        raise NotFiniteError(f"{bad} is not a finite number.")
    return json.dumps(value, indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def plan_json(report: PlanReport) -> str:
    """The whole report as JSON text."""
    return dumps(plan_mapping(report))


def plan_mapping(report: PlanReport) -> dict[str, Any]:
    """The whole report as plain values."""
    known = report.known_error
    return {
        "schema": SCHEMA,
        "kind": "plan",
        "question": {key: _plain(value) for key, value in report.question.items()},
        "job": {
            "model": report.model,
            "parameters": report.parameters,
            "sample": report.sample,
            "tokens_per_sample": report.tokens_per_sample,
            "system": report.system,
            "chip": report.chip,
            "chips": report.chips,
            "stack": report.stack,
            "stack_name": report.stack_name,
            "precision": report.recipe,
            "optimizer": report.optimizer,
            "global_batch": report.global_batch,
        },
        "fits": bool(report.ranked),
        "nearest_fit": report.nearest_fit,
        "searched": report.searched,
        "fitting": report.fitting,
        "ranked": [_ranked(plan) for plan in report.ranked],
        "rejected": [
            {"limit": group.limit, "count": group.count, "example": _strategy(group.example), "by": group.by}
            for group in report.rejected
        ],
        "binds": report.binds,
        "gains": [
            {
                "resource": gain.resource,
                "step_s": gain.step_s,
                "speedup": gain.speedup,
                "strategy": _strategy(gain.parallelism),
                "note": gain.note,
            }
            for gain in report.gains
        ],
        "peak_flop_per_s": report.peak_flop_per_s,
        "peak_precision": report.peak_word,
        "mfu_convention": report.mfu_convention,
        "known_error": None if known is None else {key: _plain(value) for key, value in asdict(known).items()},
        "calibration": report.calibration,
        "assumptions": list(report.assumptions),
        "defaults": list(report.defaults),
        "warnings": list(report.warnings),
        "scaling": [{key: _plain(value) for key, value in point.items()} for point in report.scaling],
        "roofline": [{key: _plain(value) for key, value in layer.items()} for layer in report.roofline],
        "sources": [asdict(line) for line in report.sources],
        **phase_mapping(report),
    }


def _ranked(plan: RankedPlan) -> dict[str, Any]:
    memory = {f"{purpose}_byte": amount for purpose, amount in plan.memory.by_purpose().items()}
    outcome = None if plan.outcome is None else asdict(plan.outcome)
    return {
        "strategy": _strategy(plan.parallelism),
        "engine": plan.step.engine,
        "step_s": plan.step.total_s,
        "low_s": plan.low_s,
        "high_s": plan.high_s,
        "checked_by_events_s": plan.checked_by_events_s,
        "parts": {f"{part}_s": plan.step.part_s(part) for part in PARTS},
        "samples_per_s": plan.samples_per_s,
        "tokens_per_s": plan.tokens_per_s,
        "mfu": plan.mfu,
        "mfu_full_attention": plan.mfu_full_attention,
        "hfu": plan.hfu,
        "memory": {**memory, "total_byte": plan.memory.total_byte, "capacity_byte": plan.memory.capacity_byte},
        "outcome": outcome,
        **({} if plan.asynchronous is None else {"asynchronous": asdict(plan.asynchronous)}),
    }


def _strategy(parallelism: Parallelism | None) -> dict[str, Any] | None:
    return None if parallelism is None else asdict(parallelism)


def _plain(value: object) -> Any:
    """Tuples and mappings of any kind as lists and dicts; numpy scalars as Python numbers."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    item = getattr(value, "item", None)
    return item() if callable(item) else str(value)


def _not_finite(value: object, where: str) -> str:
    """Where in the value a number stands that is not finite; "" if nowhere."""
    if isinstance(value, float) and not math.isfinite(value):
        return where or "the value"
    if isinstance(value, Mapping):
        inner = ((f"{where}.{key}" if where else str(key), item) for key, item in value.items())
    elif isinstance(value, list | tuple):
        inner = ((f"{where}[{i}]", item) for i, item in enumerate(value))
    else:
        return ""
    return next((bad for place, item in inner if (bad := _not_finite(item, place))), "")
