"""Lays out the ops that detectors and segmenters add: frozen parts, up-sampling, shared heads, losses.

What is kept for the backward pass follows `image_ops`: every stored tensor once. In addition: instance norm, swish
and leaky ReLU keep their input; frozen norms, up-sampling, crops and copies keep nothing.

A dilated convolution that keeps its size is laid out without dilation and with the padding of the undilated kernel:
the same outputs, products and parameters. Proposals of one image that pass the same convolutions are stacked along the
height, so that each op still counts the work of one image.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from workloads.image_ops import ImageOps, Pair, Tensor
from workloads.layer import Layer
from workloads.op import Op, WorkloadError, conv, gemm, transposed, vector

#: Kernels an eager framework launches for a norm whose four vectors are constants: folding them, times, plus. Half of
#: the forward count, because its backward pass (priced with the same count) is one kernel.
FROZEN_NORM_LAUNCHES = 4


class PredictionOps(ImageOps):
    """`ImageOps` with what dense prediction adds."""

    def norm(self, x: Tensor, kind: str = "batch") -> Tensor:
        """A norm: ``batch``, ``instance``, ``plain instance``, ``frozen``, ``fixed`` or ``none``.

        A plain one has no parameters, a frozen one only constants; ``fixed`` is a batch norm that uses running
        statistics but learns its scale and shift.
        """
        if kind == "none":
            return x
        if kind == "batch":
            return self.batch_norm(x)
        out = Tensor(x.channels, x.hw)
        if kind == "frozen":
            self.pass_over("frozen norm", out, reads=x.elements, launches=FROZEN_NORM_LAUNCHES)
        elif kind == "fixed":
            self.pass_over("fixed norm", out, reads=x.elements, saved=x.keep(), parameters=2 * x.channels)
        elif kind in ("instance", "plain instance"):
            learned = 2 * x.channels if kind == "instance" else 0
            self.pass_over("instance norm", out, reads=2 * x.elements, saved=x.keep(), parameters=learned)
        else:
            raise WorkloadError(f"norm '{kind}'. Legal: batch, instance, plain instance, frozen, fixed, none.")
        return out

    def activate(self, x: Tensor, kind: str = "relu") -> Tensor:
        """An activation: ``relu`` in place, ``leaky`` (not in place), ``swish`` or ``none``; both keep their input."""
        if kind == "none":
            return x
        if kind == "relu":
            return self.relu(x)
        if kind not in ("leaky", "swish"):
            raise WorkloadError(f"activation '{kind}'. Legal: relu, leaky, swish, none.")
        out = Tensor(x.channels, x.hw)
        self.pass_over(kind, out, reads=x.elements, saved=x.keep())
        return out

    def unit(
        self,
        x: Tensor,
        c_out: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int | None = None,
        groups: int = 1,
        bias: bool = False,
        norm: str = "batch",
        activation: str = "relu",
    ) -> Tensor:
        """Convolution, norm, activation; padded to keep the size (at stride 1) unless told."""
        pad = kernel // 2 if padding is None else padding
        y = self.conv(x, c_out, kernel, stride=stride, padding=pad, groups=groups, bias=bias)
        return self.activate(self.norm(y, norm), activation)

    def separable(
        self, x: Tensor, c_out: int, kernel: int = 3, *, stride: int = 1, bias: bool = False, between: bool = False
    ) -> Tensor:
        """A convolution of each channel alone, then 1 x 1 over all; ``between`` puts a norm and a ReLU after each."""
        y = self.conv(x, x.channels, kernel, stride=stride, padding=kernel // 2, groups=x.channels)
        if not between:
            return self.conv(y, c_out, 1, bias=bias)
        return self.unit(self.relu(self.norm(y)), c_out, 1)

    def up_conv(
        self, x: Tensor, c_out: int, kernel: int, *, stride: int = 2, padding: int = 0, bias: bool = True
    ) -> Tensor:
        """A transposed convolution whose output is ``stride`` times as large; keeps its input."""
        hw = (x.hw[0] * stride, x.hw[1] * stride)
        name = f"up-conv {kernel}x{kernel} {x.channels}-{c_out}"
        base = conv(
            name=name, in_hw=hw, c_in=c_out, c_out=x.channels, kernel=(kernel, kernel), stride=(stride, stride),
            padding=(padding, padding),
        )  # fmt: skip
        if base.out_hw != x.hw:
            raise WorkloadError(f"op '{name}': kernel, stride {stride} and padding {padding} do not lead to {hw}.")
        self.ops.append(replace(transposed(base, name=name, bias=bias), saved_elements=x.keep()))
        return Tensor(c_out, hw)

    def resize(self, x: Tensor, hw: Pair, *, name: str = "up-sample") -> Tensor:
        """Nearest or bilinear resizing; nothing is kept."""
        out = Tensor(x.channels, hw)
        self.pass_over(name, out, reads=x.elements)
        return out

    def double(self, x: Tensor) -> Tensor:
        """Resizing to twice the sides."""
        return self.resize(x, (2 * x.hw[0], 2 * x.hw[1]))

    def crop(self, x: Tensor, hw: Pair) -> Tensor:
        """The middle of a tensor, copied; nothing is kept."""
        if hw[0] > x.hw[0] or hw[1] > x.hw[1]:
            raise WorkloadError(f"cannot crop {x.hw} to {hw}.")
        return x if hw == x.hw else self.resize(x, hw, name="crop")

    def excite(self, x: Tensor, hidden: int) -> Tensor:
        """Squeeze and excitation with swish: pooled, two 1 x 1 convolutions with bias, and a gate on every channel."""
        gate = self.activate(self.conv(self.pool_to(x, 1), hidden, 1, bias=True), "swish")
        return self.scale(x, self.sigmoid(self.conv(gate, x.channels, 1, bias=True)))

    def rows(self, name: str, rows: int, n: int, k: int, *, saved: float) -> None:
        """A dense layer with bias on each of ``rows`` rows of one image."""
        op = gemm(name=f"{name} {k}-{n}", m=rows, n=n, k=k, bias=True)
        self.ops.append(replace(op, saved_elements=saved))

    def pass_over(
        self, name: str, out: Tensor, *, reads: int, saved: float = 0.0, parameters: int = 0, launches: int = 1
    ) -> None:
        """An element-wise op that writes ``out``."""
        self.loss(name, reads=reads, writes=out.elements, saved=saved, parameters=parameters, launches=launches)

    def loss(
        self, name: str, *, reads: int, writes: int, saved: float = 0.0, parameters: int = 0, launches: int = 1
    ) -> None:
        """An op of several element-wise kernels, by what they read and write together."""
        self.ops.append(
            vector(
                name=name, read_elements=reads, write_elements=writes, saved_elements=saved, parameters=parameters,
                launches=launches,
            )
        )  # fmt: skip

    def select(self, name: str, *, reads: int, writes: int, launches: int, sample_launches: int = 0) -> None:
        """A data-dependent op without a gradient: matching, sorting, suppression, sampling.

        ``launches`` serve a whole batch, ``sample_launches`` one image each.
        """
        op = vector(
            name=name, read_elements=reads, write_elements=writes, launches=launches + sample_launches,
            sample_launches=sample_launches,
        )  # fmt: skip
        self.ops.append(replace(op, trainable=False, input_needs_gradient=False))

    @contextmanager
    def shared(self, again: bool = True) -> Iterator[None]:
        """Products laid out inside use the parameters of an earlier call (``again``) and add none."""
        start = len(self.ops)
        yield
        if again:
            self.ops[start:] = [
                replace(op, parameters=0) if op.kind in ("conv", "gemm") else op for op in self.ops[start:]
            ]

    def frozen_layer(self, name: str, kind: str, *, repeat: int = 1) -> Layer:
        """The ops laid out so far as a `Layer` that is never trained: no gradients, nothing kept."""
        return Layer(name=name, kind=kind, ops=tuple(frozen(op) for op in self.ops), repeat=repeat)


def frozen(op: Op) -> Op:
    """An op that only runs forward: its parameters are constants and nothing before it learns."""
    return replace(op, trainable=False, input_needs_gradient=False, saved_elements=0.0)


def detached(x: Tensor) -> Tensor:
    """A tensor that nothing before it learns from: the next convolution computes no gradient for it, but keeps it."""
    return Tensor(x.channels, x.hw, is_image=True)


def image_of(channels: int, hw: Pair) -> Tensor:
    """An image of any number of channels, not necessarily square."""
    if min(hw) < 1 or channels < 1:
        raise WorkloadError(f"an image of {channels} channels and {hw[0]} x {hw[1]} pixels; at least 1 of each.")
    return Tensor(channels, hw, is_image=True)
