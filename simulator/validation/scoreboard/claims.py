"""The figures that are wanted of the record, each beside what the record says."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from ..cells import count
from ..rows import METRICS
from ..runs import HOLDS, Table, finite_number
from .runs_scored import RunsScored

#: What a row costs that could have been predicted and was refused: |ln(predicted / measured)|.
REFUSAL: Final = 0.5
Row = Mapping[str, str]
_CONFIGURATION: Final = ("chip", "num_chips", "tp", "pp", "dp", "global_batch", "seq_len", "precision")
#: Words of chips as sources write them: those of Nvidia's V100 and A100; accelerators that are not Nvidia's.
_V100_A100: Final = r"V100|A100"
_MAKERS: Final[Mapping[str, str]] = {
    "TPU": r"^TPU", "IPU": r"GC200|Bow|IPU", "Gaudi": r"Gaudi", "Trainium": r"Trainium|trn1",
    "AMD": r"^MI\d|Radeon|Vega|Instinct",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure that is wanted: a mean of at most ``wanted``, and a median of at most ``wanted_median`` (0: none) of the
    runs whose row and kind are ``chosen``, held out by ``hold``."""

    name: str
    hold: str
    wanted: float
    chosen: Callable[[Row, str], bool]
    wanted_median: float = 0.0


def _from(pattern: str) -> Callable[[Row, str], bool]:
    return lambda row, kind: re.search(pattern, row["source"]) is not None


def _vtrain(many: bool) -> Callable[[Row, str], bool]:
    return lambda row, kind: row["source"].startswith("VIA-Research/vTrain") and (count(row, "num_chips") > 8) == many


def _has_configuration(row: Row, kind: str) -> bool:
    return kind == "llm" and count(row, "num_chips") >= 8 and all(row.get(name) for name in _CONFIGURATION)


def _on_v100_a100(row: Row, kind: str) -> bool:
    return kind != "llm" and re.search(_V100_A100, row["chip"]) is not None


def _made_by(pattern: str) -> Callable[[Row, str], bool]:
    return lambda row, kind: re.search(pattern, row["chip"]) is not None


_GROUPS, _SOURCES = HOLDS
FIGURES: Final = (
    Figure(
        name="language models with full configuration on 8 chips or more", hold=_GROUPS, wanted=0.06,
        wanted_median=0.04, chosen=_has_configuration,
    ),
    Figure(name="vTrain, several servers, source left out", hold=_SOURCES, wanted=0.10, chosen=_vtrain(True)),
    Figure(
        name="vTrain, several servers, tensor parallel over 16, source left out", hold=_SOURCES, wanted=0.10,
        chosen=lambda row, kind: _vtrain(True)(row, kind) and count(row, "tp") == 16,
    ),
    Figure(name="vTrain, one server, source left out", hold=_SOURCES, wanted=0.15, chosen=_vtrain(False)),
    Figure(name="vTrain, several servers, model sizes left out", hold=_GROUPS, wanted=0.05, chosen=_vtrain(True)),
    Figure(name="vTrain, one server, model sizes left out", hold=_GROUPS, wanted=0.05, chosen=_vtrain(False)),
    Figure(name="Korthikanti et al., source left out", hold=_SOURCES, wanted=0.05, chosen=_from("2205.05198")),
    Figure(name="Korthikanti et al.", hold=_GROUPS, wanted=0.05, chosen=_from("2205.05198")),
    Figure(name="FSDP: llm-foundry", hold=_GROUPS, wanted=0.06, chosen=_from("llm-foundry")),
    Figure(name="FSDP: llm-foundry, source left out", hold=_SOURCES, wanted=0.06, chosen=_from("llm-foundry")),
    Figure(name="DGX Cloud, H100 and GB200", hold=_GROUPS, wanted=0.06, chosen=_from("dgxc-benchmarking")),
    Figure(name="other than language models on V100 and A100", hold=_GROUPS, wanted=0.10, chosen=_on_v100_a100),
    Figure(
        name="all other groups", hold=_GROUPS, wanted=0.12,
        chosen=lambda row, kind: not _has_configuration(row, kind) and not _on_v100_a100(row, kind),
    ),
    *(Figure(name=name, hold=_GROUPS, wanted=0.15, chosen=_made_by(p)) for name, p in _MAKERS.items()),
)  # fmt: skip
#: Wanted of times to train, and of the scaling efficiency of four programs (share of one; source -> title).
WANTED_TRAINING: Final = 0.15
WANTED_EFFICIENCY: Final = 0.05
PROGRAMS: Final[Mapping[str, str]] = {
    "MXNet": r"[Mm][Xx][Nn]et", "Horovod": r"[Hh]orovod", "DDL": r"ddl-benchmarks",
    "TensorFlow": r"tensorflow/(docs|models|benchmarks)|distributed-tensorflow|TensorFlow 0",
}  # fmt: skip
#: Wanted of 80 % intervals: the share inside in all, in parts of 30 runs or more, and high / low of language models.
WANTED_HELD: Final = (0.75, 0.85)
WANTED_HELD_PART: Final = (0.65, 0.95)
WANTED_WIDTH: Final = 1.4


