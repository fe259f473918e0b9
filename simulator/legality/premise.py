"""What legality depends on besides the strategy: the sizes of a network, its cluster, its batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from workloads.op import Op
from workloads.workload import Workload

from ..cluster import Cluster
from ..kernels.optable import Ints
from ..partition import DENSE_LAYERS


@dataclass(frozen=True, kw_only=True)
class Premise:
    """A job as the rules of legality see it."""

    workload: Workload
    cluster: Cluster
    chips: int
    global_batch: int

    @property
    def hosts(self) -> int:
        """Servers that the job's chips fill, the last one perhaps in part."""
        return -(-self.chips // self.cluster.chips_per_server)

    @cached_property
    def _ops(self) -> tuple[Op, ...]:
        return tuple(op for layer in self.workload.layers for op in layer.ops)

    @cached_property
    def heads(self) -> tuple[int, ...]:
        """Different numbers of attention heads; none without attention."""
        return tuple(sorted({op.heads for op in self._ops if op.kind == "attention"}))

    @cached_property
    def key_value_heads(self) -> tuple[int, ...]:
        """Different numbers of key/value heads."""
        return tuple(sorted({max(op.kv_heads, 1) for op in self._ops if op.kind == "attention"}))

    @cached_property
    def tensor_sizes(self) -> tuple[tuple[str, int], ...]:
        """(what, size) of everything that tensor parallelism divides evenly; vocabularies are padded instead."""
        sizes = {
            ("heads", heads): None for heads in (*self.heads, int(self.workload.hyper.get("heads", 0) or 0)) if heads
        }
        sizes |= {("heads", op.batch): None for op in self._ops if op.kind == "gemm" and op.split == "heads"}
        hyper = self.workload.hyper
        known = {int(hyper.get(name, 0) or 0): name for name in ("ffn", "hidden")}
        known.pop(0, None)
        sizes |= {(name, size): None for size, name in known.items() if name == "hidden"}
        for op in self._ops:
            if op.kind == "gemm" and op.split == "row" and not op.experts:
                sizes[(known.get(op.k, f"inputs of {op.name}"), op.k)] = None
        return tuple(sizes)

    @cached_property
    def expert_sizes(self) -> tuple[tuple[str, int], ...]:
        """(what, size) of everything that expert-tensor parallelism divides evenly."""
        rows = (op for op in self._ops if op.experts and op.split == "row")
        return tuple({(f"inputs of {op.name}", op.k): None for op in rows})

    @cached_property
    def has_tables(self) -> bool:
        """Whether some table is spread over ranks by rows."""
        return any(op.split == "table" for op in self._ops)

    @cached_property
    def narrowest_dense(self) -> int:
        """Outputs of the narrowest layer that hybrid parallelism cuts; 0 without any."""
        if self.workload.splits_tensors or not any(op.kind == "conv" for op in self._ops):
            return 0
        layers = (layer for layer in self.workload.layers if layer.kind in DENSE_LAYERS)
        return min((op.n for layer in layers for op in layer.ops if op.kind == "gemm"), default=0)

    @cached_property
    def repeats(self) -> Ints:
        """Repeats of every layer; shape (G,)."""
        return np.array([layer.repeat for layer in self.workload.layers], dtype=np.int64)

    @cached_property
    def blocks(self) -> int:
        """Blocks of the longest run of like blocks, which a pipeline cuts; 0 where nothing is a block."""
        longest = self.workload.layers[int(np.argmax(self.repeats))]
        if longest.kind == "block":
            return longest.repeat
        return 0

    @cached_property
    def cut_along(self) -> str:
        """What ranks that share a sample cut: "positions" of a sequence, "slabs" of an image or volume, "" nothing.

        Positions need attention between them and nothing that goes through them one after the other; slabs need
        convolutions and nothing that looks at all of an image.
        """
        kinds = {op.kind for op in self._ops}
        if "recurrent" in kinds:
            return ""
        sample = self.workload.sample
        if sample == "sequence" and "attention" in kinds:
            return "positions"
        return "slabs" if sample in ("image", "volume") and "conv" in kinds and "attention" not in kinds else ""

    def _convolutions(self) -> Iterator[tuple[str, int, int]]:
        """(name, rows along the first axis, rows of halo on one side) of every convolution that looks beside itself."""
        for op in self._ops:
            if op.kind != "conv":
                continue
            deep = op.depth[0] > 1 or op.depth[3] > 1
            rows, window = (op.depth[3], op.depth[0]) if deep else (op.in_hw[0], op.kernel[0])
            yield op.name, rows, window // 2

    @cached_property
    def most_slabs(self) -> int:
        """Slabs of which each still holds a row, and its neighbour's halo, at every convolution."""
        return min(rows // max(halo, 1) for _, rows, halo in self._convolutions())

    @property
    def thinnest(self) -> tuple[str, int, int]:
        """(name, rows, halo) of the convolution that limits `most_slabs`."""
        return min(self._convolutions(), key=lambda found: found[1] // max(found[2], 1))
