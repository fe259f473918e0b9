"""The record of measured collectives: errors beside one alpha-beta pair's, by size, collective and system."""

from __future__ import annotations

from dataclasses import replace

from .collective_rows import CLASSES
from .collectives import CollectiveValidation
from .held_out_summary import HeldOutSummary, summarise_held_out


def summarise_collectives(result: CollectiveValidation, *, written: str = "") -> HeldOutSummary:
    """Errors of a validation; macro errors are over (system, ranks, collective) groups. ``by_size`` is in the order of
    `collective_rows.CLASSES`."""
    jobs = result.table.jobs
    found = summarise_held_out(
        result,
        baseline="one alpha-beta pair for each pair of fabrics",
        parts={
            "by_size": lambda i: CLASSES[jobs[i].size_class],
            "by_system": lambda i: jobs[i].system,
            "by_collective": lambda i: jobs[i].collective,
        },
        titles={"by size": "by_size", "by collective": "by_collective", "by system": "by_system"},
        written=written,
    )
    order = list(CLASSES.values())
    by_size = tuple(sorted(found.parts["by_size"], key=lambda g: order.index(g.name)))
    return replace(found, parts={**found.parts, "by_size": by_size})
