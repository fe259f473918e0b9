"""The whole scoreboard of a held-out validation as plain values, for JSON and for the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from ...constants import SPECS, Constants, name_of
from ..conventions import CONVENTIONS_OF_SOURCES, convention_of
from ..group_errors import GroupError
from ..runs import HOLDS, Table, ValidationResult
from .claims import PROGRAMS, REFUSAL, refused_runs, stated
from .parts import scores
from .runs_scored import runs_scored
from .scaling import scaling_scores
from .worst import SHOWN, group_errors_of, worse_than_utilisation, worst_runs

#: Metrics whose value depends on what a source counts as a FLOP.
_CONVERTED: Final = ("tflops_per_chip", "pflops_total", "mfu", "hfu")


def scoreboard(
    result: ValidationResult, constants: Constants, *, trainings: Sequence[GroupError] = ()
) -> dict[str, Any]:
    """Everything the page says of one way of holding out; numbers rounded to six digits.

    ``constants`` are the shipped ones, of which the fitted ones are counted; ``trainings`` the errors of whole
    trainings. Raises `ValueError` where nothing was held out.
    """
    runs = runs_scored(result)
    groups = group_errors_of(runs)
    hold = result.crossed.hold if result.crossed else HOLDS[0]
    curves, programs = scaling_scores(runs, PROGRAMS)
    scopes = Counter(SPECS[name_of(key)].scope for key in constants.values)
    board: dict[str, Any] = _plain({
        "hold": hold,
        "fitted": {
            "constants": len(constants.values), "runs": len(runs.index), "by_scope": dict(sorted(scopes.items())),
        },
        "coverage": coverage_of(result),
        "parts": {name: [asdict(s) for s in found] for name, found in scores(runs, constants).items()},
        "scaling": [asdict(s) for s in curves],
        "programs": [asdict(s) for s in programs],
        "trainings": [{**asdict(g), "skill": g.skill} for g in trainings],
        "figures": [{**asdict(s), "is_reached": s.is_reached} for s in stated(runs, hold)],
        "worst_runs": [asdict(w) for w in worst_runs(runs)],
        "worst_groups": [asdict(w) for w in groups[:SHOWN]],
        "groups": len(groups),
        "worse_than_utilisation": [asdict(w) for w in worse_than_utilisation(groups)],
        "conventions": conventions_used(result.table),
    })  # fmt: skip
    return board


def coverage_of(result: ValidationResult) -> dict[str, Any]:
    """Rows by what became of them, refused rows by reason, and what refusals are charged."""
    table = result.table
    flagged = sum(bool(table.rows[i].get("flag")) for i in table.jobs)
    measured = sum(i in table.measured_s for i in table.jobs)
    found = {
        "rows": len(table.rows), "predicted": sum(p.predicted is not None for p in result.predictions),
        "steps": len(table.jobs), "scored": len(table.primary), "flagged": flagged,
        "not_scored": measured - len(table.primary) - flagged,
        "memory": sum(result.predictions[i].predicted is not None for i in table.memory_jobs),
        "refused_runs": len(refused_runs(table)), "charge": REFUSAL,
    }  # fmt: skip
    found["trainings"] = found["predicted"] - found["steps"] - found["memory"]
    reasons = Counter(p.reason for p in result.predictions if p.predicted is None)
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return {**found, "refused": [{"reason": reason, "rows": rows} for reason, rows in ordered]}


def conventions_used(table: Table) -> list[dict[str, Any]]:
    """What "TFLOP/s" and "MFU" were taken to mean, with the rows and sources of the table that it applies to."""
    found: dict[int, Counter[str]] = {}
    for i, job in table.jobs.items():
        if job.metric in _CONVERTED:
            row = table.rows[i]
            convention = convention_of(row["source"], row.get("software", ""))
            found.setdefault(CONVENTIONS_OF_SOURCES.index(convention), Counter())[row["source"]] += 1
    return [
        {
            "tflops": c.tflops, "mfu": c.mfu, "why": c.why, "rows": sum(found[n].values()),
            "sources": sorted(found[n]),
        }
        for n, c in enumerate(CONVENTIONS_OF_SOURCES)
        if n in found
    ]  # fmt: skip


def _plain(value: Any) -> Any:
    """Values as JSON has them, floats with six digits."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value
