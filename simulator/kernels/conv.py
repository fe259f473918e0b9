"""Seconds of a convolution on a GPU: the fastest of the algorithms that the library offers.

.. math:: t = t_{ramp} + t_{staged} + \\left(t_{cores}^4 + t_{DRAM}^4\\right)^{1/4}

Every algorithm ends in tiled products (`conv_algorithms.Plan`). C is cut into tiles; a core holds a few at a time and
walks k through them. A tile alone on its core does not fill the pipelines; the last wave is paid in full.

.. math:: t_{cores} = \\max\\left(q\\, c, \\lceil q / r \\rceil \\frac{c}{a}\\right)
                      \\frac{k / s + k_0}{\\phi f}, \\quad q = \\lceil T s / N \\rceil, \\quad
          c = \\frac{t_m t_n}{p\\, e} + l (t_m + t_n)

with T tiles on N cores, k split s times, c clocks for one step along k of a tile of t_m x t_n on cores of p
multiply-adds a clock. Compute and memory overlap with a p-norm of 4 since neither waits wholly for the other.
Leaves out: layout conversion between NCHW and NHWC, grouped convolutions (price each group as a product of its own),
dilation, how long a card has been hot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .conv_algorithms import BACKWARD_DATA, ConvShapes, Plan, Setup, offer_of, plans
from .kernel_constants import KernelSpec
from .kernel_time import KernelTime
from .optable import Floats
from .power import clock_fraction, dynamic_w, idle_w
from .settings import Setting, Settings

#: Tiles (rows, columns) of NVIDIA's kernels for fp32, of its kernels for narrower elements, and those that AMD's adds.
TILES: Final = ((128, 128), (128, 64), (128, 32), (64, 64), (32, 32))
NVIDIA_TILES: Final = ((128, 128), (128, 64), (128, 32))
NARROW_TILES: Final = ((128, 128),)
#: Elements of C that a core holds at a time (two tiles of 128 x 128 in its registers), and most tiles.
RESIDENT: Final = 2 * 128 * 128
RESIDENT_TILES: Final = 8
#: Tile of the fused Winograd kernels: transformed tiles x channels made (x 16 products).
FUSED_TILE: Final = 32
#: Least k that one part of a split walks.
LEAST_DEPTH: Final = 64.0
#: Consumer boards of Pascal and later clock above the boost clock of their data sheet while they are cool: matrix
#: products of a GTX 1080 Ti exceed its listed peak in DeepBench's sheets. The most that they do is assumed.
CONSUMER: Final = ("gtx-", "rtx-", "titan-")
MOST_BOOST: Final = 1.25
#: Energy of a multiply-add kernel's FLOP at the highest clock [J], vector units. Ampere and Hopper near the 5.2 pJ
#: (A100), 5.9 pJ (A40) and 5.8 pJ (H200) fitted to power over rate (te42kyfo/gpu-benches@1c36d50); the others are
#: assumed, by process, and Turing's so that a T4 at 70 W does not sustain its peak, as it never does in large fp32
#: products.
FLOP_J: Final = {
    "fermi": 6e-11, "kepler": 3.5e-11, "maxwell": 2e-11, "pascal": 1.0e-11, "volta": 9e-12, "turing": 2e-11,
    "ampere": 5.5e-12, "ada": 9e-12, "hopper": 5.8e-12, "blackwell": 5.8e-12,
    "gcn": 2.5e-11, "vega": 1.2e-11, "cdna": 8e-12, "cdna2": 6e-12, "cdna3": 4e-12, "cdna4": 4e-12,
}  # fmt: skip

_SPECS: Final = (
    KernelSpec(name="conv_ramp_s", unit="s", prior=1.3e-5, low=1e-6, high=5e-5, spread=0.5,
               levels={"architecture": 0.3, "precision": 0.3}, meaning="start and end of a kernel"),
    KernelSpec(name="conv_rate", unit="1", prior=0.95, low=0.2, high=1.6, spread=0.2,
               levels={"architecture": 0.1, "chip": 0.1, "unit": 0.3},
               meaning="multiply-adds issued against the peak when tiles fill the cores"),
    KernelSpec(name="conv_boost", unit="1", prior=1.2, low=0.8, high=1.8, spread=0.1,
               meaning="clock of a cool consumer board against its stated boost clock"),
    KernelSpec(name="conv_load_clock", unit="clock", prior=0.12, low=0.001, high=1.0, spread=0.5,
               levels={"architecture": 0.3, "unit": 1.0},
               meaning="clocks that loading one 4-byte element into a tile takes from multiply-adds"),
    KernelSpec(name="conv_alone", unit="1", prior=0.65, low=0.1, high=3.0, spread=0.3,
               levels={"architecture": 0.2, "precision": 0.3}, meaning="rate of a core with one tile against full"),
    KernelSpec(name="conv_fill_depth", unit="1", prior=13.0, low=1.0, high=1000.0, spread=0.5, levels={"unit": 0.5},
               meaning="depth of k that filling and draining a tile costs"),
    KernelSpec(name="conv_memory_rate", unit="1", prior=0.65, low=0.2, high=3.0, spread=0.2,
               levels={"architecture": 0.1}, meaning="DRAM rate beside products against nominal"),
    KernelSpec(name="conv_stage_rate", unit="1", prior=0.75, low=0.1, high=3.0, spread=0.3,
               levels={"architecture": 0.2}, meaning="DRAM rate of transforms and columns against nominal"),
    KernelSpec(name="conv_fused_rate", unit="1", prior=0.7, low=0.1, high=3.0, spread=0.3, levels={"library": 0.2},
               meaning="rate of fused Winograd against implicit GEMM"),
    KernelSpec(name="conv_weights_load", unit="1", prior=1.3, low=0.5, high=10.0, spread=0.3,
               meaning="loads of backward-weights (k is not contiguous) against forward"),
    KernelSpec(name="conv_seam_depth", unit="1", prior=21.0, low=1.0, high=200.0, spread=0.5,
               meaning="depth of k lost at the edge of an image in backward-weights"),
    KernelSpec(name="conv_stride_load", unit="1", prior=1.4, low=0.5, high=10.0, spread=0.3, levels={"library": 0.4},
               meaning="loads of strided convolutions against those at stride 1"),
    KernelSpec(name="conv_split_byte", unit="B", prior=20.0, low=1.0, high=200.0, spread=0.5,
               meaning="DRAM traffic of one partial sum when k is split"),
)  # fmt: skip
SPECS: Final[Mapping[str, KernelSpec]] = {spec.name: spec for spec in _SPECS}

#: Constants that are shares of what the chip can do at best.
SHARES: Final = ("conv_rate", "conv_alone", "conv_memory_rate", "conv_stage_rate", "conv_fused_rate")

#: Constants that the products of a plan need.
PRODUCT_VALUES: Final = (
    "conv_rate", "conv_load_clock", "conv_alone", "conv_fill_depth", "conv_fused_rate", "conv_weights_load",
    "conv_seam_depth", "conv_split_byte",
)  # fmt: skip

Values = Mapping[str, Floats]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What the products of a plan run on; every column has shape (rows,)."""

    cores: Floats
    clock_hz: Floats
    multiply_adds: Floats  # of one core in one clock
    byte_per_s: Floats
    element_byte: Floats
    narrow: NDArray[np.bool_]
    nvidia: NDArray[np.bool_]

    def take(self, row: NDArray[np.int64]) -> Machine:
        """The machine of some rows."""
        return Machine(**{name: column[row] for name, column in vars(self).items()})


