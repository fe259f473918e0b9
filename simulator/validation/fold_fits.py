"""Constants fitted without each fold of a table of runs: so many fits that they share what they may.

Folds stand in blocks. The runs of a whole block are left out first, then, from where that fit ended, of each of its
folds alone. A fit never begins with one that saw its fold, so that not even the way to its constants did.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from ..calibration.fit import FitResult, fit
from ..calibration.slopes import Moves, Owners, merged, moves_of
from ..constants import Constants
from ..kernels.optable import Floats, Ints
from .evaluate import JobTable

#: Blocks of folds: about the square root of their number makes the least work.
BLOCKS: Final = 4
#: Tables with more runs than this are fitted on several cores, each of which holds a copy of what was lowered.
_PARALLEL_FROM: Final = 1000
_MOST_WORKERS: Final = 4

_Task = tuple[tuple[int, ...], FitResult | None]


@dataclass(frozen=True, kw_only=True)
class FoldFits:
    """Runs to fit, and the fold of each, shape (runs,)."""

    lowered: JobTable
    measured_s: Floats
    owners: Owners
    groups: tuple[Hashable, ...]
    folds: Ints

    @cached_property
    def moves(self) -> Moves:
        """Constants that are moved at once."""
        return merged(moves_of(self.owners), self.lowered.depending_on)

    def without(self, task: _Task) -> FitResult:
        """Constants fitted without some folds, beginning with a fit that saw none of them."""
        left_out, start = task
        weight = (~np.isin(self.folds, left_out)).astype(float)
        return fit(
            self.lowered.step_s, self.measured_s, self.owners, self.groups, moved_s=self.lowered.moved_s,
            moves=self.moves, start=start, weight=weight,
        )  # fmt: skip

    def without_each(self) -> Iterator[tuple[int, Constants]]:
        """Constants fitted without each fold, in the order of the folds; the same on any number of cores."""
        folds = sorted(set(self.folds.tolist()))
        blocks = sorted({fold % BLOCKS for fold in folds})
        members = {block: tuple(fold for fold in folds if fold % BLOCKS == block) for block in blocks}
        with self._mapped(len(folds)) as mapped:
            tasks: list[_Task] = [(members[block], None) for block in blocks]
            begun = dict(zip(blocks, mapped(tasks), strict=True))
            fitted = mapped([((fold,), begun[fold % BLOCKS]) for fold in folds])
            for fold, result in zip(folds, fitted, strict=True):
                yield fold, result.constants

    @contextmanager
    def _mapped(self, tasks: int) -> Iterator[Callable[[Sequence[_Task]], Iterator[FitResult]]]:
        """`without` for many tasks, in order; large tables use the machine's cores."""
        workers = min(os.cpu_count() or 1, tasks, _MOST_WORKERS) if len(self.measured_s) > _PARALLEL_FROM else 1
        if workers == 1:
            yield lambda tasks: map(self.without, tasks)
            return
        _ = self.moves  # found once, for all workers
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context, initializer=_hold, initargs=(self,)) as pool:
            yield lambda tasks: pool.map(_without, tasks)


_held: list[FoldFits] = []


def _hold(fits: FoldFits) -> None:
    """What a worker process fits, sent to it once."""
    _held[:] = [fits]


def _without(task: _Task) -> FitResult:
    return _held[0].without(task)
