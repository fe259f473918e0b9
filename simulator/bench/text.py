"""A bench for a reader: as text, and as the table of the README."""

from __future__ import annotations

import math

from .run import BenchReport, BenchResult, line_of


def bench_text(report: BenchReport) -> str:
    """Every case, the medians, and how well the laws price kernels they were not fitted on."""
    lines = [line_of(r) for r in report.results]
    return "\n".join([*lines, *median_lines(report)])


def median_lines(report: BenchReport) -> list[str]:
    """The median errors, a line each."""
    lines = []
    for shared, word in ((False, "one process"), (True, "several processes")):
        error, count = report.median_error(shared), sum((r.ranks > 1) == shared for r in report.results)
        if error is not None:
            lines.append(f"{word}: {count} cases, median error {error:.1%}")
    if report.overlap_distance is not None:
        lines.append(
            f"share of the exchange beside compute: {100 * report.overlap_distance:.0f} points off in the mean"
        )
    if report.median_apart is not None:
        lines.append(f"two sittings of one case: {report.median_apart:.1%} apart in the median")
    return lines


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _row(r: BenchResult) -> str:
    quartiles = f"{r.low_quartile_s * 1e3:.4g} to {r.high_quartile_s * 1e3:.4g}"
    cells = (
        r.name, f"{r.measured_s * 1e3:.4g}", quartiles, f"{r.predicted_s * 1e3:.4g}", f"{math.expm1(r.error):+.1%}",
        _share(r.exchange_share), _share(r.overlap_measured), _share(r.overlap_predicted),
    )  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def bench_markdown(report: BenchReport) -> str:
    """The table with its machine, its date and its medians."""
    m = report.machine
    load = "" if report.load is None else f", load average {report.load:.1f} when it began"
    times = {r.sittings for r in report.results}
    sittings = f", the mean of {max(times)} sittings" if times and max(times) > 1 else ""
    head = (
        f"{m['name']}, {m['cores']} cores ({m['capability']}), one thread a process, PyTorch {m['torch']}, "
        f"{report.date}{load}{sittings}. " + "; ".join(median_lines(report)) + "."
    )
    columns = (
        "| case | measured, ms | quartiles | predicted, ms | error | exchange alone, of the step | beside compute, "
        "measured | predicted |"
    )
    return "\n".join([head, "", columns, "|---|---|---|---|---|---|---|---|", *map(_row, report.results)])
