"""Recurrent layers: dependent steps of one product each, and weight gradients as one product over all steps.

A step of a layer of ``hidden`` units and ``gates`` gates multiplies the state, [hidden, batch], with the recurrent
weights, [gates hidden, hidden]; the next step waits for it. So its time is latency as much as rate: launches, the walk
along the depth of the product, the weights read again in every step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .kernel_constants import KernelSpec
from .kernel_time import KernelTime
from .optable import Floats, Ints
from .recurrent_library import StepRules
from .recurrent_product import Product, product
from .settings import Settings

FORWARD: Final = 0
BACKWARD_DATA: Final = 1
BACKWARD_WEIGHTS: Final = 2
#: Gates of each kind of cell: blocks of weights and of results of a step.
GATES: Final = {"vanilla": 1.0, "gru": 3.0, "lstm": 4.0}
#: Vector registers of one core [B] (NVIDIA: 64 Ki words of 4 B since Kepler; AMD: 4 x 64 KiB, CDNA twice that;
#: recalled), and the share of them that a kernel that keeps its weights on chip can give to the weights (assumed).
REGISTER_BYTE: Final = {
    "fermi": 131072.0, "kepler": 262144.0, "maxwell": 262144.0, "pascal": 262144.0, "volta": 262144.0,
    "turing": 262144.0, "ampere": 262144.0, "ada": 262144.0, "hopper": 262144.0, "blackwell": 262144.0,
    "gcn": 262144.0, "vega": 262144.0, "cdna": 524288.0, "cdna2": 524288.0, "cdna3": 524288.0, "cdna4": 524288.0,
}  # fmt: skip
PERSISTENT_SHARE: Final = 0.6


def _spec(
    name: str, unit: str, prior: float, low: float, high: float, spread: float, meaning: str, **levels: float
) -> KernelSpec:
    return KernelSpec(
        name=f"recurrent_{name}", unit=unit, prior=prior, low=low, high=high, spread=spread, levels=levels,
        meaning=meaning,
    )  # fmt: skip


SPECS: Final = {
    spec.name: spec
    for spec in (
        _spec("call", "s", 60e-6, 5e-6, 300e-6, 0.5, "set-up of one call of the library", library=0.5),
        _spec("start", "s", 20e-6, 0.5e-6, 200e-6, 0.7, "delay of a call's first steps, on top of launches",
              library=1.0),
        _spec("start_steps", "step", 100.0, 5.0, 1000.0, 0.5, "steps until the delay has halved"),
        _spec("launch", "s", 4e-6, 1e-6, 20e-6, 0.5, "from the end of a kernel to the start of the one that waits"),
        _spec("fma", "1", 0.85, 0.3, 1.0, 0.3, "vector units: rate of a tile's inner loop against peak",
              architecture=0.15, chip=0.08),
        _spec("matrix", "1", 0.5, 0.1, 1.0, 0.3, "matrix units: the same"),
        _spec("depth", "cycle", 40.0, 3.0, 400.0, 0.7, "vector units: latency of one element of depth of a tile",
              architecture=0.5),
        _spec("matrix_depth", "cycle", 20.0, 3.0, 400.0, 0.5, "matrix units: the same"),
        _spec("slow", "1", 2.5, 1.0, 10.0, 0.3, "the same in a kernel that waits for each slice of depth, times"),
        _spec("split", "s", 3e-6, 0.2e-6, 30e-6, 0.5, "adding up the parts of a split depth, per doubling"),
        _spec("load", "byte", 32.0, 4.0, 256.0, 0.5, "bytes a core loads from the shared cache in a cycle"),
        _spec("dram", "1", 0.75, 0.3, 1.0, 0.3, "share of nominal bandwidth at which weights stream",
              architecture=0.15, chip=0.08),
        _spec("reuse", "1", 4.0, 0.5, 30.0, 0.5, "thin kernels: weights, in caches, of which half are read again"),
        _spec("overlap", "1", 3.0, 1.0, 6.0, 0.3, "norm joining arithmetic and memory: 1 the sum, large the maximum",
              architecture=0.3),
    )
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class RecurrentShapes:
    """Calls on recurrent layers; every column has shape (rows,).

    ``direction`` is FORWARD, BACKWARD_DATA or BACKWARD_WEIGHTS. ``width`` is the width of the layer's input, 0 if the
    input is added as it stands (cuDNN's skip mode). ``layers`` of one shape run as a wave: a step of a layer waits for
    the step before and for the layer below. ``persistent``: the library may keep the weights in registers over all
    steps, if they fit.
    """

    direction: Ints
    gates: Floats
    hidden: Floats
    batch: Floats
    timesteps: Floats
    width: Floats
    layers: Floats
    persistent: NDArray[np.bool_]

    @property
    def rows(self) -> int:
        """Number of calls."""
        return len(self.hidden)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> RecurrentShapes:
        """Some of the calls."""
        return RecurrentShapes(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


def recurrent_time(shapes: RecurrentShapes, settings: Settings, values: Mapping[str, Floats]) -> KernelTime:
    """Device time of calls on recurrent layers.

    .. math:: t = t_{call} + (T + L - 1) (t_{product} + t_{point} + n_{launch} t_{launch}) + T t_{start} / (1 + T / T_0)

    with T steps, L layers, the step's product by `recurrent_product.product` (m = gates hidden, k = hidden forward; m =
    hidden, k = gates hidden backward; n = batch), and a point-wise part that moves (3 gates + 3) words a unit: gates
    twice in, once out, and the state. Not more layers run at once than their work allows: the wave is no faster
    than the busy time of all its products. The input of all steps and the gradient of the weights are one product each
    (n or k = batch T; the gradient is added to what is there: read and written once).

    Notes
    -----
    Left out: dropout between layers, padding of ragged batches, bidirectional layers (two calls), the transpose of the
    weights before a call.
    """
    rules = StepRules.of(settings)
    forward, gradient = shapes.direction == FORWARD, shapes.direction == BACKWARD_WEIGHTS
    wide, step_count = shapes.gates * shapes.hidden, shapes.timesteps
    element, peak = settings.element_byte, settings.peak_flop_per_s
    bandwidth = settings.dram_byte_per_s * values["recurrent_dram"]

    columns = shapes.batch * np.where(gradient, step_count, 1.0)
    main = product(
        m=np.where(forward | gradient, wide, shapes.hidden),
        n=np.where(gradient, shapes.hidden, columns),
        k=np.where(gradient, columns, np.where(forward, shapes.hidden, wide)),
        forward=forward, step=~gradient, resident=_resident(shapes, settings), rules=rules, settings=settings,
        values=values,
    )  # fmt: skip
    # A kernel that keeps its weights crosses one barrier of all cores a step, about the cost of a launch.
    # A wave of layers: its length in steps, and how often the product's busy time must be paid at least.
    waves = np.where(gradient, shapes.layers, step_count + shapes.layers - 1.0)
    repeats = np.where(gradient, 1.0, step_count) * shapes.layers
    crowd = np.maximum(repeats * main.busy_s - waves * main.seconds, 0.0)

    point_byte = (3.0 * shapes.gates + 3.0) * shapes.hidden * shapes.batch * element
    update_byte = 2.0 * wide * shapes.hidden * element
    moved_byte = np.where(gradient, update_byte, point_byte)
    moved_s = np.where(gradient, repeats, waves) * moved_byte / bandwidth
    launches = np.where(main.resident, 1.0, rules.launches(shapes.gates))
    start_s = values["recurrent_start"] / (1.0 + step_count / values["recurrent_start_steps"])
    waited_s = waves * launches * values["recurrent_launch"] + step_count * np.where(main.resident, 0.0, start_s)
    steps_s = np.where(gradient, 0.0, waited_s) + waves * main.split_s
    call_s = values["recurrent_call"]

    entry = _input_product(shapes, settings, values, rules)
    flop = 2.0 * wide * shapes.hidden * shapes.batch * step_count * shapes.layers + entry.flop
    dram_byte = repeats * (main.dram_byte + moved_byte) + entry.dram_byte
    # Weights that fit the caches and registers need not come from memory again.
    held = settings.l2_byte + settings.on_chip_byte
    least_byte = np.where(gradient, moved_byte, main.weight_byte) - held
    bound_s = np.maximum(flop / peak, repeats * np.maximum(least_byte, 0.0) / settings.dram_byte_per_s)
    bound_s = np.where(main.resident, flop / peak, bound_s)

    arithmetic = flop / peak
    parts = {
        "padding": waves * main.padding_s + entry.padding_s,
        "waves": waves * main.waves_s + entry.waves_s,
        "library": waves * main.library_s + entry.library_s,
        "depth": waves * main.depth_s + entry.depth_s,
        "memory": waves * main.memory_s + moved_s + entry.memory_s,
        "steps": steps_s + entry.split_s,
        "ramp": call_s,
    }
    seconds = waves * main.seconds + crowd + moved_s + steps_s + call_s + entry.seconds + entry.split_s
    device_s = np.maximum(seconds, bound_s)
    # What a wave of layers hides of the arithmetic, or pays on top of it, counts as the algorithm's.
    return KernelTime(
        device_s=device_s,
        bound_s=bound_s,
        flop=flop,
        dram_byte=dram_byte,
        cache_byte=repeats * main.cache_byte + entry.cache_byte,
        parts={"arithmetic": arithmetic, "algorithm": device_s - arithmetic - sum(parts.values()), **parts},
        algorithm=main.algorithm(),
    )


def _resident(shapes: RecurrentShapes, settings: Settings) -> NDArray[np.bool_]:
    """Whether the weights of all layers stay in registers over all steps."""
    room = np.array([s.chip.cores * REGISTER_BYTE.get(s.chip.architecture, 0.0) for s in settings.distinct])
    weights = shapes.layers * shapes.gates * shapes.hidden**2 * settings.element_byte
    fits: NDArray[np.bool_] = weights <= PERSISTENT_SHARE * room[settings.row]
    return np.asarray(shapes.persistent & fits & (shapes.direction != BACKWARD_WEIGHTS))


def _input_product(
    shapes: RecurrentShapes, settings: Settings, values: Mapping[str, Floats], rules: StepRules
) -> Product:
    """The product of the inputs of all steps and layers at once, in the direction of the call; zero without one."""
    if not np.any(shapes.width > 0):
        return Product.nothing(shapes.rows)
    wide, columns = shapes.gates * shapes.hidden, shapes.batch * shapes.timesteps
    forward, gradient = shapes.direction == FORWARD, shapes.direction == BACKWARD_WEIGHTS
    total = Product.nothing(shapes.rows)
    for width, times in ((shapes.width, 1.0), (shapes.hidden, shapes.layers - 1.0)):
        inner = np.maximum(width, 1.0)
        one = product(
            m=np.where(forward | gradient, wide, inner),
            n=np.where(gradient, inner, columns),
            k=np.where(gradient, columns, np.where(forward, inner, wide)),
            forward=forward, step=np.zeros(shapes.rows, bool), resident=np.zeros(shapes.rows, bool), rules=rules,
            settings=settings, values=values,
        )  # fmt: skip
        total = total.plus(one, np.where(shapes.width > 0, times, 0.0))
    return total
