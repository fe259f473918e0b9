"""Attention on a GPU: fused kernels by generation, and the unfused chain of products and softmax through DRAM.

A fused kernel walks the keys past a tile of queries. Every pair of query and key costs products on the matrix units and
one exponential on the special-function units, 16 a clock in each core: with short heads the exponentials take as long
as the products. The backward pass repeats the scores, needs five products, and is framed by kernels that prepare and
convert the gradient of the queries through DRAM.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .kernel_constants import KernelSpec
from .kernel_time import KernelTime
from .optable import Floats
from .settings import Settings

#: The library word of products and softmax as separate kernels.
UNFUSED: Final = "attention-unfused"
#: Libraries that feed Hopper's matrix units asynchronously (wgmma) rather than through registers (mma.sync); assumed of
#: Triton, whose compiler can do either.
ASYNCHRONOUS: Final = ("flash-attention-3", "cudnn-9", "triton")
#: Kernels from before FlashAttention-2, which divided the work anew over warps and cut what is no product
#: (arXiv:2307.08691, sections 3.1 to 3.3, as remembered). That the cause is one for all three is assumed.
FIRST_GENERATION: Final = ("flash-attention-1", "flash-attention-triton", "xformers")
#: Architectures whose matrix units need that, and what the older instruction reaches of their peak: 62 to 65 % on H100
#: (arXiv:2402.13499, as remembered).
ASYNCHRONOUS_UNITS: Final = ("hopper", "blackwell")
REGISTER_RATE: Final = 0.63
#: Head length from which a library slows down; "" is a step without a named library. Taken from the measured rates by
#: head length; that accumulators fill the registers and tiles turn narrow is the assumed cause.
NARROW_FROM: Final[Mapping[str, float]] = {
    "flash-attention-1": 128.0, "flash-attention-2": 256.0, "cudnn-9": 256.0, "": 256.0,
}  # fmt: skip
#: Queries (forward) or keys (backward) that a core walks the other side with.
TILE: Final = 128.0
#: Exponentials a core starts in a clock (CUDA C++ Programming Guide, table of arithmetic throughput, as remembered;
#: AMD: a quarter of 64 lanes).
EXPONENTIALS_PER_CLOCK: Final[Mapping[str, float]] = {
    "fermi": 4.0, "kepler": 32.0, "maxwell": 32.0, "pascal": 16.0, "volta": 16.0, "turing": 16.0, "ampere": 16.0,
    "ada": 16.0, "hopper": 16.0, "blackwell": 16.0,
    "gcn": 16.0, "vega": 16.0, "cdna": 16.0, "cdna2": 16.0, "cdna3": 16.0, "cdna4": 16.0,
}  # fmt: skip
#: Tensors of tokens x heads x head length in 16 bit [B per element]: forward Q, K, V, O; backward Q, K, V, dO read, dK,
#: dV written.
FORWARD_TENSORS: Final = 4.0
BACKWARD_TENSORS: Final = 6.0
#: Around the backward kernel: dO and O read for their row products, the gradient of the queries in fp32 cleared, read
#: again, and written in 16 bit [elements of 16 bit].
FRAME_TENSORS: Final = 2.0 + 2.0 + 2.0 + 1.0
#: Sustained share of the nominal DRAM rate.
DRAM_SHARE: Final = 0.88

SPECS: Final[Mapping[str, KernelSpec]] = {
    spec.name: spec
    for spec in (
        KernelSpec(
            name="attention_matrix_share", unit="1", prior=0.8, low=0.1, high=1.0, spread=0.3,
            levels={"library": 0.25, "architecture": 0.2},
            meaning="rate of the products against the peak of the instruction used",
        ),
        KernelSpec(
            name="attention_first_share", unit="1", prior=0.6, low=0.2, high=1.0, spread=0.3,
            meaning="rate of the products in libraries of the first generation against later ones",
        ),
        KernelSpec(
            name="attention_exponentials", unit="1", prior=1.0, low=0.1, high=20.0, spread=0.3, levels={"library": 1.0},
            meaning="time of the softmax forward that nothing hides, in exponentials per pair",
        ),
        KernelSpec(
            name="attention_backward_share", unit="1", prior=0.8, low=0.2, high=1.2, spread=0.3,
            meaning="rate of the backward products against the forward ones",
        ),
        KernelSpec(
            name="attention_backward_exponentials", unit="1", prior=1.8, low=1.0, high=20.0, spread=0.3,
            meaning="what the forward softmax time is multiplied by in the backward pass",
        ),
        KernelSpec(
            name="attention_narrow", unit="1", prior=1.35, low=1.0, high=4.0, spread=0.3,
            meaning="slow-down of the products where tiles are narrow",
        ),
        KernelSpec(
            name="attention_masked", unit="1", prior=1.4, low=1.0, high=4.0, spread=0.2,
            meaning="time of a tile on the diagonal against any other",
        ),
        KernelSpec(
            name="attention_tail", unit="1", prior=0.5, low=0.05, high=2.0, spread=0.3,
            meaning="how much of the longest walk the last cores wait, where walks differ in length",
        ),
        KernelSpec(
            name="attention_exposed", unit="1", prior=0.5, low=0.01, high=2.0, spread=0.4,
            meaning="share of the time of its own bytes that a fused kernel does not hide",
        ),
        KernelSpec(
            name="unfused_forward_byte", unit="B", prior=10.0, low=8.0, high=30.0, spread=0.3,
            meaning="traffic per pair of the separate kernels forward, 16-bit scores",
        ),
        KernelSpec(
            name="unfused_mask_byte", unit="B", prior=10.0, low=2.0, high=30.0, spread=0.3,
            meaning="traffic per pair of applying a causal mask",
        ),
        KernelSpec(
            name="unfused_backward_byte", unit="B", prior=18.0, low=8.0, high=40.0, spread=0.3,
            meaning="traffic per pair of the separate kernels backward",
        ),
        KernelSpec(
            name="unfused_copies", unit="1", prior=4.0, low=1.0, high=20.0, spread=0.5,
            meaning="times that the separate kernels move the tensors a fused one moves, turning them included",
        ),
        KernelSpec(
            name="attention_ramp_s", unit="s", prior=3e-6, low=1e-6, high=3e-5, spread=0.3,
            meaning="start and end of a kernel",
        ),
    )
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class AttentionShapes:
    """Self-attention of ``batch`` x ``heads`` sequences of ``seq`` tokens; every array has shape (rows,).

    ``causal``, ``forward`` and ``backward`` are 1 where the mask is causal and where the pass is part of the row.
    """

    batch: Floats
    heads: Floats
    head_dim: Floats
    seq: Floats
    causal: Floats
    forward: Floats
    backward: Floats


@dataclass(frozen=True)
class _Pass:
    """One direction of a fused kernel [s], by what its time is made of; every array has shape (rows,)."""

    products: Floats  # useful ones, at the peak
    library: Floats
    padding: Floats
    softmax: Floats
    waves: Floats
    memory: Floats


def _by(settings: Settings, values: list[float]) -> Floats:
    return np.asarray(values, dtype=np.float64)[settings.row]


def fused(settings: Settings) -> NDArray[np.bool_]:
    """Whether each row's library fuses attention; shape (rows,)."""
    return np.array([s.library != UNFUSED for s in settings.distinct])[settings.row]


