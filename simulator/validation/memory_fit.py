"""Fitting what measured software does with memory: bytes are linear in what it keeps, so trials cost nothing."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..kernels.optable import Floats
from .memory_rows import MemoryJob, figures
from .memory_software import RANGES, MemorySoftware

#: Constants that bytes of tensors are linear in at every stage and moment.
LINEAR: Final = ("eager_kept_share", "loss_byte", "gathered_share")
#: What a constant at an end of its range costs against its usual value: so few rows that they show less cannot move it.
PULL: Final = 0.1
_ROUNDS: Final = 5
_POINTS: Final = 17


@dataclass(frozen=True, kw_only=True)
class MemoryTable:
    """Rows of one software as arrays: tensors by stage and moment without the linear constants [B], shape (N, R, M);
    their slopes, (K, N, R, M); groups' own buffers, outside of the allocator [B], and capacity [B], (N,)."""

    software: MemorySoftware
    base_byte: Floats
    slope_byte: Floats
    outside_byte: Floats
    capacity_byte: Floats

    def predicted(self, constants: Mapping[str, float]) -> Floats:
        """Every row's figure in its unit; shape (N,)."""
        tensors = self.base_byte
        for name, slope in zip(LINEAR, self.slope_byte, strict=True):
            if constants.get(name):
                tensors = tensors + constants[name] * slope
        reserve = constants["framework_reserve_byte"]
        return figures(
            tensors.max(axis=(1, 2)), constants["allocator_share"], self.outside_byte + reserve, self.software,
            self.capacity_byte,
        )  # fmt: skip


def memory_table(jobs: Sequence[MemoryJob]) -> tuple[MemoryTable, Mapping[str, float]]:
    """Rows of one software as arrays, and the constants they stand at."""
    bases, slopes, outside = [], [], []
    for job in jobs:
        nothing = job.with_constants(dict.fromkeys(LINEAR, 0.0))
        plain = nothing.stages()
        base = _read(plain.allocated_byte[0], plain.present[0], job.role)
        bases.append(base)
        more = []
        for name in LINEAR:
            one = nothing.with_constants({name: 1.0}).stages()
            more.append(_read(one.allocated_byte[0], one.present[0], job.role) - base)
        slopes.append(more)
        outside.append(float(plain.communicator_byte[0]))
    at = jobs[0].job.context.stack
    table = MemoryTable(
        software=jobs[0].software, base_byte=np.array(bases), slope_byte=np.array(slopes).transpose(1, 0, 2, 3),
        outside_byte=np.array(outside), capacity_byte=np.array([job.capacity_byte for job in jobs]),
    )  # fmt: skip
    return table, {name: float(getattr(at, name)) for name in RANGES}


def _read(allocated: Floats, present: Floats, role: int | None) -> Floats:
    """Tensors of the stages that are read; 0 for the others."""
    kept = present > 0 if role is None else np.arange(len(present)) == role
    return np.asarray(np.where(kept[:, None], allocated, 0.0))


def fit(
    table: MemoryTable, measured: Floats, groups: Sequence[Hashable], start: Mapping[str, float],
    *, used: NDArray[np.bool_] | None = None,
) -> Mapping[str, float]:  # fmt: skip
    """The software's constants at the least mean over groups of mean |ln(predicted / measured)|, within their ranges.

    One after the other on a grid that shrinks around the best; a pull of `PULL` draws each to its usual value.
    """
    inside = np.ones(len(measured), dtype=bool) if used is None else used
    constants = dict(start)
    usual = table.software.usual
    if not usual or not inside.any():
        return {**constants, **usual}
    weight = _weights([g for g, here in zip(groups, inside, strict=True) if here])
    some = MemoryTable(
        software=table.software, base_byte=table.base_byte[inside], slope_byte=table.slope_byte[:, inside],
        outside_byte=table.outside_byte[inside], capacity_byte=table.capacity_byte[inside],
    )  # fmt: skip
    logs = np.log(measured[inside])
    constants.update(usual)

    def cost(trial: Mapping[str, float]) -> float:
        error = float(weight @ np.abs(np.log(some.predicted(trial)) - logs))
        away = sum(((trial[n] - usual[n]) / (RANGES[n][1] - RANGES[n][0])) ** 2 for n in usual)
        return error + PULL * away

    best = cost(constants)
    width = 1.0
    for _ in range(_ROUNDS):
        for name in usual:
            low, high = RANGES[name]
            half = 0.5 * width * (high - low)
            centre = constants[name]
            for value in np.linspace(max(low, centre - half), min(high, centre + half), _POINTS):
                trial = {**constants, name: float(value)}
                if (found := cost(trial)) < best:
                    best, constants = found, trial
        width *= 0.5
    return constants


def _weights(groups: Sequence[Hashable]) -> Floats:
    """A row's share in a mean over the means of groups."""
    size: dict[Hashable, int] = {}
    for group in groups:
        size[group] = size.get(group, 0) + 1
    return np.array([1.0 / (size[g] * len(size)) for g in groups])
