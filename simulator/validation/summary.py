"""The record of measured runs in words and as JSON: errors beside the baseline's by era, kind of run and source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from .group_errors import GroupError, Scored, group_error, parted
from .memory_record import MemoryFit, MemorySummary, memory_summary
from .record_summary import IN_SAMPLE, RecordSummary
from .runs import HOLDS, ValidationResult
from .sweeps import SweepSummary, summarise_sweeps

_HELD: Final = {
    "groups": "each source x model x chip group predicted without it",
    "sources": "each source predicted without it",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ValidationSummary(RecordSummary):
    """What `validate` prints; errors are over (source, model, chip) groups. ``by_era`` begins with all runs.
    ``trainings``: times to train, epochs, speed-ups, which are in no other part. ``scoreboard`` has all of it against
    every yardstick, as plain values; nothing where nothing was held out."""

    held_out: bool
    hold: str
    by_era: tuple[GroupError, ...]
    by_family: tuple[GroupError, ...]
    by_source: tuple[GroupError, ...]
    memory: MemorySummary | None
    layouts: SweepSummary | None
    trainings: tuple[GroupError, ...] = ()
    scoreboard: Mapping[str, object] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """Plain values for JSON."""
        parts = {"by_era": self.by_era, "by_family": self.by_family, "by_source": self.by_source}
        plain = self.mapping(self.held_out, parts | ({"trainings": self.trainings} if self.trainings else {}))
        plain |= {"memory": self.memory.as_json()} if self.memory else {}
        plain |= {"layouts": self.layouts.mapping()} if self.layouts else {}
        return plain | ({"scoreboard": dict(self.scoreboard)} if self.scoreboard else {})

    def text(self) -> str:
        """The summary as a table for people."""
        how = f"cross-fitted ({_HELD[self.hold]})" if self.held_out else IN_SAMPLE
        parts = {"": self.by_era, "by kind of run": self.by_family, "by source": self.by_source}
        parts |= {"whole trainings": self.trainings} if self.trainings else {}
        text = self.lines(how, "runs", parts)
        more = [part.text() for part in (self.memory, self.layouts) if part]
        return "\n".join([text, *more])


def summarise(result: ValidationResult, *, memory: MemoryFit | None = None, written: str = "") -> ValidationSummary:
    """Errors of a validation, from its primary runs; ``memory`` is the fit of its memory rows, where held out."""
    table = result.table
    of_memory, of_layouts = memory_summary(table, result.predictions, held=memory), summarise_sweeps(result)
    baseline: Mapping[int, float] = {}
    if result.crossed is not None:
        baseline = dict(zip(result.crossed.index, result.crossed.baseline_error.tolist(), strict=True))
    scored = {
        index: Scored(
            group=table.jobs[index].group, measured=float(table.rows[index]["value"]), predicted=p.predicted,
            low=p.low, high=p.high, baseline=abs(baseline[index]) if baseline else None,
            is_rate=not table.jobs[index].value_per_s,
        )
        for index in table.primary
        if (p := result.predictions[index]).predicted is not None
    }  # fmt: skip

    def groups(key: Callable[[int], str]) -> tuple[GroupError, ...]:
        """Parts of the runs, the largest first."""
        return tuple(sorted(parted(scored, key).values(), key=lambda g: -g.runs))

    overall = (group_error("all", list(scored.values())),) if scored else ()
    return ValidationSummary(
        rows=len(table.rows), predicted=sum(p.predicted is not None for p in result.predictions),
        held_out=result.held_out, hold=result.crossed.hold if result.crossed else HOLDS[0], constants=result.constants,
        by_era=overall + groups(lambda i: table.rows[i].get("era", "") or "?"),
        by_family=groups(lambda i: table.jobs[i].family), by_source=groups(lambda i: table.jobs[i].group[0]),
        refusals=tuple(Counter(table.refused.values()).most_common()), written=written,
        memory=of_memory if of_memory.overall else None,
        layouts=of_layouts if of_layouts.parts else None,
    )  # fmt: skip
