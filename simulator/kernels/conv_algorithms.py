"""Algorithms of a convolution: what matrix products each leaves, what it moves besides, and where it can be used.

A library holds several and takes the fastest. All of them end in tiled matrix products, so an algorithm is described by
the products it leaves (`Plan`); `simulator.kernels.conv` prices them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .optable import Floats, Ints

#: Directions of a convolution.
FORWARD: Final = 0
BACKWARD_DATA: Final = 1
BACKWARD_WEIGHTS: Final = 2

#: Channels per filter tap that one step along k takes together: a tap with fewer is padded. 16 on tensor cores, 32 for
#: 8-bit dot products, 1 for plain multiply-adds (seen in the DeepBench sheets: first layers with 1 or 3 channels).
MATRIX_CHANNELS: Final = 16.0
BYTE_CHANNELS: Final = 32.0
#: Seconds per image position of the fallback for strided backward-data in 16 bit without matrix units, at many
#: channels; it walks over the positions one after another (cuDNN 6 on P100 in the DeepBench sheets).
POSITION_S: Final = 7e-6
POSITION_CHANNELS: Final = 128.0


@dataclass(frozen=True, kw_only=True)
class ConvShapes:
    """Convolutions, column by column; every column has shape (rows,).

    ``batch`` images of ``channels`` x ``height`` x ``width`` become ``filters`` channels; ``direction`` is `FORWARD`,
    `BACKWARD_DATA` or `BACKWARD_WEIGHTS`. Extents are those of the forward pass in every direction.
    """

    batch: Floats
    channels: Floats
    height: Floats
    width: Floats
    filters: Floats
    filter_h: Floats
    filter_w: Floats
    pad_h: Floats
    pad_w: Floats
    stride_h: Floats
    stride_w: Floats
    direction: Ints

    @property
    def rows(self) -> int:
        """Number of convolutions."""
        return len(self.batch)

    @cached_property
    def out_h(self) -> Floats:
        """Height of the output, rounded down."""
        return np.floor((self.height + 2.0 * self.pad_h - self.filter_h) / self.stride_h) + 1.0

    @cached_property
    def out_w(self) -> Floats:
        """Width of the output, rounded down."""
        return np.floor((self.width + 2.0 * self.pad_w - self.filter_w) / self.stride_w) + 1.0

    @cached_property
    def taps(self) -> Floats:
        """Taps of the filter."""
        return self.filter_h * self.filter_w

    @cached_property
    def stride(self) -> Floats:
        """Input positions for each output position."""
        return self.stride_h * self.stride_w

    @cached_property
    def inputs(self) -> Floats:
        """Elements of the input."""
        return self.batch * self.channels * self.height * self.width

    @cached_property
    def outputs(self) -> Floats:
        """Elements of the output."""
        return self.batch * self.filters * self.out_h * self.out_w

    @cached_property
    def weights(self) -> Floats:
        """Elements of the weights."""
        return self.filters * self.channels * self.taps

    @cached_property
    def flop(self) -> Floats:
        """Work of the direct algorithm [FLOP], the same in every direction."""
        return 2.0 * self.outputs * self.channels * self.taps


@dataclass(frozen=True, kw_only=True)
class Offer:
    """Algorithms of a library beyond implicit GEMM and column scatter, fp32 and narrower on vector units.

    With ``by_image`` there is nothing but columns and one product for each image (`_columns_by_image`).
    """

    fused: bool = True
    transformed: bool = True
    transformed_weights: bool = True
    phased: bool = False
    padded_one_by_one: bool = True
    by_image: bool = False


#: By library, as the measured rates of DeepBench's sheets show it (no release notes were read): cuDNN 5 has transformed
#: backward-weights in one shape only, taken for none; MIOpen 1 stays below the direct peak in backward-weights, loses
#: nothing to zeros in strided backward-data of large filters, and takes 1 x 1 filters with padding in time proportional
#: to the images. Torch 7 and Caffe without cuDNN unroll the input into columns and multiply image by image (their
#: SpatialConvolutionMM and ConvolutionLayer). cuDNN before 5 has no Winograd kernels.
OFFERS: Final = {
    "columns": Offer(fused=False, transformed=False, transformed_weights=False, by_image=True),
    "cudnn-4": Offer(fused=False, transformed=False, transformed_weights=False),
    "cudnn-5": Offer(transformed_weights=False),
    "miopen-1": Offer(transformed=False, transformed_weights=False, phased=True, padded_one_by_one=False),
}
#: What a maker's library is taken to have, where none of the above is named.
CURRENT: Final = {"AMD": Offer(transformed=False, transformed_weights=False, phased=True)}


def offer_of(library: str, vendor: str) -> Offer:
    """Algorithms of a library on a maker's chips."""
    return OFFERS.get(library) or CURRENT.get(vendor, Offer())


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What decides which algorithms a row may use; every column has shape (rows,)."""

    element_byte: Floats
    matrix: NDArray[np.bool_]
    fused: NDArray[np.bool_]
    transformed: NDArray[np.bool_]
    transformed_weights: NDArray[np.bool_]
    phased: NDArray[np.bool_]
    padded_one_by_one: NDArray[np.bool_]
    by_image: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one algorithm leaves to do in the rows ``row`` that may use it; other columns have shape (len(row),).

    Parameters
    ----------
    batch, m, n, k
        Products [m, k] x [k, n].
    seams
        Places along k where the walk is interrupted (image edges in backward-weights).
    flop
        Work executed without padding [FLOP].
    staged_byte
        Bytes of kernels before and after the products [B]: transforms, columns.
    launches
        Kernels besides the first.
    repeats
        Times that the products run, one after another.
    fixed_s
        Seconds that neither products nor bytes explain [s].
    split
        Whether k may be split over cores, row by row.
    fused
        Whether one kernel does the transform and the products (`conv.fused_seconds`).
    overlaps
        Whether DRAM traffic runs beside the products.
    gathers
        Whether the products read the convolution's operands themselves, with its stride.
    """

    name: str
    row: NDArray[np.int64]
    batch: Floats
    m: Floats
    n: Floats
    k: Floats
    seams: Floats
    flop: Floats
    staged_byte: Floats
    launches: float = 0.0
    repeats: Floats
    fixed_s: Floats
    split: NDArray[np.bool_]
    fused: bool = False
    overlaps: bool = True
    gathers: bool = False


