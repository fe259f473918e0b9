"""The device constants of the kernel models as shipped: what prices a step's kernels.

The kernel calibration (`simulator/data/kernel_calibrations`) also holds what belongs to measuring suites (event floors,
cooling of a test bench); none of that enters a step, so only the constants of the device models are read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Final

from hwmodels.datafile import read_toml, user_folders

from ..measured_constants import measured_constants
from . import attention, conv, cpu_conv, matrix_units, recurrent, sram, systolic, vector_units, wafer
from .kernel_constants import KernelConstants, KernelSpec

#: Constants of the device models, by the family of the calibration file that fits them; families without measured rows
#: keep their priors.
DEVICE_SPECS: Final[Mapping[str, Mapping[str, KernelSpec]]] = {
    "gemm": {**vector_units.SPECS, **matrix_units.SPECS},
    "conv": conv.SPECS,
    "attention": attention.SPECS,
    "recurrent": recurrent.SPECS,
    "cpu": cpu_conv.SPECS,
    "systolic": systolic.SPECS,
    "sram": sram.SPECS,
    "wafer": wafer.SPECS,
}


def device_constants(name: str = "default") -> Mapping[str, KernelConstants]:
    """Constants of every device model from a kernel calibration that ships, with what the user measured."""
    return _device_constants(name, user_folders())


@cache
def _device_constants(name: str, folders: tuple[str, ...]) -> Mapping[str, KernelConstants]:
    measured = measured_constants().deviations
    return {
        family: with_measured(own, measured.get(family, {})) for family, own in shipped_device_constants(name).items()
    }


@cache
def shipped_device_constants(name: str = "default") -> Mapping[str, KernelConstants]:
    """The same without what the user measured."""
    path = files("simulator") / "data" / "kernel_calibrations" / f"{name}.toml"
    fitted = read_toml(str(path)).data.get("deviations", {})
    return {
        family: KernelConstants(
            specs=specs,
            deviations={k: float(v) for k, v in fitted.get(family, {}).items() if k.partition("@")[0] in specs},
        )
        for family, specs in DEVICE_SPECS.items()
    }


def with_measured(constants: KernelConstants, measured: Mapping[str, float]) -> KernelConstants:
    """Constants with deviations of single chips that the user measured, beside whatever else deviates."""
    mine = {key: value for key, value in measured.items() if key.partition("@")[0] in constants.specs}
    if not mine:
        return constants
    touched = {key.partition("@")[0] for key in mine}
    specs = {
        name: replace(spec, levels={**spec.levels, "chip": spec.levels.get("chip", spec.spread)})
        if name in touched
        else spec
        for name, spec in constants.specs.items()
    }
    both = {key: constants.deviations.get(key, 0.0) + value for key, value in mine.items()}
    return KernelConstants(specs=specs, deviations={**constants.deviations, **both})
