"""The fitted constants of the libraries' cost model as shipped: what prices a step's messages.

The collective calibration (`simulator/data/collective_calibrations`) also holds the record of validation, which no
price needs; `simulator.collective_calibration` reads all of it.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from hwmodels.datafile import read_toml

from ..kernels.kernel_constants import KernelConstants
from .library_specs import SPECS


@cache
def library_constants(name: str = "default") -> KernelConstants:
    """Constants from a collective calibration that ships."""
    path = files("simulator") / "data" / "collective_calibrations" / f"{name}.toml"
    fitted = read_toml(str(path)).data.get("deviations", {})
    return KernelConstants(specs=SPECS, deviations={key: float(value) for key, value in fitted.items()})
