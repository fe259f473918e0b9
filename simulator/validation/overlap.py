"""`trainyard validate overlap`: measured overlap beside the event engine, the closed form and a fixed overlap.

Rows are those of sources that measured what hides behind what: overlap methods of data-parallel training, pipeline
schedules, speed-ups with exchange under the backward pass. All three are priced with the stored constants. The event
engine and the closed form compose the same durations; what a method does about gradients the engine runs as a mechanism
(`overlap_methods`). The yardstick hides one fraction of all exchange, whatever the method, under a 1F1B pipeline:

.. math:: t = c + b + (1 - f) x

with compute c, exchange x, the bubble b = (p - 1) / m of the passes, and f fitted on the other sources.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from ..analytic import batch, evaluate
from ..constants import Constants
from ..contention import contention_of, grid_of
from ..events import Contention, Surroundings, find_roles, simulate
from ..kernels.optable import Floats
from ..lowering import Lowered, lower
from ..parallelism import Parallelism
from ..staging import staged
from ..stepspec import PICOSECONDS_PER_SECOND, StepSpec
from .overlap_methods import Method, method_of, released
from .overlap_scaling import hybrid_choices, scaling_jobs
from .rows import RunJob, Unsupported
from .runs import Table, TableError, finite_number, read_table

#: Sources that measured overlap: what they are called here -> a regular expression of their name in a table.
SOURCES: Final[Mapping[str, str]] = {
    "DDL benchmarks (7 methods)": "HKBU-HPML/ddl-benchmarks",
    "Zero Bubble (4 schedules)": "2401.10241",
    "Primus": "AMD-AGI/Primus",
    "Das et al. (speed-ups)": r"1602\.06709",
    "Lee et al. (speed-ups)": r"Lee et al\.",
}
#: How often progress is told.
_ROWS_A_LINE: Final = 50
_FRACTIONS: Final = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True, kw_only=True)
class OverlapRow:
    """One measured step beside its predictions [s]; ``held_s`` and ``exchange_s`` are the yardstick's c + b and x.

    A speed-up is a step time too: the predicted step on one server over it.
    """

    row: str
    source: str
    group: tuple[str, str, str]
    method: str
    measured_s: float
    events_s: float
    closed_form_s: float
    held_s: float
    exchange_s: float


def source_of(row: Mapping[str, str]) -> str:
    """The name in `SOURCES` of a row's source; "" where it measured no overlap."""
    return next((name for name, words in SOURCES.items() if re.search(words, row.get("source") or "")), "")


def read_overlap(path: Path) -> Table:
    """The rows of a table of measured runs that are of these sources. Raises `TableError` where there are none."""
    table = read_table(path, keep=lambda row: bool(source_of(row)))
    if not table.rows:
        raise TableError(f"{path}: no row measures overlap; sources that do: {', '.join(SOURCES)}.")
    return table


def predict_overlap(
    table: Table, constants: Constants, *, progress: Callable[[str], None] = lambda _: None
) -> tuple[tuple[OverlapRow, ...], Mapping[str, int]]:
    """Predictions of every run that exchanges something, and how many rows were left out by reason."""
    rows: list[OverlapRow] = []
    refused: Counter[str] = Counter()
    for index, row in enumerate(table.rows):
        if index % _ROWS_A_LINE == _ROWS_A_LINE - 1:
            progress(f"{index + 1} of {len(table.rows)} rows")
        if index in table.primary:
            job = table.jobs[index]
            if job.parallelism.dp * job.parallelism.cp * job.parallelism.pp == 1:
                refused["one chip: nothing to overlap"] += 1
                continue
            rows.append(_overlap_row(row, job, table.measured_s[index], constants))
        elif row.get("metric") == "speedup" and not row.get("flag") and finite_number(row.get("value")):
            try:
                rows.append(_speed_up(row, constants))
            except (Unsupported, ValueError, LookupError) as error:
                refused[str(error)] += 1
        else:
            refused["flagged, a second metric of its run, or no step time"] += 1
    return tuple(rows), refused


def _overlap_row(row: Mapping[str, str], job: RunJob, measured_s: float, constants: Constants) -> OverlapRow:
    method = method_of(job.row["allreduce_algorithm"])
    lowered = _lowered(job, job.parallelism)
    plain = batch(lowered, constants, contention=False).spec(0)
    held_s, exchange_s = held_and_exchanged(plain)
    return OverlapRow(
        row=row.get("row") or "", source=source_of(row), group=job.group,
        method=method.name if method else job.row["schedule"] or "data parallel", measured_s=measured_s,
        events_s=events_s(job, method, lowered, plain, constants),
        closed_form_s=float(evaluate(lowered, constants).total_s[0]), held_s=held_s, exchange_s=exchange_s,
    )  # fmt: skip


