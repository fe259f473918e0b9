"""Errors of predicted times to train, epochs and speed-ups, by metric."""

from __future__ import annotations

from .convergence_rows import measured_value
from .group_errors import GroupError, Scored, parted
from .runs import ValidationResult
from .training_rows import METRICS, TIME

#: How a metric is called in the summary.
_WORDS = {TIME: "time to train", "scaling_efficiency": "scaling efficiency", "speedup": "speed-up"}


def training_errors(result: ValidationResult) -> tuple[GroupError, ...]:
    """Errors over (source, model, chip) groups, one entry for each metric with measured rows."""
    scored: dict[int, Scored] = {}
    for i, line in enumerate(result.predictions):
        row = result.table.rows[i]
        measured = measured_value(row)
        if row.get("metric") not in METRICS or line.predicted is None or measured is None or row.get("flag"):
            continue
        scored[i] = Scored(
            group=(row.get("source", ""), row.get("model", ""), row.get("chip", "")), measured=measured,
            predicted=line.predicted, low=line.low, high=line.high, baseline=None,
        )  # fmt: skip
    found = parted(scored, lambda i: result.table.rows[i]["metric"])
    return tuple(group_named(found[metric], _WORDS.get(metric, metric)) for metric in METRICS if metric in found)


def group_named(group: GroupError, name: str) -> GroupError:
    """The same errors under another name."""
    return GroupError(**{**{f: getattr(group, f) for f in GroupError.__dataclass_fields__}, "name": name})
