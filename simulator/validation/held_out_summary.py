"""The record of measured kernels or collectives in words and as JSON: errors beside their yardstick's, part by part."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .group_errors import GroupError, Scored, group_error, parted
from .measured_table import JobT, MeasuredValidation, RecordT
from .record_summary import IN_SAMPLE, RecordSummary


@dataclass(frozen=True, kw_only=True)
class HeldOutSummary(RecordSummary):
    """What `validate kernels` and `validate collectives` print: errors |ln(predicted / measured)|.

    ``hold`` is the way of holding out, "" for shipped constants; ``baseline`` names the yardstick. ``parts`` has the
    errors of each part of the rows by its key in JSON, ``titles`` the keys by their titles in text.
    """

    hold: str
    baseline: str
    overall: tuple[GroupError, ...]
    parts: Mapping[str, tuple[GroupError, ...]]
    titles: Mapping[str, str]

    def as_json(self) -> dict[str, object]:
        """Plain values for JSON."""
        return self.mapping(self.hold, {"all": self.overall, **self.parts})

    def text(self) -> str:
        """The summary as a table for people."""
        how = f"held out by {self.hold} (each predicted with constants fitted without it)" if self.hold else IN_SAMPLE
        titled = {title: self.parts[key] for title, key in self.titles.items()}
        return self.lines(how, "rows", {"": self.overall, **titled}, baseline=self.baseline)


def summarise_held_out(
    result: MeasuredValidation[JobT, RecordT], *, baseline: str, parts: Mapping[str, Callable[[int], str]],
    titles: Mapping[str, str], written: str = "",
) -> HeldOutSummary:  # fmt: skip
    """Errors of a validation, from its rows with a measured value and without a flag.

    ``parts`` says of a row index, for each key in JSON, which part of the rows it is in; parts are in the order of
    their names.
    """
    table = result.table
    scored = {
        i: Scored(
            group=table.jobs[i].group, measured=table.measured_s[i], predicted=p.predicted, low=p.low, high=p.high,
            baseline=abs(math.log(result.baseline_s[i] / table.measured_s[i])),
        )
        for i in table.used
        if (p := result.predictions[i]).predicted is not None
    }  # fmt: skip
    errors = {key: parted(scored, part) for key, part in parts.items()}
    return HeldOutSummary(
        rows=len(table.rows), predicted=sum(p.predicted is not None for p in result.predictions), hold=result.hold,
        constants=result.constants, baseline=baseline,
        overall=(group_error("all", list(scored.values())),) if scored else (),
        parts={key: tuple(found[name] for name in sorted(found)) for key, found in errors.items()}, titles=titles,
        refusals=tuple(Counter(table.refused.values()).most_common()), written=written,
    )  # fmt: skip
