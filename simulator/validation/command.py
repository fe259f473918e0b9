"""What every kind of `trainyard validate` does: predict a table, write the predictions, sum up the record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Protocol, TypeVar

from ..output import write_atomically
from .runs import Prediction, predictions_csv


class Predicted(Protocol):
    """A validation: predictions of a table, line by line."""

    @property
    def predictions(self) -> Sequence[Prediction]:
        """A prediction or a refusal for every row."""


ResultT = TypeVar("ResultT", bound=Predicted)


def predict_and_write(
    path: Path | None, out: Path | None, *, shipped: str, predict: Callable[[Path], ResultT]
) -> tuple[ResultT, str]:
    """Predict a table and write the predictions, all or nothing; where they went, "" without ``out``.

    Without ``path`` the table ``shipped`` of ``simulator/data`` is predicted.
    """
    if path is None:
        with as_file(files("simulator") / "data" / shipped) as found:
            result = predict(found)
    else:
        result = predict(path)
    if out is not None:
        write_atomically(out, predictions_csv(result.predictions))
    return result, str(out) if out is not None else ""
