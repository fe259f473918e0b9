"""What PyTorch's kernels are as ops: products and convolutions by their operands' shapes, the rest memory traffic.

Tensors here are on the meta device: they have shapes, strides and storages, and no numbers. Storages tell what is the
same memory: a view, a parameter, a tensor that was already kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Final

from workloads.importers.conv_shapes import conv_op
from workloads.importers.module_layers import Traced
from workloads.importers.torch_words import ALLOCATIONS, KNOWN, OVERWRITING, PICKING, TWICE_READ, looks_like_product
from workloads.op import Op, WorkloadError, embedding, vector

#: Products -> where their two operands stand among the arguments.
PRODUCTS: Final[Mapping[str, int]] = {
    "mm": 0, "addmm": 1, "bmm": 0, "baddbmm": 1, "addbmm": 1, "mv": 0, "addmv": 1, "dot": 0, "_grouped_mm": 0,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """One kernel as PyTorch dispatched it.

    ``word`` is its name without name space and in-place mark; ``tensors`` what of its ``arguments`` are tensors,
    ``outputs`` what came out or was written over.
    """

    word: str
    label: str
    arguments: tuple[Any, ...]
    tensors: tuple[Any, ...]
    outputs: tuple[Any, ...]
    is_pointwise: bool
    in_place: bool


def storage(tensor: Any) -> int:
    """What identifies a tensor's memory."""
    return int(tensor.untyped_storage()._cdata)


def distinct(tensor: Any) -> int:
    """Numbers that a tensor holds, those repeated by broadcasting once."""
    return prod(size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride or not size)


