"""Which layout is faster: measured sweeps of layouts against the order that predictions put them in.

A planner that is 10 % off on every layout alike still picks the right one, and one that is right in the mean may not.
So besides errors, three figures of every sweep: how many pairs of good layouts stand in the right order, the rank
correlation over all of them, and the *regret*, how much slower the layout is that we would have chosen than the best
that was measured. Two yardsticks stand beside them: constant utilisation, and the layout that sends the fewest bytes.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from scipy.stats import rankdata

from ..kernels.optable import Floats
from .baseline import utilisation_s
from .runs import Table, ValidationResult
from .sent_byte import sent_byte

#: Layouts of one question, at least, that make a sweep.
LEAST_LAYOUTS: Final = 4
#: Layouts that a choice is between: at most so many times as slow as the best measured.
NEAR: Final = 1.20
#: Predictions that differ by less are ties [ln].
_TIE: Final = 1e-6
#: Columns of a row that make a question, besides the machine and the software it resolves to.
QUESTION: Final = (
    "source", "model", "model_params", "chip", "num_chips", "global_batch", "seq_len", "image_size", "precision",
    "software", "kind", "input_data",
)  # fmt: skip
PREDICTED: Final = "predicted"
YARDSTICKS: Final = ("constant utilisation", "fewest bytes sent")


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Layouts of one question: ``rows`` of the table that measured each, its measured step time (layouts,) [s]."""

    source: str
    rows: tuple[tuple[int, ...], ...]
    measured_s: Floats


def sweeps_of(table: Table, question_columns: Sequence[str] = QUESTION) -> tuple[Sweep, ...]:
    """The sweeps among a table's primary runs: `LEAST_LAYOUTS` or more of one source, model, machine, batch, sequence
    length, precision and software release (``question_columns``). A layout that was measured more than once counts
    once, with the geometric mean of its times."""
    questions: dict[object, dict[object, list[int]]] = {}
    for index in table.primary:
        row, job = table.rows[index], table.jobs[index]
        question = (*(row.get(name, "") for name in question_columns), job.context, job.frozen)
        questions.setdefault(question, {}).setdefault(job.parallelism, []).append(index)
    return tuple(
        Sweep(
            source=table.rows[next(iter(layouts.values()))[0]].get("source", ""),
            rows=tuple(map(tuple, layouts.values())),
            measured_s=per_layout(layouts.values(), table.measured_s),
        )
        for layouts in questions.values()
        if len(layouts) >= LEAST_LAYOUTS
    )


def per_layout(layouts: Iterable[Sequence[int]], value: Mapping[int, float]) -> Floats:
    """Geometric mean of a positive value over the rows of each layout; shape (layouts,)."""
    return np.array([math.exp(math.fsum(math.log(value[i]) for i in rows) / len(rows)) for rows in layouts])


@dataclass(frozen=True, kw_only=True)
class Order:
    """How well one way of predicting orders one sweep.

    ``pairs`` of layouts within `NEAR` of the best; the share ``ordered`` of them in the right order (a predicted tie
    counts half; None without a pair); Spearman's ``rank`` correlation over all layouts (0 where all are tied);
    ``regret``: measured time of the layout predicted fastest over the best measured, less 1 (of a tie, the mean).
    """

    pairs: int
    ordered: float | None
    rank: float
    regret: float


def order_of(measured_s: Floats, predicted: Floats) -> Order:
    """Compare the order of predictions, in whatever unit grows with the step time, with the measured; (layouts,)."""
    if len(measured_s) < 2:
        raise ValueError(f"order_of: {len(measured_s)} layout; an order needs two or more.")
    near = np.flatnonzero(measured_s <= NEAR * measured_s.min())
    first, second = np.triu_indices(len(near), 1)
    apart = np.log(measured_s[near][first] / measured_s[near][second])
    told = np.log(predicted[near][first] / predicted[near][second])
    told = np.where(np.abs(told) < _TIE, 0.0, told)
    differ = apart != 0.0
    right = 0.5 + 0.5 * np.sign(apart[differ]) * np.sign(told[differ])
    # Ranks of equal predictions are equal, whatever rounding makes of them.
    level = np.round(np.log(predicted / predicted.min()) / _TIE)
    chosen = level == level.min()
    ranks = rankdata(measured_s), rankdata(level)
    flat = min(np.ptp(r) for r in ranks) == 0.0
    return Order(
        pairs=int(differ.sum()),
        ordered=float(right.mean()) if len(right) else None,
        rank=0.0 if flat else float(np.corrcoef(*ranks)[0, 1]),
        regret=float(measured_s[chosen].mean() / measured_s.min() - 1.0),
    )


@dataclass(frozen=True, kw_only=True)
class OrderRecord:
    """Orders of many sweeps, each counting alike.

    ``regret_p90``: the smallest regret that nine of ten sweeps do not exceed.
    """

    ordered: float | None
    rank: float
    regret: float
    regret_p90: float


