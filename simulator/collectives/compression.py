"""Gradients made smaller before they are sent: bytes on the wire, what coding costs, and which exchange may carry them.

A code is not a number: two 1-bit codes cannot be added by a ring or a switch. Each `Scheme` says whether its codes
add up; the `WAYS` say what an exchange does about it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from ..kernels.optable import Floats, Ints
from .checks import counts, numbers, share, word
from .rounds import CollectiveError

FP32_BYTE: Final = 4
#: A scattered access moves a whole 32-byte sector of memory, once to read and once to write.
SCATTERED_BYTE: Final = 64

#: How ranks may exchange codes, and what each way does with them.
WAYS: Final[Mapping[str, str]] = {
    "sum": "codes are added on the way, by a ring, a tree or a switch",
    "re_encode": "a ring: every hop decodes, adds and encodes again; errors add up over n - 1 hops",
    "scatter_gather": "each rank decodes and adds one n-th of all gradients, encodes the sum and sends it to all",
    "all_gather": "every rank gets all n codes and decodes them",
    "server": "a server decodes all pushes, adds, and answers with codes; price it as a parameter server",
}
_DENSE_WAYS: Final = ("re_encode", "scatter_gather", "all_gather", "server")


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """One way to write a gradient of fp32 numbers in fewer bytes.

    ``value_bit`` and ``index_bit``: bits of one kept element and of its place. ``density``: share of elements kept.
    ``scale_byte`` per group of ``group_elements`` (0: the whole tensor is one group) [B].
    ``encode_passes``: times that a 4-byte number per element is read or written besides the code itself.
    ``encode_op`` and ``decode_op``: operations per element (decode: per kept element).
    ``residual``: what was not sent is kept and added to the next gradient (error feedback), a second copy of the
    gradient in memory. ``ways``: the `WAYS` that may carry the codes.
    """

    name: str
    value_bit: int
    index_bit: int = 0
    density: float = 1.0
    scale_byte: int = 0
    group_elements: int = 0
    encode_passes: float = 1.0
    encode_op: float = 1.0
    decode_op: float = 1.0
    residual: bool = False
    ways: tuple[str, ...] = _DENSE_WAYS

    def __post_init__(self) -> None:
        where = f"Scheme {self.name!r}"
        counts(where, "value_bit", self.value_bit, low=1)
        for name in ("index_bit", "scale_byte", "group_elements"):
            counts(where, name, getattr(self, name))
        for name in ("encode_passes", "encode_op", "decode_op"):
            numbers(where, name, getattr(self, name))
        share(where, "density", self.density)
        for way in self.ways:
            word(where, "ways", way, WAYS)


#: Half floats add up on the wire (with the risk of overflow that loss scaling covers). One read, one conversion.
FP16: Final = Scheme(name="fp16", value_bit=16, ways=("sum", *_DENSE_WAYS))
#: 8 bits by a table of 256 values relative to the tensor's largest; one pass for the maximum, one to search the table.
#: Dettmers, 8-bit approximations for parallelism in deep learning, 2016.
EIGHT_BIT: Final = Scheme(name="8-bit", value_bit=8, scale_byte=4, encode_passes=2, encode_op=10, decode_op=2)
#: -1, 0 or 1 times the tensor's largest, drawn at random; passes for spread (clipping), maximum and drawing. Two bits
#: an element as it is packed, where log2(3) would do. Wen et al., TernGrad, 2017.
TERNGRAD: Final = Scheme(name="terngrad", value_bit=2, scale_byte=4, encode_passes=3, encode_op=14, decode_op=2)


def one_bit(*, group_elements: int = 0) -> Scheme:
    """The sign of gradient plus residual, and two means (of what is above and below zero) per group, such as a column.

    Reads gradient and residual, writes their sum with the means, reads it again to write signs and the new residual:
    five passes. Reference: Seide et al., 1-bit stochastic gradient descent, 2014.
    """
    return Scheme(
        name="1-bit", value_bit=1, scale_byte=2 * FP32_BYTE, group_elements=group_elements, encode_passes=5,
        encode_op=8, decode_op=2, residual=True,
    )  # fmt: skip


def qsgd(*, bit: int = 4, bucket_elements: int = 512) -> Scheme:
    """Sign and random rounding to 2^(bit-1) - 1 levels of the norm of each bucket, in fields of ``bit`` bits.

    One pass for the norms, one to round. Leaves out: Elias coding, which is shorter when most levels are 0.
    Reference: Alistarh et al., QSGD, 2017.
    """
    if not 2 <= bit <= 16:
        raise CollectiveError(f"qsgd: bit is {bit!r}; from 2 to 16, one of them the sign.")
    counts("qsgd", "bucket_elements", bucket_elements, low=1)
    return Scheme(
        name=f"qsgd-{bit}bit", value_bit=bit, scale_byte=FP32_BYTE, group_elements=bucket_elements, encode_passes=2,
        encode_op=16, decode_op=3,
    )  # fmt: skip


def top_k(*, density: float, value_bit: int = 32, index_bit: int = 32) -> Scheme:
    """The ``density`` share of largest elements of gradient plus residual, each with its place.

    Reads gradient and residual, writes their sum, reads it for the threshold found on a sample: four passes.
    Its sum is denser than each part: see `sparse_exchange` for exchanges that add on the way. Reference: Aji and
    Heafield, Sparse communication for distributed gradient descent, 2017.
    """
    return Scheme(
        name=f"top-{density:g}", value_bit=value_bit, index_bit=index_bit, density=density, encode_passes=4,
        encode_op=4, decode_op=1, residual=True, ways=("all_gather", "server"),
    )  # fmt: skip


def dgc(*, density: float = 0.001) -> Scheme:
    """Deep gradient compression: top-k with momentum correction, clipping and momentum masking.

    Reads gradient, momentum and sum, writes both (five), reads the sum for the threshold (one), masks both in place
    (four): ten passes. Reference: Lin et al., Deep gradient compression, 2018.
    """
    return Scheme(
        name=f"dgc-{density:g}", value_bit=32, index_bit=32, density=density, encode_passes=10, encode_op=8,
        decode_op=1, residual=True, ways=("all_gather", "server"),
    )  # fmt: skip


def dgc_density(*, epoch: ArrayLike, warmup_epochs: int = 4, final: float = 0.001) -> Floats:
    """Share of elements sent in an epoch (from 0): 25 %, 6.25 %, 1.5625 %, 0.39 %, then ``final``.

    .. math:: d = \\max(d_{final}, 4^{-(e+1)}) \\text{ for } e < w, \\quad d_{final} \\text{ after}

    Reference: Lin et al. 2018, section 3.3.
    """
    at = counts("dgc_density", "epoch", epoch)
    last = share("dgc_density", "final", final)
    return np.asarray(np.where(at < warmup_epochs, np.maximum(last, 0.25 ** (at + 1.0)), last))


def kept_elements(scheme: Scheme, elements: ArrayLike) -> Ints:
    """Elements that are sent: all, or ceil(density x elements), at least one of a tensor that has any."""
    n = counts("kept_elements", "elements", elements)
    if scheme.density == 1.0:
        return n
    # Rounded first: 0.1 % of 1,000 is one element although 1000 * 0.001 may come out a hair above 1.
    return np.asarray(np.ceil(np.round(n * scheme.density, 6)), dtype=np.int64)


def encoded_byte(scheme: Scheme, elements: ArrayLike) -> Ints:
    """Bytes of one code, exactly: values, places and scales, each packed to whole bytes.

    .. math:: B = \\lceil k v / 8 \\rceil + \\lceil k i / 8 \\rceil + s \\lceil n / g \\rceil

    Shapes as ``elements``; [B]. Leaves out: headers (tens of bytes per message) and entropy coding.
    """
    n = counts("encoded_byte", "elements", elements)
    kept = kept_elements(scheme, n)
    groups = -(-n // scheme.group_elements) if scheme.group_elements else np.minimum(n, 1)
    bits = (kept * scheme.value_bit + 7) // 8 + (kept * scheme.index_bit + 7) // 8
    return np.asarray(bits + scheme.scale_byte * groups)


def ratio(scheme: Scheme, elements: ArrayLike) -> Floats:
    """How many times smaller the code is than the gradient in fp32."""
    n = counts("ratio", "elements", elements, low=1)
    return np.asarray(FP32_BYTE * n / encoded_byte(scheme, n))


@dataclass(frozen=True, kw_only=True)
class CodecCost:
    """What coding asks of a chip: ``memory_byte`` it moves through its memory [B] and ``op`` operations on vectors."""

    memory_byte: Floats
    op: Floats

    def seconds(self, *, memory_byte_per_s: ArrayLike, op_per_s: ArrayLike) -> Floats:
        """The slower of memory and arithmetic [s]; leaves out launches, which the kernel model knows."""
        memory = numbers("CodecCost.seconds", "memory_byte_per_s", memory_byte_per_s, above=True)
        rate = numbers("CodecCost.seconds", "op_per_s", op_per_s, above=True)
        return np.asarray(np.maximum(self.memory_byte / memory, self.op / rate))


def encode_cost(scheme: Scheme, elements: ArrayLike) -> CodecCost:
    """Memory and operations to encode one gradient: the passes of the scheme and writing the code."""
    n = counts("encode_cost", "elements", elements)
    return CodecCost(
        memory_byte=np.asarray(scheme.encode_passes * FP32_BYTE * n + encoded_byte(scheme, n), dtype=np.float64),
        op=np.asarray(scheme.encode_op * n, dtype=np.float64),
    )


def decode_cost(scheme: Scheme, elements: ArrayLike) -> CodecCost:
    """Memory and operations to decode one code and add it to a sum in fp32.

    Dense codes read and write every element of the sum; sparse ones touch a sector per kept element.
    """
    n = counts("decode_cost", "elements", elements)
    kept = kept_elements(scheme, n)
    touched = 2 * FP32_BYTE * n if scheme.density == 1.0 else np.minimum(SCATTERED_BYTE * kept, 2 * FP32_BYTE * n)
    return CodecCost(
        memory_byte=np.asarray(encoded_byte(scheme, n) + touched, dtype=np.float64),
        op=np.asarray((scheme.decode_op + 1.0) * kept, dtype=np.float64),
    )


def check_way(scheme: Scheme, way: str) -> str:
    """The way itself, if it may carry this scheme's codes; else one line that says which may and why."""
    word("compression", "way", way, WAYS)
    if way not in scheme.ways:
        why = "its codes cannot be added" if way == "sum" else "its sums grow denser, see sparse_exchange"
        raise CollectiveError(
            f"compression: {scheme.name} cannot go by {way!r}: {why}; legal: {', '.join(scheme.ways)}."
        )
    return way


