"""What one repeat of a layer holds for one sample, added up by how tensor parallelism divides it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from workloads.layer import Layer
from workloads.op import KEPT_BY_SEQUENCE, KEPT_DIVIDED, TENSOR_SPLITS, Op

from ..kernels.optable import Floats
from ..partition import DENSE_LAYERS

#: Splits whose input, and whose output, one rank holds a share of while the op runs.
_INPUT_SHARED: Final = ("row", "heads", "inner")
_OUTPUT_SHARED: Final = ("column", "vocab", "heads", "inner")


@dataclass(frozen=True, kw_only=True)
class LayerSums:
    """Counts of one repeat of a layer for one sample.

    ``*_saved``, ``scores`` and ``statistics`` are elements of two bytes in a 16-bit recipe, without what the loss keeps
    of its logits, which stands in ``loss_saved``; ``expert_saved`` what experts keep that their own tensor parallelism
    does not divide; ``dense_saved`` what dense layers keep that neighbours may cut among them (hybrid parallelism).
    ``gathered_saved``: inputs of products that sequence parallelism gathers, counted above too. ``logits`` are the
    elements that the head's product writes; ``input_elements`` what enters the layer; ``keys`` the elements of keys and
    values. ``sharded`` and ``replicated`` are parameters that tensor parallelism divides and does not; ``cut_experts``
    and ``whole_experts`` those of experts and spread tables, of which the first are divided by experts' own tensor
    parallelism; ``dense_*`` those of dense layers, counted above too; ``unrolled`` those of recurrent layers, once for
    every step but one. ``widths``: for every op but the head's product, whose output is the loss's, the elements of its
    gradients (whole, divided by tp), shape (ops, 2).
    """

    split_saved: float
    sequence_saved: float
    whole_saved: float
    loss_saved: float
    expert_saved: float
    dense_saved: float
    scores: float
    statistics: float
    keys: float
    sharded: float
    replicated: float
    cut_experts: float
    whole_experts: float
    dense_sharded: float
    dense_whole: float
    matrix_share: float
    logits: float
    input_elements: float
    gathered_saved: float
    unrolled: float
    widths: Floats

    @classmethod
    def of(cls, layer: Layer) -> LayerSums:
        """Add up one layer."""
        ops = layer.ops
        ends = _logits(layer)
        after = ops[ends[-1] + 1 :] if ends else ()
        kept = [op for op in ops if op not in after]
        routed = [op for op in kept if op.experts and op.split == "column"]
        dense = [op for op in ops if op.kind == "gemm"] if layer.kind in DENSE_LAYERS else []
        rest = [op for op in ops if not op.is_spread]
        inner = [op for i, op in enumerate(ops) if i not in ends and op not in after]
        own = [op for op in kept if op not in routed]
        return cls(
            split_saved=_saved(own, KEPT_DIVIDED),
            sequence_saved=_saved(own, KEPT_BY_SEQUENCE),
            whole_saved=_saved(own, ("none", "table")),
            loss_saved=sum(op.saved_elements for op in after),
            expert_saved=sum(op.saved_elements for op in routed),
            dense_saved=sum(op.saved_elements for op in dense),
            scores=sum(op.score_elements for op in ops),
            statistics=sum(op.statistic_elements for op in ops),
            keys=sum(float(op.kv_heads * (op.head_dim + op.value_width) * op.context) for op in ops),
            sharded=_parameters(rest, sharded=True),
            replicated=_parameters(rest, sharded=False),
            cut_experts=float(sum(op.parameters for op in ops if op.experts and op.split in ("column", "row"))),
            whole_experts=float(
                sum(op.parameters for op in ops if op.is_spread and not (op.experts and op.split in ("column", "row")))
            ),
            dense_sharded=_parameters(dense, sharded=True),
            dense_whole=_parameters(dense, sharded=False),
            matrix_share=sum(op.parameters for op in ops if op.kind == "gemm") / max(layer.parameters, 1),
            logits=float(sum(ops[i].m * ops[i].n for i in ends)),
            input_elements=float(ops[0].read_elements),
            gathered_saved=sum(op.saved_elements for op in kept if op.kind == "gemm" and op.split == "column"),
            unrolled=float(sum((op.seq_len - 1) * op.parameters for op in ops if op.kind == "recurrent")),
            widths=np.array([_gradient_width(op) for op in inner], dtype=np.float64).reshape(-1, 2),
        )

    def common_parameters(self, tp: Floats, hybrid: Floats) -> Floats:
        """Parameters one rank holds that all data-parallel ranks hold too; shape (S,)."""
        cut = self.dense_sharded / tp + self.dense_whole
        return np.asarray(self.sharded / tp + self.replicated - np.where(hybrid > 1, cut, 0.0))

    def spread_parameters(self, tp: Floats, ep: Floats, etp: Floats, hybrid: Floats) -> Floats:
        """Parameters one rank holds of experts, of spread tables and of dense layers that are cut; shape (S,)."""
        cut = (self.dense_sharded / tp + self.dense_whole) / hybrid
        return np.asarray(self.cut_experts / (ep * etp) + self.whole_experts / ep + np.where(hybrid > 1, cut, 0.0))

    def widest_gradients(self, tp: Floats) -> Floats:
        """Elements of the gradients of one op's input and output, of the op where they are most; shape (S,)."""
        most = np.zeros_like(tp)
        for whole, divided in self.widths:
            most = np.maximum(most, whole + divided / tp)
        return most


def _logits(layer: Layer) -> list[int]:
    """Places of the products that write logits: split by vocabulary, or in a head before a softmax that keeps them."""
    ops = layer.ops
    ends = [i for i, op in enumerate(ops) if op.kind == "gemm" and op.split == "vocab"]
    if ends or layer.kind != "head":
        return ends
    return [
        i
        for i, (op, after) in enumerate(pairwise(ops))
        if op.kind == "gemm" and "softmax" in after.name and after.saved_elements >= op.m * op.n
    ]


def _saved(ops: list[Op], splits: tuple[str, ...]) -> float:
    return sum(op.saved_elements for op in ops if op.split in splits)


def _parameters(ops: list[Op], *, sharded: bool) -> float:
    return float(sum(op.parameters for op in ops if (op.split in TENSOR_SPLITS) is sharded))


def _gradient_width(op: Op) -> tuple[float, float]:
    """(whole, divided by tp) elements of an op's input and output gradient; element-wise steps go back one by one."""
    whole = divided = 0.0
    steps = op.launches if op.kind == "vector" else 1
    for elements, shared in ((op.read_elements, _INPUT_SHARED), (op.write_elements, _OUTPUT_SHARED)):
        if op.split in shared:
            divided += elements / steps
        else:
            whole += elements / steps
    return whole, divided
