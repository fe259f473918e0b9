"""Predictions of whole trainings: time = samples to the target / rate, epochs, speed-ups; beside a validation of steps.

A validation of measured runs refuses what is no step (`runs`); here its refused rows are read again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from ..calibration_data import load
from ..constants import Constants
from ..outcome.convergence.pooling import PoolConstants
from .cells import Unsupported
from .convergence_rows import measured_value
from .evaluate import job_table
from .rows import RunJob
from .runs import HOLDS, Prediction, Table, ValidationResult, fold_of
from .training_constants import load_training
from .training_lengths import Length, LengthPool, pooled, shipped_lengths
from .training_rows import METRICS, TIME, TrainingRow, resolve_training

NO_LENGTH: Final = "how long this recipe trains: too few measured runs of it"


@dataclass(frozen=True, kw_only=True)
class Trainings:
    """Rows of whole trainings of a table: those that can be read, reasons for the rest; step times of jobs [s]."""

    rows: Mapping[int, TrainingRow]
    refused: Mapping[int, str]
    step_s: Mapping[int, float]
    reference_s: Mapping[int, float]

    def lengths(self, table: Table) -> dict[int, Length]:
        """How long each measured run was, in the unit of its point; flagged rows have none."""
        rates = _measured_rates(table)
        found: dict[int, Length] = {}
        for i, training in self.rows.items():
            value = measured_value(table.rows[i])
            if value is None or table.rows[i].get("flag") or training.reference is not None:
                continue
            known = False
            if training.metric == TIME:
                rate = rates.get(_run_of(table.rows[i]), rates.get(_place_of(table.rows[i])))
                known = rate is not None
                value *= rate if rate is not None else training.batch / self.step_s[i]
            found[i] = Length(point=training.point, value=value, group=training.group, measured_rate=known)
        return found


def read_trainings(table: Table, constants_of: Callable[[tuple[str, str, str]], Constants]) -> Trainings:
    """Rows of whole trainings; ``constants_of`` a (source, model, chip) group are those that price its steps."""
    rows: dict[int, TrainingRow] = {}
    refused: dict[int, str] = {}
    for i in table.refused:
        if table.rows[i].get("metric") not in METRICS:
            continue
        try:
            rows[i] = resolve_training(table.rows[i])
        except Unsupported as error:
            refused[i] = str(error)
        except (ValueError, LookupError) as error:
            refused[i] = f"the row cannot be read: {error}"
    return Trainings(
        rows=rows, refused=refused,
        step_s=_priced({i: t.job for i, t in rows.items() if t.job is not None}, constants_of),
        reference_s=_priced({i: t.reference for i, t in rows.items() if t.reference is not None}, constants_of),
    )  # fmt: skip


def _priced(jobs: Mapping[int, RunJob], constants_of: Callable[[tuple[str, str, str]], Constants]) -> dict[int, float]:
    """Step times [s], by row index."""
    parts: dict[int, tuple[Constants, list[int]]] = {}
    for i, job in jobs.items():
        constants = constants_of(job.group)
        parts.setdefault(id(constants), (constants, []))[1].append(i)
    found: dict[int, float] = {}
    for constants, index in parts.values():
        found |= dict(zip(index, job_table([jobs[i] for i in index]).step_s(constants).tolist(), strict=True))
    return found


def _run_of(row: Mapping[str, str]) -> tuple[str, ...]:
    return row.get("source", ""), row.get("run_id", "") or "?"


def _place_of(row: Mapping[str, str]) -> tuple[str, ...]:
    """What rows of one run share where every metric has a number of its own."""
    columns = ("source", "model", "num_chips", "chip", "chip_memory_gb", "global_batch", "precision")
    return row.get("locator", "") or "?", *(row.get(c, "") for c in columns)


def _measured_rates(table: Table) -> dict[tuple[str, ...], float]:
    """Measured samples per second, by run and by place. Read for fits only."""
    rates: dict[tuple[str, ...], float] = {}
    for i, seconds in table.measured_s.items():
        job, row = table.jobs[i], table.rows[i]
        if row.get("flag") or job.metric not in ("samples_per_s", "step_time_s"):
            continue
        rate = job.parallelism.global_batch / seconds if job.metric == "step_time_s" else job.value_per_rate / seconds
        for key in (_run_of(row), _place_of(row)):
            if "?" not in key:
                rates.setdefault(key, rate)
    return rates


def with_trainings(result: ValidationResult, calibration: str = "default") -> ValidationResult:
    """A validation with its rows of whole trainings predicted.

    Held out: steps priced with the constants of the row's fold, lengths from the table's other (source, model, chip)
    groups or other sources. Else: shipped constants and shipped lengths.
    """
    folds = result.crossed.fold_constants if result.crossed else {}
    hold = result.crossed.hold if result.crossed else HOLDS[0]
    constants = None if result.held_out else load(calibration).constants
    any_fold = next(iter(folds.values()), constants)

    def constants_of(group: tuple[str, str, str]) -> Constants:
        return constants or folds.get(fold_of(group, hold)) or any_fold or load(calibration).constants

    trainings = read_trainings(result.table, constants_of)
    if not trainings.rows and not trainings.refused:
        return result
    stored = load_training()
    pool_of: Callable[[TrainingRow], LengthPool]
    if result.held_out:
        pool_of = HeldOutPools(trainings.lengths(result.table), stored.constants, hold).without
    else:
        shipped = LengthPool(shipped_lengths(), stored.constants)
        pool_of = lambda _: shipped  # noqa: E731 (one line beside its sibling)
    refused = dict(result.table.refused) | dict(trainings.refused)
    lines = list(result.predictions)
    for i, reason in trainings.refused.items():
        lines[i] = replace(lines[i], reason=reason)
    for i, training in trainings.rows.items():
        found = predict_training(i, training, trainings, pool_of(training))
        if found is None:
            refused[i] = NO_LENGTH
            lines[i] = replace(lines[i], reason=NO_LENGTH)
            continue
        log_value, spread = found
        low, high = stored.quantiles(training.metric)
        lines[i] = _line(lines[i], training, log_value, log_value + low * spread, log_value + high * spread)
        del refused[i]
    return replace(result, predictions=tuple(lines), table=replace(result.table, refused=refused))


class HeldOutPools:
    """Lengths of all groups but one, or of all sources but one."""

    def __init__(
        self, lengths: Mapping[int, Length], constants: Mapping[str, PoolConstants], hold: str = HOLDS[0]
    ) -> None:
        self._lengths, self._constants = lengths, constants
        self._shared = 3 if hold == HOLDS[0] else 1
        self._pools: dict[tuple[str, ...], LengthPool] = {}

    def without(self, training: TrainingRow) -> LengthPool:
        """Lengths without a row's group or source."""
        held = training.group[: self._shared]
        if held not in self._pools:
            rest = [length for length in self._lengths.values() if length.group[: self._shared] != held]
            self._pools[held] = LengthPool(pooled(rest), self._constants)
        return self._pools[held]