def pairs(x: AttentionShapes) -> Floats:
    """Pairs of query and key that count; shape (rows,).

    .. math:: P = b h s (s + 1) / 2 \\text{ causal}, \\quad b h s^2 \\text{ else}
    """
    return np.asarray(x.batch * x.heads * np.where(x.causal > 0, 0.5 * x.seq * (x.seq + 1.0), x.seq**2))


def makespan(x: AttentionShapes, cores: Floats, masked: Floats, tail: Floats) -> tuple[Floats, Floats]:
    """Pairs that the slowest core is busy for, and those of an even split; each shape (rows,).

    Every core takes a tile of queries and walks keys. Without a mask all walks are equal and the last wave is paid in
    full; with a causal one the walk ends at the diagonal, whose tile is computed whole and masked, and cores wait for a
    share of the longest walk.

    .. math:: W_{full} = \\lceil T / c \\rceil t s, \\qquad
              W_{causal} = \\max(T t \\bar l / c + \\tau t s, \\; t (s - t + m t)), \\quad
              \\bar l = (s - t) / 2 + m t
    """
    tile = np.minimum(TILE, x.seq)
    across = np.ceil(x.seq / tile)
    tiles = x.batch * x.heads * across
    reach = across * tile
    mean = np.where(x.causal > 0, 0.5 * (reach - tile) + masked * tile, reach)
    even = tiles * tile * mean / cores
    longest = np.where(x.causal > 0, tile * (reach - tile + masked * tile), tile * reach)
    unequal = np.maximum(even + tail * (across > 1) * tile * (reach - tile), longest)
    return np.where(x.causal > 0, unequal, np.ceil(tiles / cores) * tile * reach), even