def plans(x: ConvShapes, setup: Setup) -> Iterator[Plan]:
    """Every algorithm with the rows that may use it; each row is in at least one plan."""
    back = x.direction == BACKWARD_DATA
    weights = x.direction == BACKWARD_WEIGHTS
    narrow_vector = (setup.element_byte < 4.0) & (setup.element_byte >= 2.0) & ~setup.matrix
    by_image = setup.by_image
    serial = back & (x.stride > 1.0) & narrow_vector & ~by_image
    image_wise = ~setup.padded_one_by_one & (x.taps == 1.0) & (x.pad_h + x.pad_w > 0.0) & ~weights
    image_wise = image_wise & ~by_image
    yield _implicit(x, setup, np.flatnonzero(~weights & ~serial & ~image_wise & ~by_image))
    yield _implicit_weights(x, setup, np.flatnonzero(weights & ~by_image))
    yield _columns_by_image(x, setup, np.flatnonzero(by_image))
    yield _image_wise(x, np.flatnonzero(image_wise))
    yield _serial(x, np.flatnonzero(serial))
    strided = back & (x.stride > 1.0) & ~serial & ~image_wise & ~by_image
    yield _scatter(x, setup, np.flatnonzero(strided))
    yield _phased(x, np.flatnonzero(strided & setup.phased))
    plain = (x.stride == 1.0) & ~setup.matrix & (setup.element_byte >= 2.0)
    three = plain & (x.filter_h == 3.0) & (x.filter_w == 3.0)
    five = plain & (x.filter_h == 5.0) & (x.filter_w == 5.0)
    yield _fused(x, np.flatnonzero(three & ~weights & setup.fused))
    yield _transformed("winograd-4x4", x, setup, np.flatnonzero(three & ~weights & setup.transformed), 4.0, 36.0)
    yield _transformed("winograd-5x5", x, setup, np.flatnonzero(five & ~weights & setup.transformed), 2.0, 36.0)
    yield _transformed("winograd-4x4", x, setup, np.flatnonzero(three & weights & setup.transformed_weights), 4.0, 36.0)
    yield _transformed("winograd-5x5", x, setup, np.flatnonzero(five & weights & setup.transformed_weights), 2.0, 36.0)


