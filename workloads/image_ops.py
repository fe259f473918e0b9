"""Lays out a convolutional network's ops in forward order and counts what training keeps.

What is kept for the backward pass follows the frameworks, and every stored tensor is counted once: a convolution
keeps its input, batch-norm its input, ReLU (in place) its output, max-pooling its input and output, average pooling
over windows its input, global pooling nothing. Left out: pooling indices, batch-norm's statistics (two numbers a
channel), workspaces.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from workloads.layer import Layer
from workloads.op import Op, WorkloadError, conv, gemm, vector, window_output
from workloads.workload import Hyper, Workload

Pair = tuple[int, int]


@dataclass
class Tensor:
    """An activation while a network is laid out; ``kept`` turns true when an op stores it for the backward pass."""

    channels: int
    hw: Pair
    kept: bool = False
    is_image: bool = False

    @property
    def elements(self) -> int:
        """Numbers in the tensor."""
        return self.channels * self.hw[0] * self.hw[1]

    def keep(self) -> float:
        """Elements that storing this tensor adds: none the second time."""
        added = 0.0 if self.kept else float(self.elements)
        self.kept = True
        return added


class ImageOps:
    """Lays out the ops of one layer in forward order; methods take and return tensors."""

    def __init__(self) -> None:
        self.ops: list[Op] = []

    def conv(
        self,
        x: Tensor,
        c_out: int,
        kernel: int | Pair,
        *,
        stride: int = 1,
        padding: int | Pair = 0,
        groups: int = 1,
        bias: bool = False,
    ) -> Tensor:
        """A convolution; it keeps its input."""
        window = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        pad = padding if isinstance(padding, tuple) else (padding, padding)
        op = conv(
            name=f"conv {window[0]}x{window[1]} {x.channels}-{c_out}",
            in_hw=x.hw,
            c_in=x.channels,
            c_out=c_out,
            kernel=window,
            stride=(stride, stride),
            padding=pad,
            groups=groups,
            bias=bias,
            input_needs_gradient=not x.is_image,
        )
        self.ops.append(replace(op, saved_elements=x.keep()))
        return Tensor(c_out, op.out_hw)

    def batch_norm(self, x: Tensor) -> Tensor:
        """Batch normalisation; it keeps its input."""
        # Statistics over the batch need a first pass over the input, so it is read twice.
        self._vector("batch-norm", x, reads=2 * x.elements, saved=x.keep(), parameters=2 * x.channels)
        return Tensor(x.channels, x.hw)

    def prelu(self, x: Tensor) -> Tensor:
        """ReLU with a learned slope a channel; it keeps its input."""
        self._vector("prelu", x, reads=x.elements, saved=x.keep(), parameters=x.channels)
        return Tensor(x.channels, x.hw)

    def relu(self, x: Tensor) -> Tensor:
        """ReLU in place; its output is kept."""
        out = Tensor(x.channels, x.hw)
        self._vector("relu", out, reads=x.elements, saved=out.keep())
        return out

    def local_response_norm(self, x: Tensor) -> Tensor:
        """AlexNet's normalisation across channels; keeps input and output."""
        out = Tensor(x.channels, x.hw)
        self._vector("local response norm", out, reads=x.elements, saved=x.keep() + out.keep())
        return out

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        """A residual sum; nothing is kept."""
        if (x.channels, x.hw) != (y.channels, y.hw):
            raise WorkloadError(f"cannot add {x.channels} x {x.hw} and {y.channels} x {y.hw}.")
        self._vector("add", x, reads=x.elements + y.elements)
        return Tensor(x.channels, x.hw)

    def multiply(self, x: Tensor) -> Tensor:
        """A product with constants or with one number a sample (a scale, a norm); nothing of its own is kept."""
        self._vector("multiply", x, reads=x.elements)
        return Tensor(x.channels, x.hw)

    def power(self, x: Tensor) -> Tensor:
        """A shift and a power of every element; it keeps its input."""
        self._vector("power", x, reads=x.elements, saved=x.keep())
        return Tensor(x.channels, x.hw)

    def scale(self, x: Tensor, gate: Tensor) -> Tensor:
        """Multiplies every channel by a gate of its own; keeps both."""
        if gate.channels != x.channels or gate.hw != (1, 1):
            raise WorkloadError(f"cannot scale {x.channels} channels by {gate.channels} x {gate.hw}.")
        self._vector("scale", x, reads=x.elements + gate.elements, saved=x.keep() + gate.keep())
        return Tensor(x.channels, x.hw)

    def sigmoid(self, x: Tensor) -> Tensor:
        """Sigmoid; its output is kept."""
        out = Tensor(x.channels, x.hw)
        self._vector("sigmoid", out, reads=x.elements, saved=out.keep())
        return out

    def squeeze_excite(self, x: Tensor, squeezed: int) -> Tensor:
        """Gates every channel by two dense layers on the channels' means (Hu et al. 2017, arXiv:1709.01507)."""
        gate = self.relu(self.dense(self.pool_to(x, 1), squeezed))
        return self.scale(x, self.sigmoid(self.dense(gate, x.channels)))

    def max_pool(self, x: Tensor, kernel: int, *, stride: int, padding: int = 0, ceil: bool = False) -> Tensor:
        """Maximum pooling; keeps input and output."""
        out = self._window("max-pool", x, kernel, stride=stride, padding=padding, ceil=ceil)
        again = max(out.elements * kernel * kernel - x.elements, 0)
        self._vector("max-pool", out, reads=x.elements, saved=x.keep() + out.keep(), again=again)
        return out

    def average_pool(self, x: Tensor, kernel: int, *, stride: int, padding: int = 0, ceil: bool = False) -> Tensor:
        """Average pooling over windows; keeps its input, as PyTorch does (whose shape alone would do)."""
        out = self._window("average-pool", x, kernel, stride=stride, padding=padding, ceil=ceil)
        again = max(out.elements * kernel * kernel - x.elements, 0)
        self._vector("average-pool", out, reads=x.elements, saved=x.keep(), again=again)
        return out

    def pool_to(self, x: Tensor, side: int) -> Tensor:
        """Adaptive average pooling to side x side (global pooling when 1)."""
        out = Tensor(x.channels, (side, side))
        self._vector("average-pool", out, reads=x.elements)
        return out

    def concatenate(self, *tensors: Tensor) -> Tensor:
        """Copies branches into one tensor of all their channels."""
        out = Tensor(sum(t.channels for t in tensors), tensors[0].hw)
        self._vector("concatenate", out, reads=out.elements)
        return out

    def fork(self, x: Tensor, readers: int) -> None:
        """Several ops read a tensor: the backward pass adds up the gradients that they give, in one kernel."""
        if readers > 1:
            self.ops.append(
                vector(name="gradient sum", read_elements=0, write_elements=0, sum_elements=(readers + 1) * x.elements)
            )

    def dropout(self, x: Tensor) -> Tensor:
        """Dropout; a one-byte mask is kept."""
        self._vector("dropout", x, reads=x.elements, saved=0.5 * x.elements)
        return Tensor(x.channels, x.hw)

    def dense(self, x: Tensor, features: int, *, bias: bool = True) -> Tensor:
        """A fully connected layer on the flattened input."""
        op = gemm(name=f"dense {x.elements}-{features}", m=1, n=features, k=x.elements, bias=bias)
        self.ops.append(replace(op, saved_elements=x.keep()))
        return Tensor(features, (1, 1))

    def softmax_loss(self, x: Tensor) -> None:
        """Softmax and cross-entropy."""
        # The logits are cast to fp32: two 2-byte elements each.
        self._vector("softmax loss", x, reads=x.elements, saved=2.0 * x.elements)

    def conv_relu(
        self, x: Tensor, c_out: int, kernel: int, *, stride: int = 1, padding: int = 0, groups: int = 1
    ) -> Tensor:
        """A convolution with bias, then ReLU."""
        return self.relu(self.conv(x, c_out, kernel, stride=stride, padding=padding, groups=groups, bias=True))

    def conv_norm_relu(
        self,
        x: Tensor,
        c_out: int,
        kernel: int | Pair,
        *,
        stride: int = 1,
        padding: int | Pair = 0,
        groups: int = 1,
        bias: bool = False,
    ) -> Tensor:
        """A convolution, without bias unless told, batch-norm, ReLU."""
        x = self.conv(x, c_out, kernel, stride=stride, padding=padding, groups=groups, bias=bias)
        return self.relu(self.batch_norm(x))

    def norm_relu_conv(
        self, x: Tensor, c_out: int, kernel: int | Pair, *, stride: int = 1, padding: int | Pair = 0
    ) -> Tensor:
        """Batch-norm, ReLU, a convolution without bias: the order of pre-activation networks."""
        return self.conv(self.relu(self.batch_norm(x)), c_out, kernel, stride=stride, padding=padding)

    def layer(self, name: str, kind: str, *, repeat: int = 1) -> Layer:
        """The ops laid out so far as one `Layer`."""
        return Layer(name=name, kind=kind, ops=tuple(self.ops), repeat=repeat)

    def _window(self, name: str, x: Tensor, kernel: int, *, stride: int, padding: int, ceil: bool = False) -> Tensor:
        hw = window_output(
            name=name,
            in_hw=x.hw,
            kernel=(kernel, kernel),
            stride=(stride, stride),
            padding=(padding, padding),
            ceil=ceil,
        )
        return Tensor(x.channels, hw)

    def _vector(
        self, name: str, out: Tensor, *, reads: int, saved: float = 0.0, parameters: int = 0, again: int = 0
    ) -> None:
        self.ops.append(
            vector(
                name=name,
                read_elements=reads,
                write_elements=out.elements,
                window_elements=again,
                saved_elements=saved,
                parameters=parameters,
            )
        )


def image_tensor(image_size: int) -> Tensor:
    """A square image of three channels."""
    return Tensor(3, (image_size, image_size), is_image=True)


def image_workload(
    name: str, layers: list[Layer], *, image_size: int, num_classes: int, source: str, **hyper: Hyper
) -> Workload:
    """A convnet `Workload` from its layers."""
    return Workload(
        name=name,
        family="convnet",
        sample="image",
        layers=tuple(layers),
        hyper={"image_size": image_size, "num_classes": num_classes, **hyper},
        source=source,
    )
