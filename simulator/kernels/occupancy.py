"""Bytes that a GPU's cores can keep on their way: what bounds element-wise kernels beside DRAM itself.

Little's law: a core that holds T threads with v elements of e bytes each on their way, over a latency of L clocks,
moves T v e / L bytes a clock. Fast memories want more than that (27 bytes a clock of every core of a B200, 10 of an
A100, 3 of an RTX 4090), 16-bit elements keep half as many bytes on their way as fp32, and cores that hold fewer threads
fewer of both.
"""

from __future__ import annotations

from typing import Final

from hwmodels.chip import Chip

#: Threads that most cores hold (CUDA C++ Programming Guide, table of compute capabilities: 3.x to 7.0, 8.0, 9.0, 10.0).
THREADS: Final = 2048.0
#: Those of other cores: compute capabilities 7.5, 8.6 and 8.9 of the same table. Ampere's 8.0 are `LARGE_AMPERE`.
OTHER_THREADS: Final = {"turing": 1024.0, "ampere": 1536.0, "ada": 1536.0}
LARGE_AMPERE: Final = ("a100-", "a800-", "a30")


def resident_threads(chip: Chip) -> float:
    """Threads that one core of a GPU holds."""
    if chip.id.startswith(LARGE_AMPERE):
        return THREADS
    return OTHER_THREADS.get(chip.architecture, THREADS)


def in_flight_byte_per_s(chip: Chip, *, element_byte: float, elements_per_clock: float) -> float:
    """Rate at which all cores of a GPU can have elements on their way [B/s]; infinite on other chips.

    .. math:: r = N f \\, \\kappa e \\, T / 2048

    with N cores at clock f, ``elements_per_clock`` kappa of a core of 2,048 threads and T threads of this one. Leaves
    out: caches, and kernels with too few elements to fill the cores.
    """
    if chip.kind != "gpu":
        return float("inf")
    threads = resident_threads(chip) / THREADS
    return chip.cores * chip.clock_hz * elements_per_clock * element_byte * threads
