"""How libraries run one step of a recurrent layer: launches, tiles on offer, and kernels of their own.

The rules were read off the measured step times (DeepBench, baidu-research/DeepBench@da81ba7), all of them: where the
time of a step follows the depth alone, the tiles a core takes one after the other, or the weights times a whole number
of passes. They are rules of choice; what rates they run at is fitted (`recurrent.SPECS`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .settings import Setting, Settings

#: Tiles (rows of the gates, columns of the batch) of vendor libraries, largest first, and the splits of the depth.
TILES: Final = ((128, 128), (128, 64), (64, 64), (128, 32), (64, 32), (32, 32), (32, 16))
SPLITS: Final = (1, 2, 4, 8, 16)

#: Widest batch that a kernel for thin products serves, and that a tile of 32 and of 64 columns covers.
THIN: Final = 16
NARROW: Final = 32
MIDDLE: Final = 64


@dataclass(frozen=True, kw_only=True)
class StepLibrary:
    """What one library does.

    Attributes
    ----------
    gated_launches
        Kernels of one step of a gated cell that wait for each other: the product and the point-wise part, or, where
        the library does not fuse the latter, one for each operation on a gate and on the state.
    thin_columns
        Columns of the batch that the kernel for thin products takes in one pass over the weights; 0: it has none.
    one_tile_a_core
        A core works on one tile at a time, so that every tile pays the latency of the walk along the depth.
    slow_narrow
        Batches of 17 to 32 get one kernel, 128 x 32 tiles without a split, that waits for each slice of the depth.
    """

    gated_launches: int = 2
    thin_columns: int = 0
    one_tile_a_core: bool = False
    slow_narrow: bool = False


#: The product and the point-wise part of a cell without gates.
UNGATED_LAUNCHES: Final = 2
LIBRARIES: Final[Mapping[str, StepLibrary]] = {
    "cudnn-5": StepLibrary(thin_columns=8),
    "cudnn-6": StepLibrary(thin_columns=4, one_tile_a_core=True, slow_narrow=True),
    "cudnn-7": StepLibrary(),
    "miopen-1": StepLibrary(gated_launches=15),
}


def step_library(setting: Setting) -> StepLibrary:
    """The rules a setting runs by: its library's, else those of the newest one measured of its maker."""
    newest = "miopen-1" if "vega" in setting.chip.lineage else "cudnn-7"
    return LIBRARIES.get(setting.library, LIBRARIES[newest])


@dataclass(frozen=True, kw_only=True)
class StepRules:
    """`StepLibrary` row by row, and ``widened``: 16-bit words that are widened before the product."""

    gated_launches: NDArray[np.float64]
    thin_columns: NDArray[np.float64]
    one_tile_a_core: NDArray[np.bool_]
    slow_narrow: NDArray[np.bool_]
    widened: NDArray[np.bool_]

    @classmethod
    def of(cls, settings: Settings) -> StepRules:
        """The rules of every row."""
        rules, row = [step_library(setting) for setting in settings.distinct], settings.row
        return cls(
            gated_launches=np.array([float(rule.gated_launches) for rule in rules])[row],
            thin_columns=np.array([float(rule.thin_columns) for rule in rules])[row],
            one_tile_a_core=np.array([rule.one_tile_a_core for rule in rules])[row],
            slow_narrow=np.array([rule.slow_narrow for rule in rules])[row],
            widened=np.array([setting.precision == "fp16_in_fp32_math" for setting in settings.distinct])[row],
        )

    def launches(self, gates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Kernels of one step that wait for each other."""
        return np.where(gates > 1.0, self.gated_launches, float(UNGATED_LAUNCHES))