@dataclass(frozen=True, kw_only=True)
class Stated:
    """A figure as the record has it: ``macro`` over (source, model, chip) groups with refusals charged, ``median`` over
    runs; ``refused`` rows that could have been predicted."""

    name: str
    hold: str
    wanted: float
    wanted_median: float
    runs: int
    refused: int
    groups: int
    macro: float
    median: float

    @property
    def is_reached(self) -> bool:
        """Whether it is at most what is wanted."""
        return self.macro <= self.wanted and (not self.wanted_median or self.median <= self.wanted_median)


def refused_runs(table: Table) -> tuple[int, ...]:
    """One row of every run that measured a rate or a step, is not flagged and was refused in all its metrics."""
    known = {_run_of(table.rows[i]) for i in table.jobs}
    found: dict[tuple[str, str], int] = {}
    for i in table.refused:
        row = table.rows[i]
        value = finite_number(row.get("value"))
        if row.get("metric") not in METRICS or row.get("flag") or value is None or value <= 0.0:
            continue
        if _run_of(row) not in known:
            found.setdefault(_run_of(row), i)
    return tuple(found.values())


def _run_of(row: Row) -> tuple[str, str]:
    return row.get("source", ""), row.get("run_id") or f"row {row.get('row')}"


def stated(runs: RunsScored, hold: str) -> tuple[Stated, ...]:
    """The figures that are held out so, from runs that were; one without a run is left out.

    The kind of a refused run is that of its era.
    """
    found = []
    refused = refused_runs(runs.table)
    for figure in FIGURES:
        if figure.hold != hold:
            continue
        errors: dict[object, list[float]] = {}
        sizes: list[float] = []
        for index, job, error in zip(runs.index, runs.jobs, np.abs(runs.error).tolist(), strict=True):
            if figure.chosen(runs.table.rows[index], job.family):
                errors.setdefault(job.group, []).append(error)
                sizes.append(error)
        if not sizes:
            continue
        charged = [i for i in refused if figure.chosen(runs.table.rows[i], _guessed_kind(runs.table.rows[i]))]
        for i in charged:
            row = runs.table.rows[i]
            errors.setdefault((row["source"], row["model"], row["chip"]), []).append(REFUSAL)
        found.append(
            Stated(
                name=figure.name, hold=hold, wanted=figure.wanted, wanted_median=figure.wanted_median, runs=len(sizes),
                refused=len(charged), groups=len(errors),
                macro=float(np.mean([np.mean(values) for values in errors.values()])), median=float(np.median(sizes)),
            )
        )  # fmt: skip
    return tuple(found)


def _guessed_kind(row: Row) -> str:
    """The kind of a run without a job: by its era."""
    return "llm" if row.get("era") == "llm2020_now" else "other"
