"""What papers and pages state of whole systems, to be held beside predictions: `simulator/data/published_results.csv`.

Statements that no row of measured runs can hold (bounds, order statistics, energy, speed-ups read off a figure), each
with its provenance: "table", "text", "figure" (read off), "recalled" (not read again). No constant is fitted on them.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from hwmodels.datafile import did_you_mean

from .outcome import OutcomeError

PROVENANCES: Final = ("table", "text", "figure", "recalled")


@dataclass(frozen=True, kw_only=True)
class PublishedResult:
    """One statement: of which case on how many chips, what quantity, its value in its unit, and where it stands."""

    topic: str
    case: str
    chips: int
    quantity: str
    value: float
    unit: str
    provenance: str
    source: str


@cache
def _every() -> tuple[PublishedResult, ...]:
    text = files("simulator").joinpath("data", "published_results.csv").read_text(encoding="utf-8")
    return tuple(
        PublishedResult(**{**line, "chips": int(line["chips"]), "value": float(line["value"])})  # type: ignore[arg-type]
        for line in csv.DictReader(io.StringIO(text))
    )


def published(topic: str, case: str = "", quantity: str = "") -> tuple[PublishedResult, ...]:
    """Statements on a topic whose case begins with, and whose quantity is, what is given; raises where none is."""
    topics = sorted({one.topic for one in _every()})
    if topic not in topics:
        raise OutcomeError(
            f"published: there is no topic {topic!a}; legal: {', '.join(topics)}.{did_you_mean(topic, topics)}"
        )
    own = [one for one in _every() if one.topic == topic]
    found = tuple(one for one in own if one.case.startswith(case) and quantity in ("", one.quantity))
    if not found:
        cases = sorted({f"{one.case} ({one.quantity})" for one in own})
        raise OutcomeError(f"published: nothing on {topic} of {case!a} {quantity!a}; legal: {'; '.join(cases)}.")
    return found


def published_value(topic: str, case: str, quantity: str = "", *, chips: int = 0) -> float:
    """The one value of a case, on that many chips where they are given; raises where there is none or several."""
    found = [one for one in published(topic, case, quantity) if chips in (0, one.chips)]
    if len(found) != 1:
        raise OutcomeError(
            f"published: {len(found)} values of {topic}, {case!a}, {quantity!a}; say which by its chips."
        )
    return found[0].value
