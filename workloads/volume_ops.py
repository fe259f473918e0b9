"""Lays out a three-dimensional convolutional network's ops in forward order: the sibling of `image_ops`.

What is kept for the backward pass follows the same rules, every stored tensor once: a convolution keeps its input,
instance and batch norm their input, ReLU and leaky ReLU (in place) their output, max-pooling input and output, average
pooling its input, copies nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from workloads.layer import Layer
from workloads.op import Op, WorkloadError, conv3d, gemm, transposed, vector, window_output
from workloads.workload import Hyper, Workload

Triple = tuple[int, int, int]
#: Norms and how often they read their input: statistics first, then the values.
NORMS = {"batch": True, "instance": True, "none": False}


@dataclass
class Volume:
    """An activation of (depth, height, width); ``kept`` turns true when an op stores it for the backward pass."""

    channels: int
    dhw: Triple
    kept: bool = False
    is_input: bool = False

    @property
    def elements(self) -> int:
        """Numbers in the volume."""
        return self.channels * self.dhw[0] * self.dhw[1] * self.dhw[2]

    def keep(self) -> float:
        """Elements that storing this volume adds: none the second time."""
        added = 0.0 if self.kept else float(self.elements)
        self.kept = True
        return added


class VolumeOps:
    """Lays out the ops of one layer in forward order; methods take and return volumes.

    With ``flat`` every volume is one slice deep and all windows are one deep: the same network for images. Its
    convolutions are exactly two-dimensional ones.
    """

    def __init__(self, *, flat: bool = False) -> None:
        self.flat = flat
        self.ops: list[Op] = []

    def window(self, size: int) -> Triple:
        """A cube of that size, one slice deep where volumes are flat."""
        return (1 if self.flat else size, size, size)

    def conv(
        self, x: Volume, c_out: int, kernel: int, *, stride: int = 1, padding: int = 0, bias: bool = False
    ) -> Volume:
        """A convolution; it keeps its input."""
        shape = self.window(kernel)
        op = conv3d(
            name=f"conv {'x'.join(map(str, shape))} {x.channels}-{c_out}",
            in_dhw=x.dhw,
            c_in=x.channels,
            c_out=c_out,
            kernel=shape,
            stride=self.window(stride),
            padding=(0 if self.flat else padding, padding, padding),
            bias=bias,
            input_needs_gradient=not x.is_input,
        )
        self.ops.append(replace(op, saved_elements=x.keep()))
        return Volume(c_out, (op.depth[4], *op.out_hw))

    def up_conv(self, x: Volume, c_out: int, *, factor: int = 2) -> Volume:
        """A transposed convolution with bias whose window and stride are ``factor``; keeps its input."""
        window = self.window(factor)
        dhw = (x.dhw[0] * window[0], x.dhw[1] * window[1], x.dhw[2] * window[2])
        name = f"up-conv {x.channels}-{c_out}"
        base = conv3d(name=name, in_dhw=dhw, c_in=c_out, c_out=x.channels, kernel=window, stride=window)
        self.ops.append(replace(transposed(base, name=name, bias=True), saved_elements=x.keep()))
        return Volume(c_out, dhw)

    def norm(self, x: Volume, kind: str = "instance") -> Volume:
        """Instance or batch norm with scale and shift (or ``none``); it keeps its input."""
        if kind not in NORMS:
            raise WorkloadError(f"norm '{kind}'. Legal: {', '.join(NORMS)}.")
        if kind == "none":
            return x
        out = Volume(x.channels, x.dhw)
        self._vector(f"{kind} norm", out, reads=2 * x.elements, saved=x.keep(), parameters=2 * x.channels)
        return out

    def activate(self, x: Volume, kind: str = "leaky") -> Volume:
        """ReLU or leaky ReLU in place; its output is kept."""
        out = Volume(x.channels, x.dhw)
        self._vector(kind, out, reads=x.elements, saved=out.keep())
        return out

    def unit(
        self,
        x: Volume,
        c_out: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        padding: int | None = None,
        bias: bool = False,
        norm: str = "instance",
        activation: str = "leaky",
    ) -> Volume:
        """Convolution, norm, activation; padded to keep the size (at stride 1) unless told."""
        pad = kernel // 2 if padding is None else padding
        y = self.conv(x, c_out, kernel, stride=stride, padding=pad, bias=bias)
        return self.activate(self.norm(y, norm), activation)

    def average_pool(self, x: Volume, kernel: int = 2, *, stride: int = 2, padding: int = 0) -> Volume:
        """Average pooling; keeps its input, as PyTorch does (whose shape alone would do)."""
        out = self._pooled("average-pool", x, kernel, stride, padding)
        self._vector("average-pool", out, reads=x.elements, saved=x.keep())
        return out

    def max_pool(self, x: Volume, kernel: int = 2, *, stride: int = 2, padding: int = 0) -> Volume:
        """Maximum pooling; keeps input and output."""
        out = self._pooled("max-pool", x, kernel, stride, padding)
        self._vector("max-pool", out, reads=x.elements, saved=x.keep() + out.keep())
        return out

    def concatenate(self, *volumes: Volume) -> Volume:
        """Copies volumes of one size into one of all their channels."""
        if len({volume.dhw for volume in volumes}) != 1:
            raise WorkloadError(f"cannot join volumes of {', '.join(str(volume.dhw) for volume in volumes)}.")
        out = Volume(sum(volume.channels for volume in volumes), volumes[0].dhw)
        self._vector("concatenate", out, reads=out.elements)
        return out

    def dropout(self, x: Volume) -> Volume:
        """Dropout; a one-byte mask is kept."""
        out = Volume(x.channels, x.dhw)
        self._vector("dropout", out, reads=x.elements, saved=0.5 * x.elements)
        return out

    def dense(self, x: Volume, features: int) -> Volume:
        """A fully connected layer with bias on the flattened input."""
        op = gemm(name=f"dense {x.elements}-{features}", m=1, n=features, k=x.elements, bias=True)
        self.ops.append(replace(op, saved_elements=x.keep()))
        return Volume(features, (1, 1, 1))

    def voxel_loss(self, x: Volume) -> None:
        """Softmax, Dice and cross-entropy against one-hot labels, in fp32 (two 2-byte elements a number)."""
        # Softmax, log-softmax, and the products and sums with the labels; probabilities and log-softmax are kept.
        self.ops.append(
            vector(
                name="Dice and cross-entropy", read_elements=17 * x.elements, write_elements=10 * x.elements,
                saved_elements=6.0 * x.elements, launches=24,
            )
        )  # fmt: skip

    def small_loss(self, x: Volume) -> None:
        """A loss of a few numbers: launches, hardly any traffic."""
        self._vector("loss", x, reads=4 * x.elements, saved=2.0 * x.elements, launches=4)

    def layer(self, name: str, kind: str, *, repeat: int = 1) -> Layer:
        """The ops laid out so far as one `Layer`."""
        return Layer(name=name, kind=kind, ops=tuple(self.ops), repeat=repeat)

    def _pooled(self, name: str, x: Volume, kernel: int, stride: int, padding: int) -> Volume:
        window, step = self.window(kernel), self.window(stride)
        sides = [
            window_output(name=name, in_hw=(side, 1), kernel=(size, 1), stride=(by, 1), padding=(pad, 0))[0]
            for side, size, by, pad in zip(
                x.dhw, window, step, (0 if self.flat else padding, padding, padding), strict=True
            )
        ]
        return Volume(x.channels, (sides[0], sides[1], sides[2]))

    def _vector(
        self, name: str, out: Volume, *, reads: int, saved: float = 0.0, parameters: int = 0, launches: int = 1
    ) -> None:
        self.ops.append(
            vector(
                name=name, read_elements=reads, write_elements=out.elements, saved_elements=saved,
                parameters=parameters, launches=launches,
            )
        )  # fmt: skip


def volume_workload(
    name: str, layers: list[Layer], *, source: str, family: str = "convnet", sample: str = "volume", **hyper: Hyper
) -> Workload:
    """A `Workload` of volumes from its layers."""
    return Workload(name=name, family=family, sample=sample, layers=tuple(layers), hyper=hyper, source=source)
