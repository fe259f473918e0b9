"""The kernel models of `simulator.kernels` on one machine: how far its constants lie from those of the chip's kin.

Every constant is fitted as a factor on what ships for the chip, so that differences by precision, library and unit stay
as they are; the logarithm of the factor is the deviation "name@chip=ID" that a calibration file holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from hwmodels.chip import Chip

from ..calibration.kernel_fit import Values
from ..kernels.device_constants import shipped_device_constants
from ..kernels.kernel_constants import KernelSpec, key_of
from ..kernels.optable import Floats
from ..kernels.settings import Setting, Settings, library_word, silicon
from ..validation.kernel_suites import FAMILIES
from .fitting import Law, LawFit, fit_law
from .laws import roofline_of
from .observations import Observation

#: Families by kind of chip, and the probe's suites that each reads.
FAMILIES_OF: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "cpu": {"cpu": ("gemm", "convolution")},
    "gpu": {"gemm": ("gemm",), "conv": ("convolution",), "attention": ("attention",)},
}


def family_law(family: str, rows: Sequence[Observation], chip: Chip) -> Law:
    """The law of a family on a chip. ``rows`` have a row of measured kernels and a precision that the chip has."""
    entry, shipped = FAMILIES[family], shipped_device_constants()[family]
    settings = Settings.of(
        [Setting(chip=chip, precision=o.precision, library=library_word(o.row.get("library", ""))) for o in rows]
    )
    base = shipped.rows(settings)
    shapes = entry.read([o.row for o in rows])
    specs = {name: _factor(spec, base[name]) for name, spec in shipped.specs.items()}

    def seconds(v: Values) -> Floats:
        values = {
            name: np.clip(base[name] * v[name], spec.low, spec.high) for name, spec in shipped.specs.items()
        }  # fmt: skip
        return entry.time(shapes, settings, values).device_s

    suites = ",".join(FAMILIES_OF[chip.kind][family])
    return Law(
        name=family, specs=specs, seconds=seconds, settings=settings, observations=rows,
        yardstick_s=roofline_of(rows, chip), needed=f"--suites {suites}",
    )  # fmt: skip


def _factor(spec: KernelSpec, base: Floats) -> KernelSpec:
    """A factor on a constant: 1 before anything was measured, with the spread of all levels it may vary on."""
    spread = math.sqrt(spec.spread**2 + sum(s**2 for s in spec.levels.values()))
    low, high = min(1.0, spec.low / float(np.max(base))), max(1.0, spec.high / float(np.min(base)))
    return replace(spec, prior=1.0, low=low, high=high, spread=spread, levels={}, unit="1")


def fitted_families(observations: Sequence[Observation], chip: Chip) -> dict[str, LawFit]:
    """The fit of every family that has rows."""
    found = {}
    for family, suites in FAMILIES_OF[chip.kind].items():
        rows = [o for o in observations if o.suite in suites and o.row and o.precision in chip.peak_flop_per_s]
        if rows:
            found[family] = fit_law(family_law(family, rows, chip))
    return found


def deviations_of(fits: Mapping[str, LawFit], chip: Chip) -> dict[str, dict[str, float]]:
    """Deviations of the chip by family and key, those that the data determined."""
    return {
        family: {
            key_of(name, "chip", silicon(chip)): float(f"{math.log(c.value):.5g}")
            for name, c in fit.constants.items()
            if c.determined and abs(math.log(c.value)) > 5e-4
        }
        for family, fit in fits.items()
    }
