"""What a kernel model answers: seconds, where they go, and the bound that holds whatever was fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from .optable import Floats

#: Where the time of a kernel goes, in the order in which a report adds them up. "arithmetic" is the useful work at the
#: chip's peak; "algorithm" what the chosen algorithm saves (negative: Winograd) or adds; "padding" ragged tiles;
#: "waves" cores without a tile; "depth" filling and draining the pipelines along k; "clock" the clock that the board's
#: power allows; "library" what the vendor's kernels miss of the rest; "memory" waiting for bytes beyond the arithmetic;
#: "steps" the dependent steps of one call (recurrences, passes, synchronisation); "ramp" the start of the kernel.
PARTS: Final = (
    "arithmetic", "algorithm", "padding", "waves", "depth", "clock", "library", "memory", "steps", "ramp",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class KernelTime:
    """Device time of kernels; every array has shape (rows,).

    ``bound_s`` [s] is below ``device_s`` whatever the constants: the chosen algorithm's FLOPs at the highest clock and
    peak rate, and the bytes at the nominal rate of the level that serves them. ``flop`` [FLOP] is what the chosen
    algorithm executes, ``dram_byte`` and ``cache_byte`` [B] what it moves at each level. ``parts`` [s] are out of
    `PARTS` and add up to ``device_s``; a part that a model does not know is absent. ``algorithm`` names the choice of
    each row where there is one.
    """

    device_s: Floats
    bound_s: Floats
    flop: Floats
    dram_byte: Floats
    cache_byte: Floats
    parts: Mapping[str, Floats]
    algorithm: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        unknown = [name for name in self.parts if name not in PARTS]
        if unknown:
            raise ValueError(f"KernelTime: parts {', '.join(unknown)} are not out of {', '.join(PARTS)}.")

    @property
    def rows(self) -> int:
        """Number of kernels."""
        return len(self.device_s)

    def largest_part(self) -> tuple[str, ...]:
        """For each row the part that takes longest."""
        names = [name for name in PARTS if name in self.parts]
        table = np.stack([self.parts[name] for name in names])
        return tuple(names[i] for i in np.argmax(table, axis=0))