def _none(row: NDArray[np.int64]) -> Floats:
    return np.zeros(len(row))


def _one(row: NDArray[np.int64]) -> Floats:
    return np.ones(len(row))


def _never(row: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.zeros(len(row), bool)


def _ends(x: ConvShapes) -> tuple[Floats, Floats]:
    """Channels that the direction sums over, and channels that it makes."""
    back = x.direction == BACKWARD_DATA
    return np.where(back, x.filters, x.channels), np.where(back, x.channels, x.filters)


def _made(x: ConvShapes) -> tuple[Floats, Floats]:
    """Height and width of what the direction makes (of the output in backward-weights)."""
    back = x.direction == BACKWARD_DATA
    return np.where(back, x.height, x.out_h), np.where(back, x.width, x.out_w)


def _padded(channels: Floats, setup: Setup, row: NDArray[np.int64]) -> Floats:
    """Channels of a tap as a step along k takes them."""
    together = np.where(setup.element_byte < 2.0, BYTE_CHANNELS, np.where(setup.matrix, MATRIX_CHANNELS, 1.0))[row]
    return np.asarray(np.ceil(channels[row] / together) * together)


def _implicit(x: ConvShapes, setup: Setup, row: NDArray[np.int64]) -> Plan:
    """Implicit GEMM: m = positions made, n = channels made, k = channels summed x taps.

    Strided backward-data reads the gradient with zeros between, so it multiplies stride times as much.
    """
    summed, made = _ends(x)
    height, width = _made(x)
    return Plan(name="implicit-gemm", row=row, batch=_one(row), m=(x.batch * height * width)[row], n=made[row],
                k=_padded(summed, setup, row) * x.taps[row], seams=_none(row), flop=x.flop[row],
                staged_byte=_none(row), repeats=_one(row), fixed_s=_none(row), split=setup.matrix[row],
                gathers=True)  # fmt: skip


def _implicit_weights(x: ConvShapes, setup: Setup, row: NDArray[np.int64]) -> Plan:
    """Implicit GEMM of backward-weights: m = channels x taps, n = filters, k = positions of all images.

    k is split over cores. A step along k does not cross from one image to the next.
    """
    return Plan(name="implicit-gemm", row=row, batch=_one(row), m=_padded(x.channels, setup, row) * x.taps[row],
                n=x.filters[row], k=(x.batch * x.out_h * x.out_w)[row], seams=x.batch[row], flop=x.flop[row],
                staged_byte=_none(row), repeats=_one(row), fixed_s=_none(row),
                split=np.ones(len(row), bool), gathers=True)  # fmt: skip


def _image_wise(x: ConvShapes, row: NDArray[np.int64]) -> Plan:
    """One small product for each image, one after another: what a library falls back to when no kernel fits."""
    summed, made = _ends(x)
    height, width = _made(x)
    return Plan(name="image-by-image", row=row, batch=_one(row), m=(height * width)[row], n=made[row], k=summed[row],
                seams=_none(row), flop=x.flop[row], staged_byte=_none(row), repeats=x.batch[row],
                fixed_s=_none(row), split=_never(row))  # fmt: skip


def _columns_by_image(x: ConvShapes, setup: Setup, row: NDArray[np.int64]) -> Plan:
    """Columns written and read for one image after another, with one small product for each.

    Backward-weights reads and writes the gradient of the weights for every image.
    """
    back, weights = (x.direction == d for d in (BACKWARD_DATA, BACKWARD_WEIGHTS))
    positions, unrolled = x.out_h * x.out_w, x.channels * x.taps
    staged = 2.0 * x.batch * positions * unrolled + np.where(weights, 2.0 * x.batch * x.weights, x.inputs)
    return Plan(name="columns-by-image", row=row, batch=_one(row), m=np.where(weights, unrolled, positions)[row],
                n=np.where(back, unrolled, x.filters)[row],
                k=np.where(back, x.filters, np.where(weights, positions, unrolled))[row], seams=_none(row),
                flop=x.flop[row], staged_byte=(staged * setup.element_byte)[row], launches=1.0,
                repeats=x.batch[row], fixed_s=_none(row), split=_never(row), overlaps=False)  # fmt: skip


def _serial(x: ConvShapes, row: NDArray[np.int64]) -> Plan:
    """Fallback that walks over the image's positions one after another (`POSITION_S`)."""
    channels = x.channels[row]
    walk = x.height[row] * x.width[row] * POSITION_S * channels / (channels + POSITION_CHANNELS)
    return Plan(name="serial", row=row, batch=_one(row), m=(x.batch * x.out_h * x.out_w)[row],
                n=channels * x.taps[row], k=x.filters[row], seams=_none(row), flop=x.flop[row],
                staged_byte=_none(row), repeats=_one(row), fixed_s=walk, split=_never(row), overlaps=False)  # fmt: skip


def _scatter(x: ConvShapes, setup: Setup, row: NDArray[np.int64]) -> Plan:
    """Strided backward-data by columns: one product without zeros, its result written, read and summed into a cleared
    gradient of the input."""
    columns = x.batch * x.out_h * x.out_w * x.channels * x.taps
    staged = (2.0 * columns + x.inputs) * setup.element_byte
    return Plan(name="columns", row=row, batch=_one(row), m=(x.batch * x.out_h * x.out_w)[row],
                n=(x.channels * x.taps)[row], k=x.filters[row], seams=_none(row), flop=x.flop[row],
                staged_byte=staged[row], launches=1.0, repeats=_one(row), fixed_s=_none(row),
                split=setup.matrix[row], overlaps=False)  # fmt: skip


def _phased(x: ConvShapes, row: NDArray[np.int64]) -> Plan:
    """Strided backward-data by phase: positions alike modulo the stride see the same taps, without zeros."""
    phases = np.minimum(x.stride_h, x.filter_h) * np.minimum(x.stride_w, x.filter_w)
    taps = np.ceil(x.filter_h / x.stride_h) * np.ceil(x.filter_w / x.stride_w)
    positions = x.batch * np.ceil(x.height / x.stride_h) * np.ceil(x.width / x.stride_w)
    return Plan(name="phases", row=row, batch=phases[row], m=positions[row], n=x.channels[row],
                k=(x.filters * taps)[row], seams=_none(row), flop=x.flop[row], staged_byte=_none(row),
                repeats=_one(row), fixed_s=_none(row), split=_never(row))  # fmt: skip


def _fused(x: ConvShapes, row: NDArray[np.int64]) -> Plan:
    """Winograd F(2 x 2, 3 x 3) in one kernel: 16 products for 4 outputs instead of 36; 3 x 3 filters, stride 1."""
    summed, made = _ends(x)
    height, width = _made(x)
    tiles = (x.batch * np.ceil(height / 2.0) * np.ceil(width / 2.0))[row]
    return Plan(name="winograd-2x2", row=row, batch=np.full(len(row), 16.0), m=tiles, n=made[row], k=summed[row],
                seams=_none(row), flop=32.0 * tiles * made[row] * summed[row], staged_byte=_none(row),
                repeats=_one(row), fixed_s=_none(row), split=_never(row), fused=True)  # fmt: skip


def _transformed(
    name: str, x: ConvShapes, setup: Setup, row: NDArray[np.int64], outputs: float, elements: float
) -> Plan:
    """Winograd in separate kernels: transform input and weights, a batch of products, transform back.

    A tile of outputs x outputs positions becomes `elements` numbers in every channel, and one product for each of them.
    """
    summed, made = _ends(x)
    height, width = _made(x)
    weights = x.direction[row] == BACKWARD_WEIGHTS
    tiles = (x.batch * np.ceil(height / outputs) * np.ceil(width / outputs))[row]
    channels, filters = x.channels[row], x.filters[row]
    staged = (x.inputs + x.outputs + x.weights)[row] + elements * tiles * (channels + filters)
    staged = staged + elements * channels * filters
    work = 2.0 * elements * tiles * channels * filters
    return Plan(name=name, row=row, batch=np.full(len(row), elements), m=np.where(weights, channels, tiles),
                n=made[row], k=np.where(weights, tiles, summed[row]), seams=_none(row), flop=work,
                staged_byte=staged * setup.element_byte[row], launches=3.0,
                repeats=_one(row), fixed_s=_none(row), split=weights, overlaps=False)  # fmt: skip