def wire_byte(scheme: Scheme, way: str, *, ranks: ArrayLike, elements: ArrayLike) -> Floats:
    """Bytes that one rank sends to exchange a gradient of ``elements`` [B], chunks as long as the longest.

    sum, re_encode, scatter_gather: 2 (n-1) codes of one n-th; all_gather: n-1 whole codes; server: one push.
    Zero for one rank.
    """
    check_way(scheme, way)
    n = counts("wire_byte", "ranks", ranks, low=1)
    whole = counts("wire_byte", "elements", elements)
    if way == "server":
        return np.asarray(np.where(n > 1, encoded_byte(scheme, whole), 0), dtype=np.float64)
    if way == "all_gather":
        return np.asarray((n - 1) * encoded_byte(scheme, whole), dtype=np.float64)
    return np.asarray(2 * (n - 1) * encoded_byte(scheme, -(-whole // n)), dtype=np.float64)


def codec_cost(scheme: Scheme, way: str, *, ranks: ArrayLike, elements: ArrayLike) -> CodecCost:
    """All encoding and decoding that one rank does in one exchange (worker's side only, for a server).

    sum, server: encode and decode the whole once. all_gather: encode once, decode n codes. scatter_gather: encode the
    whole and one n-th, decode both n times one n-th. re_encode: n encodes of one n-th, 2 (n-1) decodes of one n-th.
    """
    check_way(scheme, way)
    n = counts("codec_cost", "ranks", ranks, low=1)
    whole = counts("codec_cost", "elements", elements)
    part = -(-whole // n)
    plan: Mapping[str, tuple[tuple[ArrayLike, Ints], ...]] = {
        "sum": ((1, whole),), "server": ((1, whole),), "all_gather": ((1, whole),),
        "scatter_gather": ((1, whole), (1, part)), "re_encode": ((n, part),),
    }  # fmt: skip
    decodes: Mapping[str, tuple[ArrayLike, Ints]] = {
        "sum": (1, whole), "server": (1, whole), "all_gather": (n, whole), "scatter_gather": (2 * n, part),
        "re_encode": (2 * (n - 1), part),
    }  # fmt: skip
    costs = [(times, encode_cost(scheme, size)) for times, size in plan[way]]
    times, size = decodes[way]
    costs.append((times, decode_cost(scheme, size)))
    alone = n > 1  # one rank exchanges nothing and codes nothing
    return CodecCost(
        memory_byte=np.asarray(alone * sum(np.asarray(t) * cost.memory_byte for t, cost in costs), dtype=np.float64),
        op=np.asarray(alone * sum(np.asarray(t) * cost.op for t, cost in costs), dtype=np.float64),
    )


def seconds(
    scheme: Scheme, way: str, *, ranks: ArrayLike, elements: ArrayLike, latency_s: ArrayLike, byte_per_s: ArrayLike,
    memory_byte_per_s: ArrayLike, op_per_s: ArrayLike,
) -> Floats:  # fmt: skip
    """Time to encode, exchange and decode one gradient, one after the other [s].

    .. math:: t = m \\alpha + B_{wire} / \\beta + t_{codec}

    with n - 1 messages for an all-gather, else 2 (n - 1). Not for "server": give `parameter_server.seconds` the bytes
    of a code and add `codec_cost`. Leaves out: coding one part while another is on the wire.
    """
    if way == "server":
        raise CollectiveError("compression.seconds: price 'server' by parameter_server.seconds and codec_cost.")
    n = counts("compression.seconds", "ranks", ranks, low=1)
    messages = (n - 1) * (1 if way == "all_gather" else 2)
    alpha = numbers("compression.seconds", "latency_s", latency_s)
    beta = numbers("compression.seconds", "byte_per_s", byte_per_s, above=True)
    codec = codec_cost(scheme, way, ranks=n, elements=elements)
    wire = messages * alpha + wire_byte(scheme, way, ranks=n, elements=elements) / beta
    return np.asarray(wire + codec.seconds(memory_byte_per_s=memory_byte_per_s, op_per_s=op_per_s))


def pays_below_byte_per_s(
    scheme: Scheme, way: str, *, ranks: ArrayLike, elements: ArrayLike, memory_byte_per_s: ArrayLike,
    op_per_s: ArrayLike,
) -> Floats:  # fmt: skip
    """The rate of a rank's link below which coding beats a ring of plain fp32; 0 where it never does [B/s].

    .. math:: \\beta^* = \\frac{2 (n-1) \\cdot 4 N / n - B_{wire}}{t_{codec}}

    Leaves out: latency (an all-gather and a ring have as many hops in one phase as the other in two), overlap of
    coding with the wire, and every loss of accuracy.
    """
    n = counts("pays_below_byte_per_s", "ranks", ranks, low=2)
    whole = counts("pays_below_byte_per_s", "elements", elements, low=1)
    saved = 2 * (n - 1) * FP32_BYTE * whole / n - wire_byte(scheme, way, ranks=n, elements=whole)
    cost = codec_cost(scheme, way, ranks=n, elements=whole)
    return np.asarray(np.maximum(saved, 0.0) / cost.seconds(memory_byte_per_s=memory_byte_per_s, op_per_s=op_per_s))
