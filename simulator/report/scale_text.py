"""A scaling curve as text and as plain values: every number of chips against the linear line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..parallelism import Parallelism
from ..plan_report import Outcome, PlanReport
from .quantities import digits, many, money, percent, seconds
from .tables import fold, table
from .text import in_common

WIDTH = 100


@dataclass(frozen=True, kw_only=True)
class ScalePoint:
    """The best strategy on one number of chips; ``step_s`` 0 where nothing fits [s]."""

    model: str
    system: str
    stack: str
    chips: int
    global_batch: int
    parallelism: Parallelism | None
    step_s: float
    samples_per_s: float
    reason: str = ""
    outcome: Outcome | None = None
    not_reached: str = ""

    @classmethod
    def of(cls, report: PlanReport, *, not_reached: str = "") -> ScalePoint:
        """The point that a plan makes; ``not_reached``: why a target that was asked is not."""
        best = report.ranked[0] if report.ranked else None
        return cls(
            model=report.model, system=report.system, stack=report.stack, chips=report.chips,
            global_batch=report.global_batch, parallelism=best.parallelism if best else None,
            step_s=best.step.total_s if best else 0.0, samples_per_s=best.samples_per_s if best else 0.0,
            reason="" if best else report.nearest_fit, outcome=best.outcome if best else None, not_reached=not_reached,
        )  # fmt: skip

    @property
    def fits(self) -> bool:
        """Whether any strategy fits."""
        return self.parallelism is not None

    def describe(self, mode: str) -> str:
        """What the curve is of, in one line."""
        batch = f"global batch {self.global_batch:,}"
        if mode == "weak":
            batch += " on the fewest, growing with the chips"
        return f"{self.model} on {self.system}, {batch}, stack {self.stack}: {mode} scaling"


@dataclass(frozen=True, kw_only=True)
class ScaleRow:
    """One point against the first that fits.

    ``speedup`` = samples per second over those of the first; ``efficiency`` = speed-up over the ratio of chips;
    ``gap_to_linear_s`` = step time minus the step time of the linear line [s].
    """

    point: ScalePoint
    speedup: float
    efficiency: float
    gap_to_linear_s: float


def scale_rows(points: Sequence[ScalePoint]) -> tuple[ScaleRow, ...]:
    """Every point that fits against the first that does."""
    fitting = [point for point in points if point.fits]
    rows = []
    for point in fitting:
        first = fitting[0]
        speedup = point.samples_per_s / first.samples_per_s
        efficiency = speedup * first.chips / point.chips
        rows.append(
            ScaleRow(
                point=point, speedup=speedup, efficiency=efficiency, gap_to_linear_s=point.step_s * (1.0 - efficiency)
            )
        )
    return tuple(rows)


def scale_text(points: Sequence[ScalePoint], mode: str, head: str, assumed: Sequence[str]) -> str:
    """The curve as a table, ending in a newline."""
    rows = {id(row.point): row for row in scale_rows(points)}
    lines = [*fold(head, WIDTH), *(line for text in assumed for line in fold(f"assumed: {text}", WIDTH)), ""]
    own, common = in_common([point.parallelism.words() for point in points if point.parallelism])
    words = iter(own)
    cells = []
    for point in points:
        row = rows.get(id(point))
        start = [f"{point.chips:,}", f"{point.global_batch:,}"]
        if row is None or point.parallelism is None:
            cells.append([*start, "-", "-", "-", "-", "-", f"nothing fits. {point.reason}".rstrip()])
            continue
        cells.append(
            [
                *start, seconds(point.step_s), digits(point.samples_per_s, 4), f"{row.speedup:.2f}x",
                percent(row.efficiency), seconds(row.gap_to_linear_s), next(words),
            ]
        )  # fmt: skip
    header = ["chips", "batch", "step", "samples/s", "speed-up", "efficiency", "gap to linear", "strategy"]
    lines += table(header, cells, left=(7,), width=WIDTH, indent="")
    lines += fold(f"All of them: {common}.", WIDTH) if common else []
    lines += _outcome_lines(points, mode)
    return "\n".join(lines) + "\n"


def end_rows(points: Sequence[ScalePoint]) -> tuple[tuple[ScalePoint, float, float], ...]:
    """Points that reach the end that was asked, each with its speed-up in time over the first of them, and efficiency.

    .. math:: speedup = T_1 / T_n, \\qquad efficiency = speedup \\, n_1 / n

    A larger batch that takes more samples to a target shows here and not in samples per second.
    """
    reaching = [(point, point.outcome.time_s) for point in points if point.outcome]
    first = reaching[0] if reaching else None
    return tuple(
        (point, first[1] / time_s, first[1] / time_s * first[0].chips / point.chips)
        for point, time_s in reaching
        if first
    )


def _outcome_lines(points: Sequence[ScalePoint], mode: str) -> list[str]:
    """Time and money to the end along the curve; nothing where no amount was asked."""
    ends = {id(point): (up, share) for point, up, share in end_rows(points)}
    if not ends and not any(point.not_reached for point in points):
        return []
    cells = []
    for point in points:
        end = point.outcome
        if end is None or id(point) not in ends:
            why = "not reached" if point.not_reached else "nothing fits"
            cells.append([f"{point.chips:,}", f"{point.global_batch:,}", why, *("-" for _ in range(6))])
            continue
        up, share = ends[id(point)]
        low, high = end.low_time_s, end.high_time_s
        cells.append(
            [
                f"{point.chips:,}", f"{point.global_batch:,}", many(end.samples), f"{end.steps:,}", seconds(end.time_s),
                "-" if low is None or high is None else f"{seconds(low)} to {seconds(high)}", f"{up:.2f}x",
                percent(share), "unknown" if end.cost_usd is None else money(end.cost_usd),
            ]
        )  # fmt: skip
    shown = next((point.outcome for point in points if point.outcome), None)
    goal = f"to {shown.target}" if shown and shown.target else "to the end"
    first = next((point.chips for point in points if id(point) in ends), points[0].chips)
    header = ["chips", "batch", "samples", "steps", "time", "80 % interval", "speed-up", "efficiency", "money"]
    lines = [
        "", *fold(f"{goal}, {mode} scaling; speed-up in time over {first:,} chips", WIDTH),
        *table(header, cells, left=(), width=WIDTH, indent=""),
    ]  # fmt: skip
    reasons = dict.fromkeys(point.not_reached for point in points if point.not_reached)
    lines += [line for text in list(reasons)[:1] for line in fold(text, WIDTH)]
    if shown:
        lines += fold(f"The clock counts steps alone. Money: {shown.cost_basis}; list price, spot is another.", WIDTH)
    return lines


def scale_mapping(points: Sequence[ScalePoint], mode: str, assumed: Sequence[str]) -> dict[str, Any]:
    """The same values, for JSON."""
    rows = {id(row.point): row for row in scale_rows(points)}
    listed = []
    for point in points:
        row = rows.get(id(point))
        listed.append(
            {
                "chips": point.chips,
                "global_batch": point.global_batch,
                "fits": point.fits,
                "step_s": point.step_s if point.fits else None,
                "samples_per_s": point.samples_per_s if point.fits else None,
                "speedup": row.speedup if row else None,
                "efficiency": row.efficiency if row else None,
                "gap_to_linear_s": row.gap_to_linear_s if row else None,
                "strategy": asdict(point.parallelism) if point.parallelism else None,
                "reason": point.reason,
                "outcome": asdict(point.outcome) if point.outcome else None,
                "not_reached": point.not_reached,
            }
        )
    first = points[0]
    return {
        "schema": 1, "kind": "scale", "mode": mode, "model": first.model, "system": first.system, "stack": first.stack,
        "assumed": list(assumed), "points": listed,
    }  # fmt: skip