def _speed_up(row: Mapping[str, str], constants: Constants) -> OverlapRow:
    """A speed-up, of the strategy that the closed form thinks best of those it may have used."""
    alone, many = scaling_jobs(row)
    single_s = float(evaluate(_lowered(alone, alone.parallelism), constants).total_s[0])
    choices = [_lowered(many, parallelism) for parallelism in hybrid_choices(many)]
    lowered = min(choices, key=lambda one: float(evaluate(one, constants).total_s[0]))
    plain = batch(lowered, constants, contention=False).spec(0)
    held_s, exchange_s = held_and_exchanged(plain)
    return OverlapRow(
        row=row.get("row") or "", source=source_of(row), group=many.group, method="layer by layer",
        measured_s=single_s / float(row["value"]), events_s=events_s(many, None, lowered, plain, constants),
        closed_form_s=float(evaluate(lowered, constants).total_s[0]), held_s=held_s, exchange_s=exchange_s,
    )  # fmt: skip


def _lowered(job: RunJob, parallelism: Parallelism) -> Lowered:
    return staged(job.workload, lower(job.workload, job.context, [parallelism], frozen=job.frozen))


def events_s(job: RunJob, method: Method | None, lowered: Lowered, spec: StepSpec, constants: Constants) -> float:
    """Step time of the event engine, gradients released as the method does, work that shares wires and cores [s].

    Pushes to servers leave from the memory of hosts and take no cores of chips. Leaves out: those that the sum inside a
    host takes before.
    """
    release = None
    if method is not None and len(spec.stages) == 1:
        spec, release = released(job, method, lowered, spec, constants)
    contention: Contention = contention_of(lowered, 0, spec, constants)
    if method is not None and method.servers and job.parallelism.chips > contention.chips_per_server:
        contention = replace(contention, taken=0.0)
    around = Surroundings(roles=find_roles(grid_of(lowered, 0)), contention=contention, release=release)
    return simulate(spec, around).total_s


def held_and_exchanged(spec: StepSpec) -> tuple[float, float]:
    """What a fixed overlap never hides and what it hides a fraction of: c + b, and x [s]."""
    m, p = spec.micro_batches, len(spec.stages)
    passes, exchanged = [], []
    for stage in spec.stages:
        blocks = [(block, block.repeat) for block in stage.blocks]
        passes.append(
            sum(n * (b.forward_ps + b.backward_ps + b.forward_tensor_ps + b.backward_tensor_ps) for b, n in blocks)
        )
        reduces = sum(n * b.reduce_ps for b, n in blocks)
        gathers = sum(n * b.gather_ps for b, n in blocks)
        by_mode = {
            "none": 0, "after": stage.reduce_after_ps, "backward": reduces, "sharded": m * (2 * gathers + reduces)
        }  # fmt: skip
        exchanged.append(by_mode[spec.gradient_mode] + stage.update_gather_ps)
    held_ps = (m + p - 1) * max(passes) + spec.fixed_ps + max(stage.optimizer_ps for stage in spec.stages)
    sends_ps = 2 * m * spec.send_ps if p > 1 else 0
    return held_ps / PICOSECONDS_PER_SECOND, (max(exchanged) + sends_ps) / PICOSECONDS_PER_SECOND


def macro(rows: Sequence[OverlapRow], predicted_s: Floats) -> float:
    """Mean over (source, model, chip) groups of the mean |ln(predicted / measured)|."""
    errors: dict[tuple[str, ...], list[float]] = {}
    for row, value in zip(rows, predicted_s.tolist(), strict=True):
        errors.setdefault(row.group, []).append(abs(math.log(value / row.measured_s)))
    return float(np.mean([np.mean(of_group) for of_group in errors.values()]))


def hidden_fraction(rows: Sequence[OverlapRow]) -> float:
    """The fraction f of exchange hidden that fits rows best, a whole percent; 0.5 without a row."""
    if not rows:
        return 0.5
    return float(min(_FRACTIONS, key=lambda f: macro(rows, fixed_overlap_s(rows, float(f)))))


def fixed_overlap_s(rows: Sequence[OverlapRow], fraction: float) -> Floats:
    """Step times where a fraction of all exchange is hidden; shape (rows,) [s]."""
    return np.array([row.held_s + (1.0 - fraction) * row.exchange_s for row in rows])


def baseline_s(rows: Sequence[OverlapRow]) -> tuple[Floats, Mapping[str, float]]:
    """The yardstick's step times, each source's with the fraction of the others; (rows,) [s], and the fractions."""
    fractions = {name: hidden_fraction([r for r in rows if r.source != name]) for name in {r.source for r in rows}}
    return np.array([row.held_s + (1.0 - fractions[row.source]) * row.exchange_s for row in rows]), fractions
