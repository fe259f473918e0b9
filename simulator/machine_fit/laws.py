"""What a step is priced with beyond products: element-wise work, attention on a CPU, updates, tables.

The formulas are those of `kernels.price` and `pricing`, so that a fitted constant means there what it means here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from hwmodels.chip import Chip

from ..calibration.kernel_fit import Values
from ..kernels.gemm import GemmShapes
from ..kernels.kernel_constants import KernelConstants, KernelSpec
from ..kernels.optable import Floats
from ..kernels.price import cached_share
from ..kernels.products import product_time
from ..kernels.settings import Setting
from .fitting import Alike, Law
from .observations import Observation


def _spec(name: str, unit: str, prior: float, low: float, high: float, spread: float, meaning: str) -> KernelSpec:
    return KernelSpec(name=name, unit=unit, prior=prior, low=low, high=high, spread=spread, meaning=meaning)


#: Ranges are those that one machine may have: wider than those of `constants.SPECS`, which many runs share.
SPECS: Final[Mapping[str, KernelSpec]] = {
    spec.name: spec
    for spec in (
        _spec("memory_fraction", "1", 0.8, 0.02, 1.5, 0.7, "share of the memory bandwidth that large kernels sustain"),
        _spec("kernel_ramp_s", "s", 3e-6, 1e-7, 1e-3, 1.0, "time of an operator that moves next to nothing"),
        _spec("cached_byte", "B", 3e7, 1e4, 1e10, 1.5, "working set up to which it is fast (caches, the allocator)"),
        _spec("cache_speed", "1", 3.0, 1.0, 60.0, 0.8, "how much faster it is there"),
        _spec("narrow_element", "1", 1.0, 0.1, 10.0, 0.7, "time of an element's arithmetic in 16 bit against fp32"),
        _spec("attention_fraction", "1", 0.6, 0.005, 1.5, 0.8, "rate of attention's products forward, of the peak"),
        _spec("attention_backward_fraction", "1", 0.4, 0.005, 1.5, 0.8, "the same, backward"),
        _spec("pair_s", "s", 5e-10, 1e-12, 1e-6, 1.5, "time of one pair of query and key beside its products, forward"),
        _spec("pair_backward_s", "s", 5e-10, 1e-12, 1e-6, 1.5, "the same, backward"),
        _spec("head_s", "s", 2e-6, 1e-9, 1e-3, 1.5, "time of one head of one sample"),
        _spec("conv_fraction", "1", 0.7, 0.01, 3.0, 0.6, "rate of convolutions against products of their extents"),
        _spec("thin_conv_fraction", "1", 0.1, 0.001, 1.5, 1.0, "rate of multiply-adds of depth-wise convolutions"),
        _spec("thin_conv_traffic", "1", 2.0, 0.2, 50.0, 0.7, "bytes of such convolutions, against each tensor once"),
        _spec("optimizer_traffic", "1", 1.2, 0.02, 20.0, 0.8, "bytes of an update against the optimizer's own words"),
        _spec("tensor_s", "s", 1e-5, 1e-7, 1e-3, 1.0, "time of an update for each tensor"),
        _spec("embedding_traffic", "1", 1.5, 0.02, 30.0, 0.8, "bytes of rows looked up, against each once"),
        _spec("embedding_backward_traffic", "1", 1.5, 0.02, 30.0, 0.8, "bytes of a table's gradient, against its own"),
        _spec("host_s", "s", 1e-5, 1e-7, 1e-3, 1.0, "time of the host to issue one operator of a training step"),
        _spec("call_start_s", "s", 1e-5, 1e-7, 1e-2, 1.0, "what a chain of operators takes besides"),
    )
}  # fmt: skip
#: Operators that do no more with an element than move it.
PLAIN: Final = ("add", "mul", "div", "relu", "relu_bwd")


def _named(*names: str) -> dict[str, KernelSpec]:
    return {name: SPECS[name] for name in names}


def _column(rows: Sequence[Observation], read: Callable[[Observation], float]) -> Floats:
    return np.array([read(o) for o in rows], dtype=np.float64)


def roofline_of(rows: Sequence[Observation], chip: Chip) -> Floats:
    """Seconds of the bare roofline, max(F / P, B / beta); shape (rows,)."""
    peak = _column(rows, lambda o: chip.peak_flop_per_s.get(o.precision, chip.peak_flop_per_s["fp32"]))
    flop, byte = _column(rows, lambda o: o.flop), _column(rows, lambda o: o.byte)
    return np.asarray(np.maximum(np.maximum(flop / peak, byte / chip.memory_bandwidth_byte_per_s), 1e-9))


def law(
    name: str, rows: Sequence[Observation], chip: Chip, specs: Mapping[str, KernelSpec],
    seconds: Callable[[Values], Floats], needed: str,
) -> Law:  # fmt: skip
    """A law of this machine over some rows."""
    return Law(
        name=name, specs=specs, seconds=seconds, observations=rows, needed=needed,
        settings=Alike(len(rows)), yardstick_s=roofline_of(rows, chip),
    )  # fmt: skip


def moved_s(byte: Floats, rate: float, v: Values) -> Floats:
    """Seconds to move bytes: near ones fast, far ones at the memory's share.

    .. math:: t = \frac{B}{\beta f} \\left( 1 - h (1 - 1 / c) \right)

    with the share h of `kernels.price.cached_share`, c times as fast as the rest; without the two constants all is far.
    """
    t = byte / (rate * v["memory_fraction"])
    if "cached_byte" in v:
        t = t * (1.0 - cached_share(byte, v["cached_byte"]) * (1.0 - 1.0 / v["cache_speed"]))
    return np.asarray(t)


def vector_law(rows: Sequence[Observation], chip: Chip) -> Law:
    """Element-wise work: t = t_ramp + t_moved + n t_element, with a time for an element of each operator that computes.

    A GPU hides an element's arithmetic and its caches are left to its memory fraction; a CPU does not.
    """
    byte, rate = _column(rows, lambda o: o.byte), chip.memory_bandwidth_byte_per_s
    specs = _named("memory_fraction", "kernel_ramp_s")
    computing = sorted({o.kind for o in rows} - set(PLAIN)) if chip.kind == "cpu" else []
    elements = {
        op: _column(rows, lambda o, op=op: float(o.shape["rows"]) * float(o.shape["cols"]) * (o.kind == op))  # type: ignore[misc]
        for op in computing
    }
    narrow = np.array([o.precision in ("bf16", "fp16") for o in rows])
    if chip.kind == "cpu":
        specs |= _named("cached_byte", "cache_speed")
    if computing and narrow.any():
        specs |= _named("narrow_element")
    for op in computing:
        name = f"{op}_element_s"
        specs[name] = _spec(name, "s", 3e-10, 1e-12, 1e-7, 1.5, f"time of one element's arithmetic in {op}, fp32")

    def seconds(v: Values) -> Floats:
        work = sum((elements[op] * v[f"{op}_element_s"] for op in computing), np.zeros(len(rows)))
        scale = np.where(narrow, v["narrow_element"], 1.0) if "narrow_element" in v else 1.0
        return np.asarray(v["kernel_ramp_s"] + moved_s(byte, rate, v) + scale * work)

    return law("vector", rows, chip, specs, seconds, "--suites vector")


#: Width of a head at which a step's one rate of attention is taken.
_HEAD: Final = 64.0


def attention_law(rows: Sequence[Observation], chip: Chip, precision: str, ramp_s: float) -> Law:
    """Fused attention on a CPU in one precision.

    .. math:: t = t_{ramp} + b h\\, t_{head} + \frac{F}{P f} + \frac{F}{F_{pair}} t_{pair}

    with b h heads of all samples, the pairs of queries and keys from the FLOPs of one, 4 d forward and 10 d backward.
    """
    peak, flop = chip.peak(precision), _column(rows, lambda o: o.flop)
    forward = np.array([o.kind == "fwd" for o in rows])
    heads = _column(rows, lambda o: float(o.shape["batch"]) * float(o.shape["heads"]))
    pairs = flop / (np.where(forward, 4.0, 10.0) * _column(rows, lambda o: float(o.shape["head_dim"])))

    def seconds(v: Values) -> Floats:
        fraction = np.where(forward, v["attention_fraction"], v["attention_backward_fraction"])
        pair_s = np.where(forward, v["pair_s"], v["pair_backward_s"])
        return np.asarray(ramp_s + heads * v["head_s"] + flop / (peak * fraction) + pairs * pair_s)

    names = ("attention_fraction", "attention_backward_fraction", "pair_s", "pair_backward_s", "head_s")
    return law(
        f"attention {precision}", rows, chip, _named(*names), seconds, f"--suites attention --precision {precision}"
    )


def attention_rates(values: Mapping[str, float], peak_flop_per_s: float) -> dict[str, float]:
    """The two rates that a step knows, against the peak: products and pairs together, at heads of 64."""
    found = {}
    for name, pair, each in (
        ("attention_fraction", "pair_s", 4.0), ("attention_backward_fraction", "pair_backward_s", 10.0),
    ):  # fmt: skip
        flop = each * _HEAD
        found[name] = flop / peak_flop_per_s / (flop / (peak_flop_per_s * values[name]) + values[pair])
    return found


def convolution_law(
    rows: Sequence[Observation], chip: Chip, precision: str, constants: Mapping[str, KernelConstants], ramp_s: float
) -> Law:
    """Convolutions on a CPU in one precision, as a step prices them: as products of their extents, at a fraction of
    their rate."""
    extents = np.array([_extents(o) for o in rows])
    shapes = GemmShapes(batch=np.ones(len(extents)), m=extents[:, 0], n=extents[:, 1], k=extents[:, 2])
    time = product_time(shapes, Setting(chip=chip, precision=precision, library="torch-2"), constants)
    products = np.maximum(time.device_s - time.parts["ramp"], 1e-9)

    def seconds(v: Values) -> Floats:
        return np.asarray(ramp_s + products / v["conv_fraction"])

    needed = f"--suites convolution --precision {precision}"
    return law(f"convolution {precision}", rows, chip, _named("conv_fraction"), seconds, needed)


def _extents(o: Observation) -> tuple[float, float, float]:
    """m, n, k of the product that a pass of a convolution is."""
    s = {k: float(v) for k, v in o.shape.items() if not isinstance(v, str) or v.replace(".", "").isdigit()}
    out = ((s["conv_h"] + 2 * s["pad_h"] - s["filt_h"]) // s["stride_h"] + 1) * (
        (s["conv_w"] + 2 * s["pad_w"] - s["filt_w"]) // s["stride_w"] + 1
    )
    outputs, inputs = s["conv_n"] * out, s["conv_n"] * s["conv_h"] * s["conv_w"]
    taps = s["conv_c"] * s["filt_h"] * s["filt_w"]
    if o.kind == "bwd_data":
        return inputs, s["conv_c"], outputs * s["conv_k"] * taps / (inputs * s["conv_c"])
    return (s["conv_k"], taps, outputs) if o.kind == "bwd_weights" else (outputs, s["conv_k"], taps)


def thin_law(rows: Sequence[Observation], chip: Chip, ramp_s: float, memory_fraction: float) -> Law:
    """Depth-wise convolutions, forward and backward: the later of their multiply-adds and their bytes."""
    flop, byte = _column(rows, lambda o: o.flop), _column(rows, lambda o: o.byte)
    rate, peak = chip.memory_bandwidth_byte_per_s * memory_fraction, chip.peak("fp32")

    def seconds(v: Values) -> Floats:
        work = flop / (peak * v["thin_conv_fraction"])
        return np.asarray(2.0 * ramp_s + np.maximum(work, byte * v["thin_conv_traffic"] / rate))

    specs = _named("thin_conv_fraction", "thin_conv_traffic")
    return law("depth-wise convolution", rows, chip, specs, seconds, "--suites convolution")


def optimizer_law(rows: Sequence[Observation], chip: Chip, rule: str, memory_fraction: float) -> Law:
    """Updates by one rule: every word read and written once, and a time for every tensor."""
    byte, tensors = _column(rows, lambda o: o.byte), _column(rows, lambda o: float(o.shape["tensors"]))
    rate = chip.memory_bandwidth_byte_per_s * memory_fraction

    def seconds(v: Values) -> Floats:
        return np.asarray(tensors * v["tensor_s"] + byte * v["optimizer_traffic"] / rate)

    specs = _named("optimizer_traffic", "tensor_s")
    return law(f"optimizer {rule}", rows, chip, specs, seconds, "--suites optimizer")


def embedding_law(rows: Sequence[Observation], chip: Chip, ramp_s: float, moved: Mapping[str, float]) -> Law:
    """Tables looked up and their gradients written, as element-wise work moves bytes."""
    forward = np.array([o.kind == "fwd" for o in rows])
    fixed = {name: np.full(len(rows), value) for name, value in moved.items()}
    once = moved_s(_column(rows, lambda o: o.byte), chip.memory_bandwidth_byte_per_s, fixed)

    def seconds(v: Values) -> Floats:
        scale = np.where(forward, v["embedding_traffic"], v["embedding_backward_traffic"])
        return np.asarray(ramp_s + once * scale)

    specs = _named("embedding_traffic", "embedding_backward_traffic")
    return law("embedding", rows, chip, specs, seconds, "--suites embedding")


def launch_law(rows: Sequence[Observation], chip: Chip, issued: Mapping[str, int]) -> Law:
    """Chains of tiny operators: a start, and the host's time for each that is issued, t = t_0 + n i t_host."""
    count = _column(rows, lambda o: float(o.shape["operators"]) * issued[o.kind])

    def seconds(v: Values) -> Floats:
        return np.asarray(v["call_start_s"] + count * v["host_s"])

    made = law("launch", rows, chip, _named("host_s", "call_start_s"), seconds, "--suites launch")
    # The yardstick of a chain is a time for each operator and nothing else.
    return Law(
        name=made.name, specs=made.specs, seconds=made.seconds, settings=made.settings, observations=rows,
        yardstick_s=count * 1e-5, needed=made.needed,
    )  # fmt: skip
