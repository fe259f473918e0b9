"""``simulator/data/training_constants.toml``: spreads of how long recipes train, and how far held-out rows were off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import as_file, files
from typing import Final

from hwmodels.datafile import read_toml

from ..calibration_data import number, quoted
from ..outcome.convergence.pooling import PoolConstants

FILE: Final = "training_constants.toml"
#: Ends of an 80 % interval in spreads of a normal error: of metrics without a record.
_NORMAL: Final = 1.2816


@dataclass(frozen=True, kw_only=True)
class TrainingConstants:
    """Spreads of lengths by what is counted ("samples", "epochs"), and by metric the record.

    The record has "rows", "groups", "macro", "mean", "median" of |ln(predicted / measured)|, "low" and "high" (10 % and
    90 % quantiles of ln(measured / predicted) over its spread), and of times whose rate was measured too the means and
    medians of the part of the rate and of the length. ``steps`` says what the steps in it were priced with.
    """

    constants: Mapping[str, PoolConstants]
    record: Mapping[str, Mapping[str, float]]
    steps: str = ""

    def quantiles(self, metric: str) -> tuple[float, float]:
        """Ends of the 80 % interval of a metric, in spreads."""
        entry = self.record.get(metric, {})
        return entry.get("low", -_NORMAL), entry.get("high", _NORMAL)


@cache
def load_training() -> TrainingConstants:
    """The file that ships."""
    with as_file(files("simulator") / "data" / FILE) as path:
        data = read_toml(str(path)).data
    constants = {counted: PoolConstants(**values) for counted, values in data["constants"].items()}
    return TrainingConstants(constants=constants, record=data.get("record", {}), steps=data.get("steps", ""))


def to_toml(found: TrainingConstants) -> str:
    """Text of the file; the same values give the same bytes."""
    lines = [
        "# How long recipes train, spreads of logarithms (simulator/outcome/convergence/pooling.py), and the record.",
        "# Made by `python -m simulator.calibration.trainings RUNS.csv` from the rows of training_lengths.csv.",
        "schema = 1", f"steps = {quoted(found.steps)}",
    ]  # fmt: skip
    for counted, constants in sorted(found.constants.items()):
        lines += ["", f"[constants.{counted}]", *(f"{k} = {number(v)}" for k, v in asdict(constants).items())]
    for metric, values in sorted(found.record.items()):
        lines += ["", f"[record.{metric}]", *(f"{key} = {number(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"