@dataclass(frozen=True, kw_only=True)
class Tiled:
    """Price of tiled products; every column has shape (rows,). ``padded`` and ``waved`` [FLOP] are the work with ragged
    tiles and with idle cores."""

    seconds: Floats
    padded: Floats
    waved: Floats


def at_most_one(value: Floats) -> Floats:
    """A share that a fit may push beyond 1, kept below it; shape (rows,).

    .. math:: (v^{-12} + 1)^{-1/12}

    Within 2 % of v up to 0.9. A hard limit would leave a fit without a slope to come back by.
    """
    cube = value * value * value
    square = cube * cube
    return np.asarray(value * np.exp(np.log1p(square * square) * (-1.0 / 12.0)))


def peak_flop_per_s(setting: Setting) -> float:
    """Peak of the products [FLOP/s]: 16-bit storage multiplies at the 16-bit vector rate where that is higher (cuDNN
    takes half-precision arithmetic on P100, whatever the accumulation)."""
    peak = setting.peak_flop_per_s
    if setting.precision == "fp16_in_fp32_math" and not setting.chip.has_matrix_units:
        return max(peak, setting.chip.peak_flop_per_s.get("fp16", 0.0))
    return peak


def is_consumer(setting: Setting) -> bool:
    """Whether the board clocks above its stated boost clock (`CONSUMER`)."""
    line = setting.chip.lineage
    recent = "pascal" in line and line.index(setting.chip.architecture) >= line.index("pascal")
    return recent and setting.chip.id.startswith(CONSUMER)