def predict_training(
    index: int, training: TrainingRow, trainings: Trainings, lengths: LengthPool
) -> tuple[float, float] | None:
    """ln of what a row measures and its spread; None where it is not known how long its recipe trains.

    .. math:: T = E(B) t_{step} / B, \\qquad speedup = (B / t_{step}) / (B_1 / t_1), \\qquad
              efficiency = speedup / N
    """
    if training.reference is not None and training.job is not None:
        ratio = training.batch / trainings.step_s[index]
        ratio /= training.reference.parallelism.global_batch / trainings.reference_s[index]
        chips = training.job.parallelism.chips
        return math.log(ratio / chips if training.metric == "scaling_efficiency" else ratio), 1.0
    answer = lengths.answer(training.point)
    if answer is None:
        return None
    seconds = trainings.step_s[index] / training.batch if training.metric == TIME else 1.0
    return answer.log_mean + math.log(seconds), answer.log_spread


def _line(line: Prediction, training: TrainingRow, value: float, low: float, high: float) -> Prediction:
    job = training.job
    assumed = (*job.assumed, f"stack {job.context.stack.id}") if job else ()
    return replace(
        line, predicted=math.exp(value), low=math.exp(min(low, value)), high=math.exp(max(high, value)), reason="",
        assumed="; ".join(assumed),
    )  # fmt: skip
