"""The record of measured kernels: errors beside the bare roofline's, per family and group."""

from __future__ import annotations

from .held_out_summary import HeldOutSummary, summarise_held_out
from .kernels import KernelValidation


def summarise_kernels(result: KernelValidation, *, written: str = "") -> HeldOutSummary:
    """Errors of a validation; macro errors are over (suite, chip) groups."""
    table = result.table

    def spelled(i: int) -> str:
        row = table.rows[i]
        return " ".join((row["kernel"], row.get("suite", "").replace("neusight_", ""), row["chip"], row["precision"]))

    return summarise_held_out(
        result,
        baseline="the bare roofline",
        parts={"by_family": lambda i: table.jobs[i].family, "by_group": spelled},
        titles={"by family": "by_family", "by kernel, suite and chip": "by_group"},
        written=written,
    )
