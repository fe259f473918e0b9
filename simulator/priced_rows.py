"""Collects the kernels of a workload row by row and prices its products, convolutions and attention together.

The kernel models are evaluated once for a whole workload and all its shapes. What they add to the nominal work is kept
as FLOPs at the peak (`OpTable.lost`), so that fitted constants of steps multiply it later without another evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hwmodels.chip import Chip
from workloads.op import Op
from workloads.precision import PrecisionRecipe

from .kernels import conv_algorithms as conv
from .kernels.attention import AttentionShapes, attention_time, pairs
from .kernels.conv import conv_time
from .kernels.device_constants import device_constants
from .kernels.gemm import GemmShapes
from .kernels.kernel_time import KernelTime
from .kernels.optable import ATTENTION, BACKWARD, CONV, LOSSES, THIN, VECTOR, Floats, OpTable
from .kernels.products import product_time
from .kernels.settings import Setting, Settings
from .stack import Stack

#: Backward work of fused attention against its forward work (five products against two), FlashAttention,
#: arXiv:2205.14135.
ATTENTION_BACKWARD: Final = 2.5
#: Convolutions whose groups have at most so many input channels move bytes rather than multiply.
THIN_CHANNELS: Final = 4
#: Kernels of one image where a library unrolls and multiplies image by image: columns, product, bias.
BY_IMAGE_KERNELS: Final = 3.0
#: What a matrix unit loads at once: rows that start elsewhere than on its multiples miss it [B] (NVIDIA, Matrix
#: Multiplication Background User's Guide, "Requirements to use Tensor Cores"; libraries' batched products still do).
MATRIX_LOAD_BYTE: Final = 16
#: Chips whose arrays multiply groups of any width, if most of a tile idles.
_ARRAYS: Final = ("systolic", "sram")
#: Precisions of products of parameters only: others (attention) stay in 16 bit.
_PARAMETERS_ONLY: Final = ("fp8", "fp4", "int8")


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """Distinct shapes of the work; every field has shape (shapes,)."""

    micro_batch: Floats
    tp: Floats
    cp: Floats
    sequence_parallel: NDArray[np.bool_]
    ep: Floats
    etp: Floats
    hybrid: Floats

    def __len__(self) -> int:
        return len(self.micro_batch)

    @classmethod
    def one(
        cls, *, micro_batch: int, tp: int = 1, cp: int = 1, sequence_parallel: bool = False, ep: int = 1, etp: int = 1,
        hybrid: int = 1,
    ) -> Shapes:  # fmt: skip
        """One shape of the work."""
        return cls(
            micro_batch=np.array([float(micro_batch)]), tp=np.array([float(tp)]), cp=np.array([float(cp)]),
            sequence_parallel=np.array([sequence_parallel]), ep=np.array([float(ep)]), etp=np.array([float(etp)]),
            hybrid=np.array([float(hybrid)]),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Product:
    """Products whose losses are still to be priced, and their place among the rows; extents of shape (shapes,).

    ``off_matrix``: they miss the matrix units and run on the vector units, in fp32.
    """

    place: int
    rate: int
    off_matrix: bool
    batch: Floats
    m: Floats
    n: Floats
    k: Floats
    a_share: Floats
    b_share: Floats


@dataclass(frozen=True, kw_only=True)
class _Convolution:
    """A pass of a convolution whose losses are still to be priced, and its place among the rows."""

    place: int
    op: Op
    direction: int


def storage_word(chip: Chip, recipe: PrecisionRecipe) -> str:
    """Precision of products that stay out of 8 and 4 bit (attention)."""
    if recipe.matmul not in _PARAMETERS_ONLY:
        return recipe.matmul
    return "bf16" if "bf16" in chip.peak_flop_per_s else "fp16"


def losses(time: KernelTime, setting: Setting) -> Floats:
    """Device time of kernels beyond their nominal work at the peak, start apart, as `LOSSES`.

    Shape (rows, len(LOSSES)) [FLOP]; they and the nominal work add up to (device time - start) x peak.
    """
    return np.stack([time.parts.get(name, np.zeros(time.rows)) for name in LOSSES], axis=1) * setting.peak_flop_per_s


@dataclass(kw_only=True)
class Rows:
    """Collects rows while one workload is lowered; every row has all shapes."""

    chip: Chip
    stack: Stack
    recipe: PrecisionRecipe
    shapes: Shapes
    frozen: bool = False
    columns: dict[str, list[Floats]] = field(
        default_factory=lambda: {n: [] for n in ("flop", "byte", "launches", "issued")}
    )
    labels: dict[str, list[int]] = field(default_factory=lambda: {n: [] for n in ("block", "phase", "kind", "rate")})
    lost: dict[int, Floats] = field(default_factory=dict)
    products: list[_Product] = field(default_factory=list)
    convolutions: list[_Convolution] = field(default_factory=list)

    @property
    def next(self) -> int:
        """Place of the row that is added next."""
        return len(self.labels["block"])

    def add(
        self, *, block: int, phase: int, kind: int, rate: int, flop: Floats | float, byte: Floats | float,
        launches: Floats | float, issued: Floats | float | None = None,
    ) -> None:  # fmt: skip
        """One row: nominal work, traffic, its kernels, and those that the host issues where they are more."""
        ones = np.ones(len(self.shapes))
        if kind == VECTOR:
            launches = launches * self.stack.vector_launch_share
        issued = launches if issued is None else issued
        for name, value in (("flop", flop), ("byte", byte), ("launches", launches), ("issued", issued)):
            self.columns[name].append(ones * value)
        for name, label in (("block", block), ("phase", phase), ("kind", kind), ("rate", rate)):
            self.labels[name].append(label)

    def product(
        self, *, block: int, phase: int, kind: int, rate: int, batch: Floats | float, m: Floats | float,
        n: Floats | float, k: Floats | float, extra_byte: Floats | float = 0.0, operands_byte: Floats | None = None,
        issued: Floats | float = 1.0, off_matrix: bool = False, a_share: Floats | float = 1.0,
        b_share: Floats | float = 1.0,
    ) -> None:  # fmt: skip
        """One matrix product and its traffic (``operands_byte`` and the shares where operands overlap in memory)."""
        ones = np.ones(len(self.shapes))
        batch, m, n, k = ones * batch, ones * m, ones * n, ones * k
        self.products.append(
            _Product(
                place=self.next, rate=rate, off_matrix=off_matrix, batch=batch, m=m, n=n, k=k,
                a_share=ones * a_share, b_share=ones * b_share,
            )
        )  # fmt: skip
        if operands_byte is None:
            operand_byte = self.recipe.matmul_byte if rate == 0 else self.recipe.storage_byte
            operands_byte = batch * (operand_byte * (m * k + k * n) + self.recipe.storage_byte * m * n)
        self.add(
            block=block, phase=phase, kind=kind, rate=rate, flop=2.0 * batch * m * n * k,
            byte=operands_byte + extra_byte, launches=1.0, issued=issued,
        )  # fmt: skip

    def convolution(self, op: Op, *, block: int, phase: int, direction: int, byte: Floats) -> None:
        """One pass of a convolution.

        Groups of few channels have nothing for a GPU's matrix unit to do, nor single channels for any: such a pass
        moves bytes. Other groups, volumes, and chips without a model of convolutions, run it as products, ragged as
        they are.
        """
        # Ranks that share an image have a slab of it each.
        images, groups = self.shapes.micro_batch / self.shapes.cp, float(op.batch)
        outputs, inputs = images * op.m, images * op.in_hw[0] * op.in_hw[1] * op.depth[3]
        flop = 2.0 * outputs * op.n * op.k * groups
        thin = 1 if self.chip.kind in _ARRAYS else THIN_CHANNELS
        if op.batch > 1 and op.c_in // op.batch <= thin:
            self.add(block=block, phase=phase, kind=THIN, rate=1, flop=flop, byte=byte, launches=1.0)
            return
        if self.chip.kind == "gpu" and op.batch == 1 and op.depth[0] == 1:
            self.convolutions.append(_Convolution(place=self.next, op=op, direction=direction))
            by_image = conv.offer_of(self.stack.kernel_library, self.chip.vendor).by_image
            issued = BY_IMAGE_KERNELS * images if by_image else None
            self.add(
                block=block, phase=phase, kind=CONV, rate=0, flop=flop, byte=byte, launches=1.0, issued=issued
            )  # fmt: skip
            return
        channels = op.c_in / groups
        extents: tuple[Floats | float, Floats | float, Floats | float] = (outputs, float(op.n), float(op.k))
        patches = np.minimum(1.0, inputs * channels / (outputs * op.k))
        shares: tuple[Floats | float, Floats | float] = (patches, 1.0)
        if direction == conv.BACKWARD_DATA:
            taps = flop / (2.0 * groups * inputs * channels)
            extents, shares = (inputs, channels, taps), (np.minimum(1.0, outputs * op.n / (inputs * taps)), 1.0)
        elif direction == conv.BACKWARD_WEIGHTS:
            extents, shares = (float(op.n), float(op.k), outputs), (1.0, patches)
        m, n, k = extents
        self.product(
            block=block, phase=phase, kind=CONV, rate=0, batch=groups, m=m, n=n, k=k, operands_byte=byte,
            a_share=shares[0], b_share=shares[1],
        )  # fmt: skip

    def misses_matrix_units(self, width: int) -> bool:
        """Whether 16-bit products of rows of ``width`` elements side by side miss the matrix units."""
        word = storage_word(self.chip, self.recipe)
        eligible = self.chip.kind == "gpu" and self.chip.has_matrix_units and "fp32" in self.chip.peak_flop_per_s
        return eligible and word in ("fp16", "bf16") and 2 * width % MATRIX_LOAD_BYTE != 0

    def attention(self, op: Op, *, heads: Floats, block: int, phase: int, byte: Floats) -> None:
        """One direction of fused attention; a context-parallel rank has its share of the queries."""
        keys, ones = float(op.context), np.ones(len(self.shapes))
        backward = phase == BACKWARD
        # Half of the work multiplies as wide as queries and keys, half as wide as values.
        width = 0.5 * (op.head_dim + op.value_width)
        shapes = AttentionShapes(
            batch=ones, heads=heads, head_dim=ones * width, seq=ones * keys, causal=ones * float(op.causal),
            forward=ones * float(not backward), backward=ones * float(backward),
        )  # fmt: skip
        share = op.seq_len / self.shapes.cp / keys
        if self.chip.kind == "gpu":
            word = storage_word(self.chip, self.recipe)
            setting = Setting(chip=self.chip.one_die, precision=word, library=self.stack.attention_library)
            settings = Settings.all_of(setting, len(self.shapes))
            time = attention_time(shapes, settings, device_constants()["attention"].rows(settings))
            self.lost[self.next] = losses(time, setting) * share[:, None]
        flop = 4.0 * (ATTENTION_BACKWARD if backward else 1.0) * width * pairs(shapes) * share
        self.add(block=block, phase=phase, kind=ATTENTION, rate=1, flop=flop, byte=byte, launches=1.0)

    def table(self) -> OpTable:
        """All rows as columns, every row of every shape."""
        self._price_products()
        self._price_convolutions()
        shapes, rows = len(self.shapes), self.next
        label = {name: np.repeat(np.array(values, dtype=np.int64), shapes) for name, values in self.labels.items()}
        column = {name: np.concatenate(values) if values else np.zeros(0) for name, values in self.columns.items()}
        none = np.zeros((shapes, len(LOSSES)))
        lost = np.concatenate([self.lost.get(row, none) for row in range(rows)]) if rows else none[:0]
        return OpTable(
            shape=np.tile(np.arange(shapes, dtype=np.int64), rows), block=label["block"], phase=label["phase"],
            kind=label["kind"], rate=label["rate"], flop=column["flop"], work=column["flop"] + np.sum(lost, axis=1),
            lost=lost, byte=column["byte"], launches=column["launches"], issued=column["issued"],
        )  # fmt: skip

    def _price_products(self) -> None:
        """Price all products with one call for each precision; those off the matrix units as losses beside them."""
        words = (self.recipe.matmul, storage_word(self.chip, self.recipe))
        for rate, off_matrix in ((0, False), (1, False), (0, True), (1, True)):
            mine = [p for p in self.products if p.rate == rate and p.off_matrix == off_matrix]
            if not mine:
                continue
            word = "fp32" if off_matrix else words[rate]
            extents = {name: np.concatenate([getattr(p, name) for p in mine]) for name in ("batch", "m", "n", "k")}
            shares = {name: np.concatenate([getattr(p, name) for p in mine]) for name in ("a_share", "b_share")}
            # A rank may hold less than one row of a product that is cut into many pieces.
            shapes = GemmShapes(**{name: np.maximum(value, 1.0) for name, value in extents.items()}, **shares)
            setting = Setting(chip=self.chip.one_die, precision=word, library=self.stack.kernel_library)
            lost = losses(product_time(shapes, setting, device_constants()), setting)
            if off_matrix:
                slower = self.chip.one_die.peak(words[rate]) / setting.peak_flop_per_s
                lost = lost * slower
                lost[:, LOSSES.index("library")] += (slower - 1.0) * 2.0 * shapes.batch * shapes.m * shapes.n * shapes.k
            self._keep([p.place for p in mine], lost)

    def _price_convolutions(self) -> None:
        """Price all convolutions with one call."""
        if not self.convolutions:
            return
        ops, count = [c.op for c in self.convolutions], len(self.shapes)

        def column(values: Sequence[float]) -> Floats:
            return np.repeat(np.array(values, dtype=float), count)

        shapes = conv.ConvShapes(
            batch=np.tile(self.shapes.micro_batch / self.shapes.cp, len(ops)), channels=column([o.c_in for o in ops]),
            height=column([o.in_hw[0] for o in ops]), width=column([o.in_hw[1] for o in ops]),
            filters=column([o.c_out for o in ops]), filter_h=column([o.kernel[0] for o in ops]),
            filter_w=column([o.kernel[1] for o in ops]), pad_h=column([o.padding[0] for o in ops]),
            pad_w=column([o.padding[1] for o in ops]), stride_h=column([o.stride[0] for o in ops]),
            stride_w=column([o.stride[1] for o in ops]),
            direction=np.repeat(np.array([c.direction for c in self.convolutions], dtype=np.int64), count),
        )  # fmt: skip
        setting = Setting(chip=self.chip.one_die, precision=self.recipe.matmul, library=self.stack.kernel_library)
        settings = Settings.all_of(setting, shapes.rows)
        time = conv_time(shapes, settings, device_constants()["conv"].rows(settings))
        self._keep([c.place for c in self.convolutions], losses(time, setting))

    def _keep(self, places: Sequence[int], lost: Floats) -> None:
        for place, part in zip(places, np.split(lost, len(places)), strict=True):
            self.lost[place] = part
