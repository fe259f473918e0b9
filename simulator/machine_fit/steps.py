"""A few measured step times: what they say of the software stack that ran them, everything else as it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from ..calibration.kernel_fit import Values
from ..calibration_data import load_constants
from ..constants import SPECS, Constants, key_of
from ..errors import InputError
from ..kernels.kernel_constants import KernelSpec
from ..kernels.optable import Floats
from ..validation.baseline import utilisation_s
from ..validation.evaluate import job_table
from ..validation.rows import RunJob
from ..validation.runs import Table, TableError, read_table
from .fitting import Alike, Law, LawFit, fit_law
from .observations import Observation

#: What a stack release may deviate in.
STACK_CONSTANTS: Final = tuple(name for name, spec in SPECS.items() if spec.scope == "stack")
_MOST_REASONS: Final = 3


def fitted_stacks(path: str | Path) -> dict[str, LawFit]:
    """The fit of every stack that the runs of a table name, by its id.

    Raises
    ------
    InputError
        Where no run can be predicted, with the reasons of the first ones.
    """
    try:
        table = read_table(Path(path))
    except TableError as error:
        raise InputError(str(error)) from None
    if not table.primary:
        reasons = list(dict.fromkeys(table.refused.values()))[:_MOST_REASONS] or ["no row has a value above 0"]
        raise InputError(f"{path}: no run that can be predicted: {'; '.join(reasons)}")
    stacks = sorted({table.jobs[i].context.stack.id for i in table.primary})
    return {stack: fit_law(stack_law(table, stack)) for stack in stacks}


def stack_law(table: Table, stack: str) -> Law:
    """Step times of one stack as its four constants scale them, each a factor on what ships."""
    index = [i for i in table.primary if table.jobs[i].context.stack.id == stack]
    jobs = [table.jobs[i] for i in index]
    shipped, lowered = load_constants(), job_table(jobs)
    base = {name: shipped.get(name, stack) for name in STACK_CONSTANTS}
    rows = [_observed(table, i) for i in index]

    def seconds(v: Values) -> Floats:
        own = {key_of(name, stack): base[name] * float(v[name][0]) for name in STACK_CONSTANTS}
        return lowered.step_s(Constants(values={**shipped.values, **own}))

    return Law(
        name=f"steps {stack}", specs={name: _factor(name, base[name]) for name in STACK_CONSTANTS}, seconds=seconds,
        settings=Alike(len(jobs)), observations=rows, yardstick_s=np.array([_at_peak_s(job) for job in jobs]),
        needed="steps of other batches, chips or models",
    )  # fmt: skip


def _observed(table: Table, index: int) -> Observation:
    row = table.rows[index]
    words = ("model", "chip", "num_chips", "global_batch", "micro_batch", "tp", "pp", "precision")
    return Observation(
        id="steps/" + "/".join(row.get(word, "") for word in words), suite="steps", precision=row.get("precision", ""),
        shape={}, seconds=table.measured_s[index], flop=0.0, byte=0.0,
    )  # fmt: skip


def _at_peak_s(job: RunJob) -> float:
    """Seconds of a step's FLOPs at the peak of its chips: one constant on it is a constant utilisation."""
    return max(utilisation_s(job), 1e-9)


def _factor(name: str, base: float) -> KernelSpec:
    spec = SPECS[name]
    return KernelSpec(
        name=name, unit="1", prior=1.0, low=min(1.0, spec.low / base), high=max(1.0, spec.high / base),
        spread=spec.spread, meaning=f"{spec.meaning}, against the {base:.4g} that ships",
    )  # fmt: skip


def stack_constants(fits: Mapping[str, LawFit]) -> dict[str, float]:
    """The constants that the steps determined, by the keys of a calibration file."""
    shipped = load_constants()
    return {
        key_of(name, stack): float(f"{shipped.get(name, stack) * c.value:.6g}")
        for stack, fit in fits.items()
        for name, c in fit.constants.items()
        if c.determined and abs(math.log(c.value)) > 5e-4
    }
