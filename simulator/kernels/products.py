"""Matrix products on any chip: the model of the chip's kind prices them."""

from __future__ import annotations

from collections.abc import Mapping

from .cpu import cpu_gemm_time
from .gemm import GemmShapes
from .gemm_matrix import gemm_matrix_time
from .gemm_vector import gemm_vector_time
from .kernel_constants import KernelConstants
from .kernel_time import KernelTime
from .matrix_units import on_matrix_units
from .settings import Setting, Settings
from .sram import sram_gemm_time
from .systolic import systolic_gemm_time
from .wafer import wafer_gemm_time


def product_time(shapes: GemmShapes, setting: Setting, constants: Mapping[str, KernelConstants]) -> KernelTime:
    """Device time of products of one precision on one chip; ``constants`` as `device_constants` gives them.

    Whether a step's tensors fit is checked for the step as a whole, not here.

    Raises
    ------
    ChipError
        If the chip has no rate for the precision.
    """
    settings = Settings.all_of(setting, shapes.rows)
    kind = setting.chip.kind
    if kind == "gpu":
        values = constants["gemm"].rows(settings)
        model = gemm_matrix_time if on_matrix_units(setting.chip, setting.precision) else gemm_vector_time
        return model(shapes, settings, values)
    values = constants[kind].rows(settings)
    if kind == "cpu":
        return cpu_gemm_time(shapes, settings, values, refuse=False)
    if kind == "systolic":
        return systolic_gemm_time(shapes, settings, values)
    if kind == "sram":
        return sram_gemm_time(shapes, settings, values, refuse=False)
    return wafer_gemm_time(shapes, settings, values)
