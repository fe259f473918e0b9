"""ONNX operators as ops, by the shapes of what they read and write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

from hwmodels.datafile import DataFileError
from workloads.importers.json_file import shown
from workloads.importers.module_layers import Traced
from workloads.importers.onnx_words import (
    ELEMENTWISE,
    KEEPS_INPUT,
    KEEPS_OUTPUT,
    NORMS,
    PICKING,
    TWICE_READ,
    VIEWS,
)
from workloads.importers.torch_words import looks_like_product
from workloads.op import Op, WorkloadError, embedding, vector

Names = tuple[str, ...]
Attributes = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """A tensor of the graph; ``constant`` ones stand in the file (weights, tables, sizes)."""

    shape: tuple[int, ...]
    is_float: bool
    constant: bool = False

    @property
    def elements(self) -> int:
        """Numbers in it."""
        return prod(self.shape)


@dataclass
class OnnxOps:
    """Lays out ops node by node; counts are divided among ``samples``."""

    label: str
    samples: int
    tensors: dict[str, Tensor]
    inputs: frozenset[str]
    traced: list[Traced] = field(default_factory=list)
    assumed: dict[str, None] = field(default_factory=dict)
    roots: dict[str, str] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)
    claimed: set[str] = field(default_factory=set)
    path: str = ""

    def node(self, word: str, domain: str, path: str, read: Names, written: Names) -> None:
        """One node that is no product, in the order of the graph."""
        self.path = path
        if read and all(not name or self.is_constant(name) for name in read):
            self._constant(word, read, written)
        elif domain not in ("", "ai.onnx"):
            self._unknown(f"{domain}::{word}", read, written)
        elif word in VIEWS:
            for name in written:
                self.roots[name] = self.root(read[0]) if read else name
        elif word == "Gather" and self.is_weight(read[0]) and len(self.shape(read[0])) == 2:
            self._look_up(read, written)
        else:
            self._memory(word, read, written)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, which inference must have found."""
        return self.tensor(name).shape

    def tensor(self, name: str) -> Tensor:
        """A tensor by name."""
        found = self.tensors.get(name)
        if found is None:
            raise DataFileError(f"{self.label}: the shape of {shown(name)} is missing and cannot be inferred.")
        return found

    def root(self, name: str) -> str:
        """The name under which a tensor's memory was first written."""
        return self.roots.get(name, name)

    def is_constant(self, name: str) -> bool:
        """Whether a tensor is in the file, or made of such alone."""
        found = self.tensors.get(self.root(name))
        return (found is not None and found.constant) or self.root(name) in self.claimed

    def is_weight(self, name: str) -> bool:
        """Whether a tensor is one of numbers that stands in the file."""
        found = self.tensors.get(self.root(name))
        return found is not None and found.constant and found.is_float

    def claim(self, *names: str) -> int:
        """Numbers of weights that belong to no op yet."""
        total = 0
        for name in names:
            root = self.root(name)
            if name and self.is_weight(root) and root not in self.claimed:
                self.claimed.add(root)
                total += self.tensors[root].elements
            elif name and self.is_weight(root):
                self.assumed["weights that several nodes use count once, at their first use"] = None
        return total

    def keep(self, *names: str) -> float:
        """Elements that keeping activations adds for a sample."""
        total = 0.0
        for name in names:
            root = self.root(name)
            if name and root not in self.kept and not self.is_constant(root) and self.tensor(root).is_float:
                self.kept.add(root)
                total += self.tensor(root).elements / self.samples
        return total

    def share(self, count: int, what: str) -> int:
        """A count of the graph as that of a sample."""
        if count % self.samples:
            raise WorkloadError(f"{what} is {count}, which {self.samples} samples do not share evenly.")
        return count // self.samples

    def _elements(self, names: Names) -> int:
        count = sum(self.tensor(name).elements for name in names if name and not self.is_constant(name))
        return -int(-count // self.samples)

    def add(self, ops: Op | tuple[Op, ...], word: str) -> None:
        """More ops of the module at hand; those without a name get the word."""
        for op in ops if isinstance(ops, tuple) else (ops,):
            self.traced.append(Traced(path=self.path, op=replace(op, name=op.name or word)))

    def _constant(self, word: str, read: Names, written: Names) -> None:
        """What is made of constants alone: a view or a cast of a weight is that weight, the rest costs nothing."""
        for name in written:
            if word in VIEWS and word not in ("Shape", "Size"):
                self.roots[name] = self.root(read[0])
            elif name:
                known = self.tensors.get(name)
                self.tensors[name] = Tensor(shape=known.shape if known else (), is_float=False, constant=True)

    def _look_up(self, read: Names, written: Names) -> None:
        (rows, width), ids = self.shape(read[0]), self.tensor(read[1])
        tokens = -(-ids.elements // self.samples)
        op = embedding(name="Gather", rows=rows, width=width, tokens=tokens, split="none")
        self.add(replace(op, parameters=self.claim(read[0]), write_elements=self._elements(written)), "Gather")

    def _memory(self, word: str, read: Names, written: Names) -> None:
        writes, reads = self._elements(written), self._elements(read)
        if word in PICKING:
            reads = min(reads, writes)
        reads *= 2 if word in TWICE_READ else 1
        parameters = self.claim(*(read[i] for i in NORMS.get(word, ()) if i < len(read)))
        if word in ELEMENTWISE:
            parameters += self._learned_terms(read)
        if word == "Dropout":
            kept = 0.5 * writes
        elif word == "MaxPool":
            kept = self.keep(read[0], written[0])
        elif word in KEEPS_OUTPUT:
            kept = self.keep(written[0])
        else:
            kept = self.keep(*read) if word in KEEPS_INPUT else 0.0
        op = vector(name=word, read_elements=reads, write_elements=writes, saved_elements=kept, parameters=parameters)
        self.add(op, word)

    def _learned_terms(self, read: Names) -> int:
        total = 0
        for name in read:
            found = self.tensors.get(self.root(name))
            if not self.is_weight(name) or found is None or found.elements < 2:
                continue
            if any(word in name.lower() for word in ("mask", "cos", "sin", "scale_factor")):
                self.assumed[f"{shown(name)} is taken as a constant, not as learned"] = None
            else:
                total += self.claim(name)
        return total

    def _unknown(self, word: str, read: Names, written: Names) -> None:
        wide = [set(self.shape(n)) - {1} for n in read if n and self.tensor(n).is_float and len(self.shape(n)) > 1]
        out = {side for name in written if name in self.tensors for side in self.shape(name)}
        contracts = any((a & b) - out for i, a in enumerate(wide) for b in wide[i + 1 :])
        if looks_like_product(word) or contracts:
            raise DataFileError(
                f"{self.label}: '{shown(word)}' looks like a product, and how much work it is is not known. "
                "Export it as standard operators."
            )
        self.assumed[f"'{shown(word)}' is not known: counted as the memory it reads and writes"] = None
        self._memory(word, read, written)

    def product(
        self, a: str, b: str, batch: int, m: int, n: int, k: int, *, shared: bool = False, bias: str = ""
    ) -> Op:
        """A product of two tensors; ``shared`` when the right one is the same for the whole batch."""
        weight = next((name for name in (b, a) if self.is_weight(name)), "")
        if weight == a and weight:
            m, n = n, m
        if weight and shared:
            batch, m = 1, batch * m
        if self.samples > 1:
            if weight or batch % self.samples:
                m = self.share(m, "the rows of a product")
            else:
                batch = self.share(batch, "the batch of a product")
        saved = self.keep(a, b)
        return Op(
            name="", kind="gemm", m=m, n=n, k=k, batch=batch, parameters=self.claim(weight, bias),
            forward_flop=2 * m * n * k * batch, read_elements=m * k * batch + (0 if weight else k * n * batch),
            write_elements=m * n * batch, saved_elements=saved,
        )  # fmt: skip