def _one_way(
    x: AttentionShapes, settings: Settings, values: Mapping[str, Floats], *, backward: bool, second_per_byte: Floats
) -> _Pass:
    """Time of one direction of a fused kernel on all rows."""
    architectures = [s.chip.architecture for s in settings.distinct]
    through = [
        REGISTER_RATE if s.chip.architecture in ASYNCHRONOUS_UNITS and s.library not in ASYNCHRONOUS else 1.0
        for s in settings.distinct
    ]
    narrow_from = _by(settings, [NARROW_FROM.get(s.library, np.inf) for s in settings.distinct])
    rate = _by(settings, through) * values["attention_matrix_share"]
    first = np.array([s.library in FIRST_GENERATION for s in settings.distinct])[settings.row]
    rate = rate * np.where(first, values["attention_first_share"], 1.0)
    rate = rate / np.where(x.head_dim >= narrow_from, values["attention_narrow"], 1.0)
    softmax = values["attention_exponentials"]
    if backward:
        rate = rate * values["attention_backward_share"]
        softmax = softmax * values["attention_backward_exponentials"]
    rate = np.minimum(rate, 1.0)
    core_peak = settings.peak_flop_per_s / settings.cores
    per_pair = (10.0 if backward else 4.0) * x.head_dim / core_peak
    units = _by(settings, [EXPONENTIALS_PER_CLOCK.get(word, 16.0) for word in architectures])
    exponential_s = 1.0 / (units * settings.clock_hz)
    slowest, even = makespan(x, settings.cores, values["attention_masked"], values["attention_tail"])
    useful = pairs(x) / settings.cores
    element = x.batch * x.heads * x.seq * x.head_dim * settings.element_byte
    tensors = BACKWARD_TENSORS if backward else FORWARD_TENSORS
    own = tensors * element * second_per_byte
    busy = per_pair / rate + softmax * exponential_s
    return _Pass(
        products=useful * per_pair,
        library=useful * per_pair * (1.0 / rate - 1.0),
        padding=(even - useful) * busy,
        softmax=useful * softmax * exponential_s,
        waves=(slowest - even) * busy,
        memory=np.maximum(own - slowest * busy, 0.0)
        + values["attention_exposed"] * np.minimum(own, slowest * busy)
        + (FRAME_TENSORS * element * second_per_byte if backward else 0.0),
    )


def attention_time(x: AttentionShapes, settings: Settings, values: Mapping[str, Floats]) -> KernelTime:
    """Device time of attention, the passes of a row added.

    Fused, per direction, with pairs W of the slowest core (`makespan`):

    .. math:: t = W \\left(\\frac{F d}{r \\, \\pi / c} + \\frac{e}{16 f}\\right) + x \\, t_{bytes} + t_{frame}

    F = 4 forward and 10 backward; e exponentials per pair; the frame of the backward pass moves `FRAME_TENSORS`.
    Unfused, per direction, over all s^2 pairs whatever the mask:

    .. math:: t = \\frac{F d P}{r \\pi} + \\frac{b P + k B}{\\beta}

    Notes
    -----
    Leaves out: dropout, grouped keys, unequal lengths, split keys for few queries, the clock under load, and that the
    unfused chain runs out of memory beyond 8,192 to 16,384 tokens of 80 GB.
    """
    is_fused = fused(settings)
    second_per_byte = 1.0 / (settings.dram_byte_per_s * DRAM_SHARE)
    parts = {name: np.zeros(settings.rows) for name in ("arithmetic", "library", "padding", "waves", "memory", "steps")}
    for run, backward in ((x.forward, False), (x.backward, True)):
        one = _one_way(x, settings, values, backward=backward, second_per_byte=second_per_byte)
        parts["arithmetic"] += run * one.products
        parts["library"] += run * one.library
        parts["padding"] += run * one.padding
        parts["steps"] += run * one.softmax
        parts["waves"] += run * one.waves
        parts["memory"] += run * one.memory

    whole = x.batch * x.heads * x.seq**2
    per_pair = 4.0 * x.forward + 10.0 * x.backward
    element = x.batch * x.heads * x.seq * x.head_dim * settings.element_byte
    scale = 0.5 * settings.element_byte
    least = (FORWARD_TENSORS * x.forward + BACKWARD_TENSORS * x.backward) * element
    scores_byte = scale * (
        x.forward * (values["unfused_forward_byte"] + x.causal * values["unfused_mask_byte"])
        + x.backward * values["unfused_backward_byte"]
    )
    apart_byte = scores_byte * whole + values["unfused_copies"] * least
    apart_flop = per_pair * x.head_dim * whole
    apart_s = apart_flop / settings.peak_flop_per_s
    apart = {
        "arithmetic": apart_s,
        "library": apart_s * (1.0 / np.minimum(values["attention_matrix_share"], 1.0) - 1.0),
        "memory": apart_byte * second_per_byte,
    }
    parts = {name: np.where(is_fused, part, apart.get(name, 0.0)) for name, part in parts.items()}
    launches = np.where(is_fused, x.forward + 3.0 * x.backward, (3.0 + x.causal) * x.forward + 5.0 * x.backward)
    parts["ramp"] = launches * values["attention_ramp_s"]

    flop = np.where(is_fused, per_pair * x.head_dim * pairs(x), apart_flop)
    tensors = FORWARD_TENSORS * x.forward + (BACKWARD_TENSORS + FRAME_TENSORS) * x.backward
    dram_byte = np.where(is_fused, tensors * element, apart_byte)
    bytes_s = np.maximum(least - settings.l2_byte, 0.0) / settings.dram_byte_per_s
    bound_s = np.maximum(flop / settings.peak_flop_per_s, bytes_s)
    device_s = sum((parts[name] for name in parts), np.zeros(settings.rows))
    short = np.maximum(bound_s - device_s, 0.0)
    parts["memory"] = parts["memory"] + short
    return KernelTime(
        device_s=device_s + short, bound_s=bound_s, flop=flop, dram_byte=dram_byte, cache_byte=dram_byte, parts=parts
    )
