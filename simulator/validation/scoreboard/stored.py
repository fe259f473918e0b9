"""The scoreboard as it ships: ``simulator/data/scoreboard.json``, made from held-out predictions of the whole corpus.

Two parts: "groups", everything with (source, model, chip) groups held out, and "sources", the same runs with whole
sources held out, without what does not depend on how they are held out. The page is made from it and from
``explanations.csv`` alone.
"""

from __future__ import annotations

import csv
import json
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np

from ...calibration_data import load
from ...constants import Constants
from ...output import write_atomically
from ..baseline import baseline_step_s
from ..runs import (
    HOLDS,
    OUTPUT_COLUMNS,
    CrossFit,
    Prediction,
    Table,
    TableError,
    ValidationResult,
    finite_number,
    fold_of,
)
from ..training_summary import training_errors
from .board import scoreboard

FILE: Final = "scoreboard.json"
#: What of the record with sources held out is kept.
_OF_SOURCES: Final = ("hold", "fitted", "programs", "trainings", "figures", "groups")
#: Dimensions whose parts are shown of it.
PARTS_OF_SOURCES: Final = ("all", "kind of run", "era", "chip family", "strategy", "chips")


def stored_scoreboard() -> dict[str, Any]:
    """The stored scoreboard; "sources" is None where no record with sources held out was made."""
    text = files("simulator").joinpath("data", FILE).read_text(encoding="utf-8")
    board: dict[str, Any] = json.loads(text)
    return board


def read_predictions(table: Table, path: Path, *, hold: str) -> ValidationResult:
    """A held-out validation of a table from what ``validate runs --held-out --out`` wrote.

    Raises
    ------
    TableError
        Where the file cannot be read or is not of that table.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
    except OSError as error:
        raise TableError(f"{path}: {error.strerror or error}.") from error
    if len(lines) != len(table.rows) or not lines or not set(OUTPUT_COLUMNS) <= set(lines[0]):
        raise TableError(f"{path}: {len(lines)} predictions; the table has {len(table.rows)} rows.")
    predictions = tuple(
        Prediction(
            row=line["row"], measured=line["measured"], predicted=finite_number(line["predicted"]),
            low=finite_number(line["low"]), high=finite_number(line["high"]), reason=line["reason"],
            extrapolated=line["extrapolated"], assumed=line["assumed"],
        )
        for line in lines
    )  # fmt: skip
    step_s = []
    for index in table.primary:
        value, number = predictions[index].predicted, table.rows[index].get("row") or str(index)
        if value is None or predictions[index].row != number:
            raise TableError(f"{path}: line {index + 2} is no prediction of row {number}; was it made from this table?")
        step_s.append(table.jobs[index].step_s(value))
    jobs = [table.jobs[i] for i in table.primary]
    measured = np.array([table.measured_s[i] for i in table.primary])
    folds = np.array([fold_of(job.group, hold) for job in jobs])
    shipped = load("default")
    crossed = CrossFit(
        index=table.primary, step_s=np.array(step_s), baseline_s=baseline_step_s(jobs, measured, folds),
        measured_s=measured, hold=hold,
    )  # fmt: skip
    return ValidationResult(
        table=table, predictions=predictions, record=shipped.record, held_out=True,
        constants=len(shipped.constants.values), crossed=crossed,
    )  # fmt: skip


def store(folder: Path, constants: Constants, *results: ValidationResult) -> None:
    """Write the parts of the scoreboard that held-out validations with their trainings are of; the other part stays.

    ``constants`` are those fitted on all runs.
    """
    path = folder / FILE
    board: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else dict.fromkeys(HOLDS)
    for result in results:
        found = scoreboard(result, constants, trainings=training_errors(result))
        if found["hold"] == HOLDS[0]:
            board[HOLDS[0]] = found
        else:
            kept = {key: found[key] for key in _OF_SOURCES}
            board[found["hold"]] = {**kept, "parts": {name: found["parts"][name] for name in PARTS_OF_SOURCES}}
    write_atomically(path, json.dumps(board, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
