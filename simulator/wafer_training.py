"""A network trained on a wafer one sample at a time: layers as stages of pipelined back-propagation.

Every layer has its own cores and keeps its weights beside them; samples follow each other, and each updates the weights
as it comes back. No measured row stands behind it: `simulator.kernels.wafer.MEASURED_ROWS` is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from hwmodels.chip import Chip
from workloads.layer import COUNTED_KINDS
from workloads.op import Op
from workloads.workload import Workload

from .kernels.device_constants import device_constants
from .kernels.optable import Floats
from .kernels.settings import Setting, Settings
from .kernels.wafer import MEASURED_ROWS, WaferError, WaferLayers, pipeline
from .schedules import fine_grained

#: A weight and its momentum stay with the layer.
WORDS_OF_A_PARAMETER: Final = 2.0
#: Forward, the gradient of the data, the gradient of the weights.
PASSES: Final = 3.0
#: What `Op.saved_elements` counts in.
_SAVED_BYTE: Final = 2.0


@dataclass(frozen=True, kw_only=True)
class WaferTraining:
    """Training at batch one on a wafer.

    ``samples_per_s`` in the steady state, ``bound_samples_per_s`` that no placement exceeds; ``utilisation`` of the
    peak; ``latency_s`` of one sample there and back through the empty pipeline; ``late_updates`` between a sample's way
    forth and its own update, of every stage, shape (stages,); ``held_share`` of the wafer's memory; ``measured_rows``
    behind the model.
    """

    samples_per_s: float
    bound_samples_per_s: float
    utilisation: float
    latency_s: float
    late_updates: Floats
    held_share: float
    measured_rows: int = MEASURED_ROWS

    @property
    def stages(self) -> int:
        """Layers that run at once."""
        return len(self.late_updates)


def wafer_layers(workload: Workload, *, element_byte: float, density: float = 1.0) -> WaferLayers:
    """The layers of a network with products as stages of a pipeline that trains, in their order.

    Ops without products (normalisation, pooling, loss) go with the one before them, those ahead of the first with it.
    Work is 3 times the forward pass. A stage of p holds the activations of 2 (p - i) - 1 samples
    (`fine_grained.activations_in_flight`) where a pipeline one way holds p - i, which `pipeline` multiplies by: a
    sample's activations are given as so much larger. Leaves out: branches, whose ops are put in a row; that the first
    layer needs no gradient of its data.
    """
    ops = [op for layer in workload.layers for _ in range(layer.repeat) for op in layer.ops]
    stages: list[list[Op]] = [[]]
    for op in ops:
        if op.kind in COUNTED_KINDS and any(o.kind in COUNTED_KINDS for o in stages[-1]):
            stages.append([])
        stages[-1].append(op)
    count = len(stages)
    in_flight = np.array([fine_grained.activations_in_flight(i, count, 1) / (count - i) for i in range(count)])
    if not any(op.kind in COUNTED_KINDS for op in ops):
        raise WaferError(f"{workload.name} has no products to place on a wafer; legal: a network with some.")
    return WaferLayers(
        flop=np.array([PASSES * sum(op.forward_flop for op in stage) for stage in stages], dtype=np.float64),
        weight_byte=np.array([WORDS_OF_A_PARAMETER * element_byte * sum(op.parameters for op in s) for s in stages]),
        activation_byte=in_flight * [_SAVED_BYTE * sum(op.saved_elements for op in stage) for stage in stages],
        output_byte=np.array([element_byte * stage[-1].write_elements for stage in stages], dtype=np.float64),
        density=np.full(count, density),
    )


def train_on_wafer(workload: Workload, chip: Chip, *, precision: str = "fp16", density: float = 1.0) -> WaferTraining:
    """Train a network at batch one on a wafer: every layer a stage, every sample an update.

    A stage's share of the cores follows its products (`kernels.wafer.pipeline`); a sample leaves whenever the slowest
    stage is done. Stage i of p sees its own update 2 (p - 1 - i) samples after the forward pass that it rests on.
    ``density``: share of weights that are not zero. Leaves out what `kernels.wafer` does, and what late updates cost
    in samples.

    Raises
    ------
    WaferError
        For a chip that is no wafer, and for a network that does not fit on it.
    """
    setting = Setting(chip=chip, precision=precision, library="")
    layers = wafer_layers(workload, element_byte=setting.element_byte, density=density)
    rate = float(device_constants()["wafer"].rows(Settings.all_of(setting, 1))["wafer_rate"][0])
    laid = pipeline(layers, setting, rate=rate)
    stages = len(layers.flop)
    under_way = np.arange(stages, 0, -1)
    held = float(layers.weight_byte.sum() + (layers.activation_byte * under_way).sum())
    return WaferTraining(
        samples_per_s=1.0 / laid.interval_s, bound_samples_per_s=1.0 / laid.bound_s,
        utilisation=float(layers.flop.sum()) / laid.interval_s / setting.peak_flop_per_s, latency_s=laid.latency_s,
        late_updates=2.0 * (stages - 1 - np.arange(stages, dtype=np.float64)), held_share=held / chip.memory_byte,
    )  # fmt: skip