def order_record(orders: Sequence[Order]) -> OrderRecord:
    """Means over sweeps, and the ninth decile of their regret."""
    shares = [o.ordered for o in orders if o.ordered is not None]
    regrets = np.array([o.regret for o in orders])
    return OrderRecord(
        ordered=float(np.mean(shares)) if shares else None,
        rank=float(np.mean([o.rank for o in orders])),
        regret=float(regrets.mean()),
        regret_p90=float(np.quantile(regrets, 0.9, method="inverted_cdf")),
    )


@dataclass(frozen=True, kw_only=True)
class SweepPart:
    """Sweeps of one source, or of all; ``by``: what predicted -> its record."""

    name: str
    sweeps: int
    layouts: int
    pairs: int
    by: Mapping[str, OrderRecord]


@dataclass(frozen=True, kw_only=True)
class SweepSummary:
    """What `validate runs` says of the order of layouts; ``parts`` begins with all sweeps, none without a sweep."""

    held_out: bool
    parts: tuple[SweepPart, ...]

    def mapping(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "held_out": self.held_out, "near": NEAR, "least_layouts": LEAST_LAYOUTS,
            "parts": [
                {
                    "name": p.name, "sweeps": p.sweeps, "layouts": p.layouts, "pairs": p.pairs,
                    **{
                        way.replace(" ", "_"): {k: v if v is None else round(v, 6) for k, v in asdict(record).items()}
                        for way, record in p.by.items()
                    },
                }
                for p in self.parts
            ],
        }  # fmt: skip

    def text(self) -> str:
        """A table for people; "" without a sweep."""
        if not self.parts:
            return ""
        how = "cross-fitted" if self.held_out else "with shipped constants"
        lines = [
            f"which layout is faster, {how}: {self.parts[0].sweeps} sweeps of {LEAST_LAYOUTS} layouts or more",
            f"ordered: pairs within {NEAR - 1:.0%} of the best in the right order; rank: correlation over all layouts; "
            "regret: of the layout we would choose",
            f"{'sweeps':34} {'number':>6} {'layouts':>7} {'pairs':>6}  "
            f"{'ordered':>8} {'rank':>6} {'regret':>7} {'p90':>7}",
        ]
        for part in self.parts:
            head = f"{part.name[:34]:34} {part.sweeps:6d} {part.layouts:7d} {part.pairs:6d}"
            lines += [
                f"{head if way == PREDICTED else f'    by {way}':56}  {_figures(record)}"
                for way, record in part.by.items()
            ]
        return "\n".join(lines) + "\n"


def _figures(record: OrderRecord) -> str:
    ordered = f"{record.ordered:8.1%}" if record.ordered is not None else f"{'-':>8}"
    return f"{ordered} {record.rank:6.2f} {record.regret:7.1%} {record.regret_p90:7.1%}"


def summarise_sweeps(result: ValidationResult) -> SweepSummary:
    """Order and regret of a validation's sweeps, all together and by source, most sweeps first."""
    table, step_s = result.table, {}
    for index in table.primary:
        value = result.predictions[index].predicted
        if value is not None:
            job = table.jobs[index]
            step_s[index] = job.step_s(value)
    return sweep_summary(table, step_s, held_out=result.held_out)


def sweep_summary(table: Table, step_s: Mapping[int, float], *, held_out: bool) -> SweepSummary:
    """Order and regret of a table's sweeps, given the predicted step time of every primary row [s]."""
    sweeps = sweeps_of(table)
    rows = [index for sweep in sweeps for layout in sweep.rows for index in layout]
    jobs = [table.jobs[index] for index in rows]
    ways: dict[str, Mapping[int, float]] = {
        PREDICTED: step_s,
        YARDSTICKS[0]: {index: utilisation_s(job) for index, job in zip(rows, jobs, strict=True)},
        # A layout that sends nothing sends less than any other.
        YARDSTICKS[1]: dict(zip(rows, (sent_byte(jobs) + 1.0).tolist(), strict=True)),
    }
    orders = {
        way: [order_of(sweep.measured_s, per_layout(sweep.rows, value)) for sweep in sweeps]
        for way, value in ways.items()
    }

    def part(name: str, sources: Collection[str]) -> SweepPart:
        chosen = [i for i, sweep in enumerate(sweeps) if sweep.source in sources]
        return SweepPart(
            name=name, sweeps=len(chosen), layouts=sum(len(sweeps[i].rows) for i in chosen),
            pairs=sum(orders[PREDICTED][i].pairs for i in chosen),
            by={way: order_record([found[i] for i in chosen]) for way, found in orders.items()},
        )  # fmt: skip

    if not sweeps:
        return SweepSummary(held_out=held_out, parts=())
    names = sorted({sweep.source for sweep in sweeps})
    by_source = sorted((part(name, (name,)) for name in names), key=lambda p: -p.sweeps)
    return SweepSummary(held_out=held_out, parts=(part("all", names), *by_source))