def tiled_seconds(
    *, batch: Floats, m: Floats, n: Floats, k: Floats, split: NDArray[np.bool_], load: Floats, h: Machine, v: Values
) -> Tiled:
    """Price of products at the highest clock with the tile and the split of k that finish first (module's equation).

    Splitting pays ``conv_split_byte`` for every partial sum; the best number of parts is the square root of walk over
    that, within what cores and depth allow.
    """
    sum_s = batch * m * n * v["conv_split_byte"] / h.byte_per_s
    clock_s = 1.0 / h.clock_hz
    issue_s = clock_s / (h.multiply_adds * v["conv_rate"])
    load_s = clock_s * v["conv_load_clock"] * load * h.element_byte / 4.0
    fill, alone = v["conv_fill_depth"], v["conv_alone"]
    count = len(m)
    best, per_core, parts = np.full(count, np.inf), np.ones(count), np.ones(count)
    rows, columns = np.ones(count), np.ones(count)

    def offer(to: NDArray[np.int64], tile: tuple[int, int], seconds: Floats, each: Floats, s: Floats) -> None:
        better = seconds < best[to]
        won = to[better]
        best[won], per_core[won], parts[won] = seconds[better], each[better], s[better]
        rows[won], columns[won] = tile

    for tile in TILES:
        offered = np.ones(count, bool) if tile in NVIDIA_TILES else ~h.nvidia
        to = np.flatnonzero(offered if tile in NARROW_TILES else offered & ~h.narrow)
        if not len(to):
            continue
        resident = min(RESIDENT_TILES, RESIDENT // (tile[0] * tile[1]))
        share = batch[to] * np.ceil(m[to] / tile[0]) * np.ceil(n[to] / tile[1]) / h.cores[to]
        step = (tile[0] * tile[1]) * issue_s[to] + (tile[0] + tile[1]) * load_s[to]
        each = np.ceil(share)
        wait = np.maximum(each, np.ceil(each / resident) / alone[to])
        offer(to, tile, wait * step * (k[to] + fill[to]), each, np.ones(len(to)))
        cut = split[to]
        if cut.any():
            on, part, walk = to[cut], share[cut], k[to[cut]] * step[cut]
            most = np.maximum(np.minimum(resident / part, k[on] / LEAST_DEPTH), 1.0)
            s = np.clip(np.sqrt(walk / sum_s[on]), 1.0, most)
            # Parts can be cut so that they fill the cores evenly; whole tiles cannot.
            each = np.maximum(part * s, 1.0)
            wait = np.maximum(each, np.ceil(each / resident) / alone[on])
            seconds = wait * (walk / s + step[cut] * fill[on]) + s * sum_s[on]
            offer(on, tile, np.where(s > 1.0, seconds, np.inf), each, s)
    area = rows * columns
    padded = 2.0 * batch * np.ceil(m / rows) * np.ceil(n / columns) * area * k
    return Tiled(seconds=best, padded=padded, waved=2.0 * per_core * h.cores * area * k / parts)


def fused_seconds(plan: Plan, h: Machine, v: Values) -> Tiled:
    """Price of the fused Winograd kernel at the highest clock: blocks of 32 tiles x 32 channels x 16 products."""
    tiles = np.ceil(plan.m / FUSED_TILE) * np.ceil(plan.n / FUSED_TILE)
    block = plan.batch * FUSED_TILE * FUSED_TILE
    step = block / (h.multiply_adds * v["conv_rate"] * v["conv_fused_rate"]) / h.clock_hz
    each = np.ceil(tiles / h.cores)
    wait = np.maximum(each, np.ceil(each / 2.0) / v["conv_alone"])
    return Tiled(seconds=wait * step * (plan.k + v["conv_fill_depth"]), padded=2.0 * tiles * block * plan.k,
                 waved=2.0 * each * h.cores * block * plan.k)  # fmt: skip


def touched_byte(x: ConvShapes, element_byte: Floats) -> Floats:
    """Bytes read and written once [B]; rows of the input that a stride skips are not read forward."""
    seen = np.where(x.direction == BACKWARD_DATA, 1.0, np.minimum(1.0, x.filter_h / x.stride_h))
    return np.asarray((x.inputs * seen + x.outputs + x.weights) * element_byte)


def beyond_cache(byte: Floats, cache_byte: Floats) -> Floats:
    """Bytes that reach DRAM when a cache keeps part of what goes through it [B]; shape (rows,).

    .. math:: B_{DRAM} = B^2 / (B + L)

    at least B - L; much less than B only where all fits.
    """
    return np.asarray(byte * byte / (byte + cache_byte + 1.0))


def conv_time(shapes: ConvShapes, settings: Settings, values: Values) -> KernelTime:
    """Device time of convolutions with the fastest algorithm that the library offers.

    Parameters
    ----------
    shapes
        columns of shape (rows,).
    settings
        chip, precision and library of every row.
    values
        constants of `SPECS`, each of shape (rows,).

    Returns
    -------
    `KernelTime`; its DRAM bytes are those of the operands or of the transforms, whichever are more. The bound is the
    chosen algorithm's FLOP at the peak of the highest clock (`MOST_BOOST` times the stated one on consumer boards), and
    what does not stay in the shared cache at the nominal DRAM rate.
    """
    x, v = shapes, {**values, **{name: at_most_one(values[name]) for name in SHARES}}
    setup, h, ceiling = _machine(settings, v)
    ramp = v["conv_ramp_s"]
    touched = touched_byte(x, h.element_byte)
    cache = settings.l2_byte
    dram = beyond_cache(touched, cache)
    memory = dram / (v["conv_memory_rate"] * h.byte_per_s)
    stage_rate = v["conv_stage_rate"] * h.byte_per_s
    load = np.where(x.stride > 1.0, v["conv_stride_load"], 1.0)
    total = np.full(x.rows, np.inf)
    core, slowed, flop, padded, waved, chosen, moved = (np.zeros(x.rows) for _ in range(7))
    flop_j, idle = _flop_j(settings, h), idle_w(settings)
    names: list[str] = []
    for plan in plans(x, setup):
        names.append(plan.name)
        row = plan.row
        if not len(row):
            continue
        here, values_here = h.take(row), {name: v[name][row] for name in PRODUCT_VALUES}
        if plan.fused:
            products = fused_seconds(plan, here, values_here)
        else:
            factor = (load[row] if plan.gathers else 1.0) * np.where(
                plan.seams > 0.0, values_here["conv_weights_load"], 1.0
            )
            depth = plan.k + plan.seams * values_here["conv_seam_depth"]
            products = tiled_seconds(batch=plan.batch, m=plan.m, n=plan.n, k=depth, split=plan.split, load=factor,
                                     h=here, v=values_here)  # fmt: skip
        fast = plan.repeats * products.seconds
        # DRAM's energy is left out: with it, a faster memory could slow the cores more than it saves.
        draw = dynamic_w(flop=plan.repeats * products.padded, flop_j=flop_j[row], dram_byte=0.0 * fast, seconds=fast)
        cores = fast / clock_fraction(dynamic_w=draw, idle_w=idle[row], limit_w=settings.tdp_w[row])
        staged = beyond_cache(plan.staged_byte, cache[row])
        stages = staged / stage_rate[row] + plan.fixed_s
        stages = stages + (plan.launches + 0.5 * (plan.repeats - 1.0)) * ramp[row]
        both = _beside(cores, memory[row]) if plan.overlaps else cores
        if plan.name == "columns":
            both = both + memory[row]
        better = both + stages < total[row]
        to = row[better]
        total[to], core[to], slowed[to] = (both + stages)[better], cores[better], (cores - fast)[better]
        flop[to], chosen[to] = plan.flop[better], len(names) - 1
        moved[to] = np.maximum(dram[row], staged)[better]
        padded[to] = (plan.repeats * products.padded)[better]
        waved[to] = (plan.repeats * products.waved)[better]
    return _account(x, settings, h, ceiling, ramp, moved, core, slowed, total, flop, padded, waved,
                    tuple(np.array(names)[chosen.astype(np.int64)].tolist()))  # fmt: skip


def _beside(cores: Floats, memory: Floats) -> Floats:
    """p-norm of 4 of two times."""
    square, other = cores * cores, memory * memory
    return np.asarray(np.sqrt(np.sqrt(square * square + other * other)))


def _machine(settings: Settings, v: Values) -> tuple[Setup, Machine, Floats]:
    """Set-up and machine of every row, and the highest peak that the bound uses [FLOP/s]."""
    distinct = settings.distinct
    offers = [offer_of(s.library, s.chip.vendor) for s in distinct]

    def flags(values: list[bool]) -> NDArray[np.bool_]:
        return np.array(values, dtype=np.bool_)[settings.row]

    consumer = flags([is_consumer(s) for s in distinct])
    peak = np.array([peak_flop_per_s(s) for s in distinct])[settings.row]
    more = v["conv_boost"] - 1.0
    most = MOST_BOOST - 1.0
    boost = np.where(consumer, 1.0 + most * at_most_one(np.maximum(more, 0.0) / most), 1.0)
    byte = settings.element_byte
    setup = Setup(element_byte=byte, matrix=settings.on_matrix_units, fused=flags([o.fused for o in offers]),
                  transformed=flags([o.transformed for o in offers]),
                  transformed_weights=flags([o.transformed_weights for o in offers]),
                  phased=flags([o.phased for o in offers]),
                  padded_one_by_one=flags([o.padded_one_by_one for o in offers]),
                  by_image=flags([o.by_image for o in offers]))  # fmt: skip
    machine = Machine(cores=settings.cores, clock_hz=settings.clock_hz * boost,
                      multiply_adds=peak / (2.0 * settings.cores * settings.clock_hz),
                      byte_per_s=settings.dram_byte_per_s, element_byte=byte, narrow=byte < 4.0,
                      nvidia=flags([s.chip.vendor == "NVIDIA" for s in distinct]))  # fmt: skip
    return setup, machine, np.asarray(peak * np.where(consumer, MOST_BOOST, 1.0))


def _flop_j(settings: Settings, h: Machine) -> Floats:
    """Energy of a FLOP at the highest clock [J]; on matrix units and in narrow formats less by as much as their peak is
    higher."""
    vector = np.array([FLOP_J[s.chip.architecture] * s.chip.vector_peak_flop_per_s.get("fp32", s.chip.peak("fp32"))
                       for s in settings.distinct])[settings.row]  # fmt: skip
    peak = 2.0 * settings.cores * settings.clock_hz * h.multiply_adds
    plain = np.array([FLOP_J[s.chip.architecture] for s in settings.distinct])[settings.row]
    return np.asarray(np.minimum(plain, vector / peak))


def _account(
    x: ConvShapes, settings: Settings, h: Machine, ceiling: Floats, ramp: Floats, dram: Floats, core: Floats,
    slowed: Floats, total: Floats, flop: Floats, padded: Floats, waved: Floats, algorithm: tuple[str, ...],
) -> KernelTime:  # fmt: skip
    """The bound, and the time split into parts that add up."""
    touched = touched_byte(x, h.element_byte)
    bound = np.maximum(flop / ceiling, np.maximum(touched - settings.l2_byte - 1.0, 0.0) / h.byte_per_s)
    device = np.maximum(ramp + total, bound)
    peak = 2.0 * settings.cores * h.clock_hz * h.multiply_adds
    parts = {
        "arithmetic": x.flop / peak,
        "algorithm": (flop - x.flop) / peak,
        "padding": (padded - flop) / peak,
        "waves": (waved - padded) / peak,
        "clock": slowed,
        "memory": total - core,
        "ramp": ramp,
    }
    parts["library"] = device - sum(parts.values(), np.zeros(x.rows))
    return KernelTime(device_s=device, bound_s=bound, flop=flop, dram_byte=dram, cache_byte=touched, parts=parts,
                      algorithm=algorithm)  # fmt: skip