@dataclass
class Laying:
    """Lays out ops as kernels arrive; what depends on the example inputs is divided among its ``samples``.

    ``parameters`` maps storages of parameters, and of casts of them, to (name, numbers, whether they learn);
    ``item_byte`` is the size of the number format of activations, which a workload counts as two bytes.
    ``constant`` holds storages of what no example input reaches, ``alive`` everything, so that no storage's identity
    comes twice.
    """

    where: str
    samples: int
    item_byte: int
    parameters: dict[int, tuple[str, int, bool]]
    traced: list[Traced] = field(default_factory=list)
    kept: set[int] = field(default_factory=set)
    constant: set[int] = field(default_factory=set)
    owners: dict[str, int] = field(default_factory=dict)
    reused: list[tuple[int, int, int]] = field(default_factory=list)
    assumed: dict[str, None] = field(default_factory=dict)
    alive: list[Any] = field(default_factory=list)
    path: str = ""
    _claimed: set[str] = field(default_factory=set)

    @property
    def place(self) -> str:
        """The module at hand, for messages."""
        return f"{self.where}: module '{self.path}'" if self.path else self.where

    def add(self, op: Op) -> None:
        """One more op of the module at hand."""
        self.traced.append(Traced(path=self.path, op=op))

    def share(self, count: int, what: str) -> int:
        """A count of the example as that of a sample."""
        if count % self.samples:
            raise WorkloadError(
                f"{self.place}: {what} is {count}, which {self.samples} samples do not share evenly; "
                "samples must be the number of samples in example_inputs."
            )
        return count // self.samples

    def elements(self, tensors: Iterable[Any]) -> int:
        """Numbers of tensors that a kernel touches, for a sample; parameters are left out."""
        byte = sum(distinct(t) * t.element_size() for t in tensors if not self.is_parameter(t))
        return -int(-byte // (self.item_byte * self.samples))

    def is_parameter(self, tensor: Any) -> bool:
        """Whether a tensor is a parameter, or a view or a cast of one."""
        return tensor is not None and storage(tensor) in self.parameters

    def claim(self, *tensors: Any) -> int:
        """Numbers of the parameters among tensors that belong to no op yet; the next op has them."""
        total, here = 0, len(self.traced)
        for tensor in tensors:
            if not self.is_parameter(tensor):
                continue
            name, numbers, _ = self.parameters[storage(tensor)]
            owner = self.owners.setdefault(name, here)
            if owner == here and name not in self._claimed:
                total += numbers
                self._claimed.add(name)
            elif owner != here:
                self.reused.append((owner, here, numbers))
        return total

    def trains(self, tensor: Any) -> bool:
        """Whether a tensor gets a gradient of its own: a parameter that learns, or what is no parameter."""
        return not self.is_parameter(tensor) or self.parameters[storage(tensor)][2]

    def keep(self, tensors: Iterable[Any]) -> float:
        """What keeping tensors for the backward pass adds for a sample, in units of two bytes.

        PyTorch keeps the whole memory behind a view. What is kept already, parameters, and what no example input
        reaches add nothing.
        """
        byte = 0.0
        for tensor in tensors:
            key = storage(tensor)
            if key in self.kept or key in self.parameters or key in self.constant:
                continue
            self.kept.add(key)
            # Numbers are stored in the recipe's format, of two bytes; masks and indices in their own.
            byte += tensor.untyped_storage().nbytes() * (2 / self.item_byte if tensor.is_floating_point() else 1.0)
        return byte / 2 / self.samples

    def lay(self, kernels: Iterable[Kernel], saved: Iterable[Any]) -> None:
        """The ops of the kernels that one traced call made, and what of it autograd keeps."""
        first = len(self.traced)
        for kernel in kernels:
            self._kernel(kernel)
        kept = self.keep(saved)
        if not kept or len(self.traced) == first:
            return
        made = range(first, len(self.traced))
        # Of a product and the copies around it, the product keeps.
        at = next((i for i in made if self.traced[i].op.kind != "vector"), made[-1])
        entry = self.traced[at]
        self.traced[at] = replace(entry, op=replace(entry.op, saved_elements=entry.op.saved_elements + kept))

    def _kernel(self, kernel: Kernel) -> None:
        source = {storage(t) for t in kernel.tensors}
        if kernel.word in ALLOCATIONS or not kernel.outputs:
            return
        is_view = all(storage(t) in source for t in kernel.outputs) and not kernel.in_place
        if is_view:
            return
        if kernel.word in PRODUCTS:
            self._product(kernel)
        elif kernel.word == "convolution":
            self._convolution(kernel)
        elif kernel.word == "_to_copy" and self.is_parameter(kernel.tensors[0]):
            # A cast parameter is the parameter: the optimizer's recipe casts.
            self.parameters[storage(kernel.outputs[0])] = self.parameters[storage(kernel.tensors[0])]
        elif kernel.word in ("embedding", "_embedding_bag") and self.is_parameter(kernel.tensors[0]):
            self._look_up(kernel)
        else:
            self._memory(kernel)

    def _memory(self, kernel: Kernel) -> None:
        if not (kernel.is_pointwise or kernel.word in KNOWN) or ":" in kernel.label:
            if looks_like_product(kernel.word) or _contracts(kernel):
                raise WorkloadError(
                    f"{self.place}: '{kernel.label}' looks like a product, and how much work it is is not known. "
                    "Write it with torch.matmul, a convolution or scaled_dot_product_attention."
                )
            self.assumed[f"'{kernel.label}' is not known: counted as the memory it reads and writes"] = None
        reads = kernel.tensors
        if kernel.in_place and kernel.word in OVERWRITING:
            reads = reads[1:]
        writes = self.elements(kernel.outputs)
        read = self.elements(reads)
        if kernel.word in PICKING:
            read = min(read, writes)
        elif kernel.word in TWICE_READ:
            read *= 2
        self.add(
            vector(
                name=kernel.word, read_elements=read, write_elements=writes, parameters=self.claim(*kernel.tensors)
            )
        )  # fmt: skip

    def _look_up(self, kernel: Kernel) -> None:
        table, ids = kernel.tensors[:2]
        rows, width = table.shape
        # Ids that no input reaches (positions) are looked up once for all samples.
        fixed = storage(ids) in self.constant
        tokens = -(-ids.numel() // self.samples) if fixed else self.share(ids.numel(), "the number of look-ups")
        op = embedding(name=kernel.word.strip("_"), rows=rows, width=width, tokens=tokens, split="none")
        out = self.elements(kernel.outputs[:1])
        self.add(replace(op, parameters=self.claim(table), write_elements=out, trainable=self.trains(table)))

    def _product(self, kernel: Kernel) -> None:
        at = PRODUCTS[kernel.word]
        a, b = kernel.arguments[at], kernel.arguments[at + 1]
        bias = kernel.arguments[0] if at else None
        if kernel.word == "_grouped_mm":
            self._grouped(kernel, a, b)
            return
        batch, m, k, n = _sides(a, b)
        weight = next((t for t in (b, a) if self.is_parameter(t)), None)
        if weight is not None and weight is not b:
            m, n = n, m  # transposed, C^T = B^T A^T, the parameters stand on the right
        if weight is not None and distinct(weight) < batch * k * n:
            batch, m = 1, batch * m
        reached = any(storage(t) not in self.constant for t in (a, b) if not self.is_parameter(t))
        if reached and self.samples > 1:
            if (batch % self.samples or weight is not None) and m % self.samples == 0:
                m = self.share(m, "the rows of a product")
            elif batch % self.samples and n % self.samples == 0 and weight is None:
                n = self.share(n, "the columns of a product")
            else:
                batch = self.share(batch, f"the batch of a product [{batch}, {m}, {k}] x [{k}, {n}]")
        right = 0 if weight is not None else k * n * batch
        self.add(
            Op(
                name=kernel.word, kind="gemm", m=m, n=n, k=k, batch=batch, parameters=self.claim(weight, bias),
                forward_flop=2 * m * n * k * batch, read_elements=m * k * batch + right,
                write_elements=m * n * batch, trainable=self.trains(weight),
                input_needs_gradient=any(t.requires_grad for t in (a, b) if not self.is_parameter(t)),
            )
        )  # fmt: skip

    def _grouped(self, kernel: Kernel, a: Any, b: Any) -> None:
        if a.dim() != 2 or b.dim() != 3 or not self.is_parameter(b):
            raise WorkloadError(f"{self.place}: '{kernel.label}' of {list(a.shape)} and {list(b.shape)} is not known.")
        m, (experts, k, n) = self.share(a.shape[0], "the rows of a grouped product"), b.shape
        self.add(
            Op(
                name="grouped product", kind="gemm", m=m, n=n, k=k, experts=experts, parameters=self.claim(b),
                forward_flop=2 * m * n * k, read_elements=m * k, write_elements=m * n, trainable=self.trains(b),
            )
        )  # fmt: skip

    def _convolution(self, kernel: Kernel) -> None:
        x, weight, bias, stride, padding, _, turned, _, groups = kernel.arguments[:9]
        (out,) = kernel.outputs
        op = conv_op(
            name="conv transposed" if turned else "conv",
            channels=(x.shape[1], out.shape[1]),
            sides=(tuple(x.shape[2:]), tuple(out.shape[2:])),
            taps=tuple(weight.shape[2:]),
            stride=tuple(stride),
            padding=tuple(padding),
            groups=groups,
            turned=bool(turned),
            images=self.share(x.shape[0], "the batch of a convolution"),
        )
        self.add(
            replace(
                op,
                parameters=self.claim(weight, bias),
                input_needs_gradient=bool(x.requires_grad),
                trainable=self.trains(weight),
            )
        )


def _sides(a: Any, b: Any) -> tuple[int, int, int, int]:
    """(batch, m, k, n) of a product."""
    left, right = tuple(a.shape), tuple(b.shape)
    if len(left) == 1:
        left = (1, *left)
    if len(right) == 1:
        right = (*right, 1)
    return prod(left[:-2]), left[-2], left[-1], right[-1]


def _contracts(kernel: Kernel) -> bool:
    """Whether two inputs of numbers share a dimension that no output has."""
    floats = [set(t.shape) - {1} for t in kernel.tensors if t.is_floating_point() and t.dim() > 1]
    left = {size for t in kernel.outputs for size in t.shape}
    return any((a & b) - left for i, a in enumerate(floats) for b in floats[i + 1 :])
