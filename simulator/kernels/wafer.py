"""Seconds on a wafer of cores that pass words to their neighbours (Cerebras).

Two ways to run a network. *Pipelined*: every layer has a strip of the wafer, wide enough for its share of the products
and for its weights and activations; samples flow from strip to strip. *Streamed*: one layer at a time has the whole
wafer, its weights arrive from outside and start products as they arrive, activations stay on the wafer. Both skip
products whose weight is zero.

Left out: contention on the fabric, the shape of strips beyond their area, host input, redundant cores, several wafers.
What holds whatever the constants: the products that are left at the peak, and streamed weights at the external rate.

No measured row stands behind this model: `MEASURED_ROWS` is 0, and whatever prints its figures must say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hwmodels.chip import Chip

from .gemm import GemmShapes
from .kernel_constants import KernelSpec
from .kernel_time import KernelTime
from .optable import Floats
from .settings import Setting, Settings

Values = Mapping[str, Floats]

#: Rows of measured tables that this model was fitted on or scored by.
MEASURED_ROWS: Final = 0

_SPECS: Final = (
    KernelSpec(
        name="wafer_rate", unit="1", prior=0.7, low=0.2, high=1.0, spread=0.4,
        meaning="of a core's peak while it has operands",
    ),
    KernelSpec(
        name="wafer_external_fraction", unit="1", prior=0.85, low=0.3, high=1.0, spread=0.2,
        meaning="of the nominal rate of the links from outside",
    ),
    KernelSpec(
        name="wafer_step_s", unit="s", prior=5e-6, low=2e-7, high=1e-4, spread=0.7,
        meaning="to turn the whole wafer to another layer",
    ),
)  # fmt: skip
SPECS: Final[Mapping[str, KernelSpec]] = {spec.name: spec for spec in _SPECS}

#: Links of a core: four neighbours, both directions.
LINKS_OF_A_CORE: Final = 8.0
#: Cuts of m, and of k, over the grid of cores; the rest shares n.
ROW_CUTS: Final = (1, 4, 16, 64, 128, 256, 512, 1024)
DEPTH_CUTS: Final = (1, 4, 16, 64, 256, 1024)
#: A streamed weight that may be zero carries its position.
INDEX_BYTE: Final = 2.0


class WaferError(ValueError):
    """Work that a wafer cannot hold."""


def harvest(density: Floats, sparse_multiplier: Floats | float) -> Floats:
    """Share of the products that are left when zeros are skipped, max(density, 1 / multiplier).

    ``density`` is the share of products without a zero weight, in (0, 1]; below 1 / multiplier a core waits for the
    next nonzero. shape as ``density``.
    """
    if not np.all((density > 0.0) & (density <= 1.0)):
        raise WaferError(f"density is {np.asarray(density).tolist()!r}; each above 0 and at most 1.")
    return np.asarray(np.maximum(density, 1.0 / sparse_multiplier))


@dataclass(frozen=True, kw_only=True)
class WaferLayers:
    """Layers in their order, each field of shape (layers,): products and sums of one sample [FLOP], weights [B],
    activations of one sample that stay until it has passed (all passes) [B], what one sample hands to the next layer
    [B], and the share of weights that are not zero."""

    flop: Floats
    weight_byte: Floats
    activation_byte: Floats
    output_byte: Floats
    density: Floats

    def __post_init__(self) -> None:
        counts = {field.name: len(getattr(self, field.name)) for field in fields(self)}
        if len(set(counts.values())) != 1 or 0 in counts.values():
            raise WaferError(f"WaferLayers: fields differ in length, or are empty: {counts}.")
        if np.any(self.flop <= 0.0):
            raise WaferError(
                "WaferLayers: every layer needs flop above 0; add a layer without products to its neighbour."
            )


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """A network laid out on the wafer.

    ``cores`` of each layer, its seconds for a sample (``stage_s``), and the seconds that its outgoing edge takes beside
    them (``edge_s``); all of shape (layers,). ``bound_s`` [s] is the least time between samples.
    """

    cores: NDArray[np.int64]
    stage_s: Floats
    edge_s: Floats
    bound_s: float

    @property
    def interval_s(self) -> float:
        """Between two samples in the steady state: the slowest stage."""
        return float(np.max(self.stage_s))

    @property
    def latency_s(self) -> float:
        """Of one sample through the empty pipeline."""
        return float(np.sum(self.stage_s))

    def total_s(self, samples: int) -> float:
        """All samples, filling and draining included: sum of stages + (samples - 1) x the slowest."""
        return self.latency_s + (samples - 1) * self.interval_s


def place(work: Floats, least: NDArray[np.int64], cores: int) -> NDArray[np.int64]:
    """Cores of every layer so that the largest work / cores is smallest; shape (layers,).

    .. math:: \\min_c \\max_i w_i / c_i, \\quad c_i \\ge c_i^{least}, \\quad \\sum c_i \\le C, \\quad c_i \\text{ whole}

    Bisects the bottleneck tau: c_i = max(least, ceil(w_i / tau)) is the fewest cores that reach it.

    Raises
    ------
    WaferError
        If the least areas alone do not fit.
    """
    least = np.maximum(least, 1)
    if int(least.sum()) > cores:
        raise WaferError(
            f"the layers need at least {int(least.sum()):,} cores for their memory; the wafer has {cores:,}. "
            "Stream the weights instead, or use a smaller batch."
        )
    low, high = float(np.max(work)) / cores, float(np.max(work / least))
    for _ in range(200):
        middle = 0.5 * (low + high)
        if not low < middle < high:
            break
        if int(np.maximum(least, np.ceil(work / middle)).sum()) <= cores:
            high = middle
        else:
            low = middle
    return np.asarray(np.maximum(least, np.ceil(work / high * (1.0 - 1e-12))), dtype=np.int64)


def core_byte(chip: Chip) -> float:
    """Memory of one core [B]."""
    return chip.memory_byte / chip.cores


def link_byte_per_s(chip: Chip) -> float:
    """One link between neighbours, one direction [B/s]."""
    if chip.fabric_bandwidth_byte_per_s is None:
        raise WaferError(f"chip {chip.id!r} has no fabric_bandwidth_byte_per_s; its links cannot be priced.")
    return chip.fabric_bandwidth_byte_per_s / (chip.cores * LINKS_OF_A_CORE)


def _require_wafer(setting: Setting) -> Chip:
    if setting.chip.kind != "wafer":
        raise WaferError(f"chip {setting.chip.id!r} is of kind {setting.chip.kind}; this model is for wafer.")
    return setting.chip


def pipeline(layers: WaferLayers, setting: Setting, *, rate: float, usable: float = 0.9) -> Pipeline:
    """Lay a network out in strips and time its stages.

    .. math:: t_i = \\max \\left( \\frac{F_i h_i}{c_i P_{core} r}, \\frac{O_i}{\\sqrt{C} \\beta_{link}} \\right)

    h_i from `harvest`; a strip hands its result over an edge as long as the wafer is high, sqrt(C) links. Area by
    products, but at least so many cores that ``usable`` of their memory holds the weights (a zero takes none, its
    neighbour an index) and the activations of the samples under way: stage i of L holds L - i + 1 of them.
    """
    chip = _require_wafer(setting)
    left = harvest(layers.density, chip.sparse_multiplier)
    count = len(layers.flop)
    under_way = np.arange(count, 0, -1, dtype=np.float64)
    held = stored_weight_byte(layers, setting.element_byte) + layers.activation_byte * under_way
    least = np.ceil(held / (core_byte(chip) * usable)).astype(np.int64)
    work = layers.flop * left
    cores = place(work, least, chip.cores)
    peak = setting.peak_flop_per_s / chip.cores
    edge = layers.output_byte / (np.sqrt(chip.cores) * link_byte_per_s(chip))
    bound = max(float(work.sum()) / setting.peak_flop_per_s, float(edge.max()))
    return Pipeline(cores=cores, stage_s=np.maximum(work / (cores * peak * rate), edge), edge_s=edge, bound_s=bound)


def stored_weight_byte(layers: WaferLayers, element_byte: float) -> Floats:
    """Bytes of the nonzero weights, an index beside each, at most what the dense ones take; shape (layers,)."""
    sparse = layers.weight_byte * layers.density * (1.0 + INDEX_BYTE / element_byte)
    return np.asarray(np.where(layers.density < 1.0, np.minimum(sparse, layers.weight_byte), layers.weight_byte))


@dataclass(frozen=True, kw_only=True)
class Streamed:
    """A network run layer by layer: seconds of each layer's products, and of its weights' way in; shape (layers,)."""

    compute_s: Floats
    stream_s: Floats
    step_s: float
    bound_s: float

    @property
    def total_s(self) -> float:
        """Weights start products as they arrive: sum over layers of max(products, weights) + the turn of the wafer."""
        return float(np.sum(np.maximum(self.compute_s, self.stream_s) + self.step_s))


def streamed(
    layers: WaferLayers, setting: Setting, *, batch: int, values: Mapping[str, float], training: bool = False
) -> Streamed:
    """One pass (``training``: forward and backward) of a batch with weights from outside.

    .. math:: T = \\sum_i \\max \\left( \\frac{B F_i h_i}{P r}, \\frac{W_i}{\\beta} \\right) + t_{step}

    ``flop`` and ``activation_byte`` of the layers are those of the passes asked for. Training brings the weights in
    twice and sends as many gradients out on the other direction of the same links, beside the second time.

    Raises
    ------
    WaferError
        If the activations (of all layers in training, of two neighbours otherwise) do not fit on the wafer.
    """
    chip = _require_wafer(setting)
    held = layers.activation_byte * batch
    padded = np.append(held, 0.0)
    need = float(held.sum() if training else (padded[:-1] + padded[1:]).max())
    if need > chip.memory_byte:
        raise WaferError(
            f"activations of {batch} samples take {need:.3g} byte; {chip.id} holds {chip.memory_byte:.3g}. "
            "Use a smaller batch, or recompute activations."
        )
    external = chip.far_memory_bandwidth_byte_per_s or chip.host_bandwidth_byte_per_s
    if external is None:
        raise WaferError(f"chip {chip.id!r} has neither far memory nor a host link; weights cannot stream.")
    work = batch * layers.flop * harvest(layers.density, chip.sparse_multiplier)
    byte = stored_weight_byte(layers, setting.element_byte) * (2.0 if training else 1.0)
    bound = max(float(work.sum()) / setting.peak_flop_per_s, float(byte.sum()) / external)
    return Streamed(
        compute_s=work / (setting.peak_flop_per_s * values["wafer_rate"]),
        stream_s=byte / (external * values["wafer_external_fraction"]),
        step_s=values["wafer_step_s"],
        bound_s=bound,
    )


def wafer_gemm_time(
    x: GemmShapes, settings: Settings, values: Values, *, density: Floats | None = None, weights_stream: bool = False
) -> KernelTime:
    """Device time of C[m, n] = A[m, k] B[k, n], batch times, each on the whole wafer, B the weights.

    .. math:: t = t_{step} + t_{chain} + \\max \\left( t_{stream},
              \\frac{2 \\lceil m / p \\rceil \\lceil n / q \\rceil_v \\lceil k / s \\rceil h} {P_{core} r} \\right)

    over grids p q s <= C; n in whole vectors v of a core. Partial sums of s cores pass along a chain, as fast as a link
    takes words and one clock a hop.
    """
    distinct = settings.distinct
    chips = [_require_wafer(setting) for setting in distinct]
    share = np.ones(x.rows) if density is None else density
    left = harvest(share, np.array([chip.sparse_multiplier for chip in chips])[settings.row])
    core_peak = settings.peak_flop_per_s / settings.cores
    vector = np.maximum(np.rint(core_peak / (2.0 * settings.clock_hz)), 1.0)
    link = np.array([link_byte_per_s(chip) for chip in chips])[settings.row]
    flop = 2.0 * x.batch * x.m * x.n * x.k
    best, busy, chain = (np.full(x.rows, np.inf) for _ in range(3))
    for cut_k in DEPTH_CUTS:
        for cut_m in ROW_CUTS:
            cut_n = np.floor(settings.cores / (cut_m * cut_k))
            legal = (cut_n >= 1.0) & (cut_m <= x.m) & (cut_k <= x.k)
            rows, depth = np.ceil(x.m / cut_m), np.ceil(x.k / cut_k)
            columns = np.ceil(np.ceil(x.n / np.maximum(cut_n, 1.0)) / vector) * vector
            own = 2.0 * x.batch * rows * columns * depth * left / core_peak
            hops = cut_k / settings.clock_hz + rows * columns * 4.0 / link if cut_k > 1 else np.zeros(x.rows)
            total = np.where(legal, own / values["wafer_rate"] + x.batch * hops, np.inf)
            better = total < best
            best = np.where(better, total, best)
            busy, chain = np.where(better, own, busy), np.where(better, x.batch * hops, chain)
    useful = flop * left / settings.peak_flop_per_s
    busy = np.maximum(busy, useful)
    core = busy / values["wafer_rate"]
    stream = np.zeros(x.rows)
    byte = np.zeros(x.rows)
    if weights_stream:
        rates = [chip.far_memory_bandwidth_byte_per_s or chip.host_bandwidth_byte_per_s or 0.0 for chip in chips]
        if min(rates) <= 0.0:
            raise WaferError(f"chip {chips[int(np.argmin(rates))].id!r} has no external link; weights cannot stream.")
        size = settings.element_byte
        dense = x.batch * x.k * x.n * size
        byte = np.where(share < 1.0, np.minimum(dense, dense * share * (1.0 + INDEX_BYTE / size)), dense)
        stream = byte / np.array(rates)[settings.row]
    waiting = stream / values["wafer_external_fraction"]
    step = np.array(values["wafer_step_s"], dtype=np.float64)
    return KernelTime(
        device_s=np.maximum(core, waiting) + chain + step,
        bound_s=np.maximum(useful, stream),
        flop=flop * left,
        dram_byte=byte,
        cache_byte=np.zeros(x.rows),
        parts={
            "arithmetic": flop / settings.peak_flop_per_s,
            "algorithm": useful - flop / settings.peak_flop_per_s,
            "padding": busy - useful,
            "library": core - busy,
            "memory": np.maximum(core, waiting) - core,
            "steps": chain,
            "ramp": step,
        },
    )
