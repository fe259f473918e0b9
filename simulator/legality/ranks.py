"""Rules of tensor, expert and hybrid parallelism: what divides which sizes of a network."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from .premise import Premise
from .rule import Bools, Columns, Row, remainder, rule


def _chips(premise: Premise, c: Columns) -> Bools:
    # In floats: what somebody pins may be so large that its product is no 64-bit number.
    product = np.prod([c[name].astype(float) for name in ("tp", "cp", "pp", "dp")], axis=0)
    return np.asarray(product != premise.chips)


def _chips_why(premise: Premise, row: Row) -> str:
    axes = [name for name in ("tp", "pp", "cp", "dp") if row[name] > 1] or ["tp", "pp", "cp", "dp"]
    product = math.prod(row[name] for name in axes)
    return f"{' x '.join(axes)} = {product}, but the job has {premise.chips} chips"


def _tensor_kind(premise: Premise, c: Columns) -> Bools:
    return np.asarray((c["tp"] > 1) & (not premise.workload.splits_tensors))


def _tensor(premise: Premise, c: Columns) -> Bools:
    left = np.zeros(len(c["tp"]), dtype=bool)
    for _, size in premise.tensor_sizes:
        left |= size % c["tp"] != 0
    for groups in premise.key_value_heads:
        # With fewer key/value heads than ranks every rank holds a copy of one.
        left |= (groups % c["tp"] != 0) & (c["tp"] % groups != 0)
    return left & (c["tp"] > 1) & premise.workload.splits_tensors


def _tensor_why(premise: Premise, row: Row) -> str:
    for what, size in premise.tensor_sizes:
        if size % row["tp"]:
            return remainder("tp", row["tp"], size, what)
    groups = next(g for g in premise.key_value_heads if g % row["tp"] and row["tp"] % g)
    return f"tp={row['tp']} cannot share {groups} kv_heads"


def _experts(premise: Premise, c: Columns) -> Bools:
    if premise.has_tables:
        return np.zeros(len(c["ep"]), dtype=bool)
    return np.asarray(premise.workload.experts % c["ep"] != 0)


def _experts_why(premise: Premise, row: Row) -> str:
    experts = premise.workload.experts
    if experts == 1:
        return f"{premise.workload.name} has no experts and no spread tables to share among ep={row['ep']} ranks"
    return remainder("ep", row["ep"], experts, "experts")


def _expert_tensor(premise: Premise, c: Columns) -> Bools:
    bad = (c["etp"] != 1) & (c["etp"] != c["tp"])
    bad |= (c["etp"] > 1) & (premise.workload.experts == 1)
    for _, size in premise.expert_sizes:
        bad |= size % c["etp"] != 0
    return np.asarray(bad)


def _expert_tensor_why(premise: Premise, row: Row) -> str:
    if premise.workload.experts == 1:
        return f"{premise.workload.name} has no experts for etp={row['etp']} ranks to cut"
    if row["etp"] not in (1, row["tp"]):
        return f"etp={row['etp']} is neither 1 nor tp={row['tp']}"
    what, size = next((w, s) for w, s in premise.expert_sizes if s % row["etp"])
    return remainder("etp", row["etp"], size, what)


def _expert_ranks(_: Premise, c: Columns) -> Bools:
    return np.asarray((c["tp"] * c["cp"] * c["dp"]) % (c["ep"] * c["etp"]) != 0)


def _expert_ranks_why(_: Premise, row: Row) -> str:
    ranks = row["tp"] * row["cp"] * row["dp"]
    return f"ep x etp = {row['ep'] * row['etp']} does not divide the {ranks} ranks of a stage, tp x cp x dp"


def _dense_layers(premise: Premise, c: Columns) -> Bools:
    narrow = premise.narrowest_dense
    return np.asarray((c["hybrid"] > 1) & (c["hybrid"] > narrow))


def _dense_layers_why(premise: Premise, row: Row) -> str:
    if not premise.narrowest_dense:
        return (
            f"{premise.workload.name} has no dense layers beside convolutions for hybrid={row['hybrid']} ranks to cut"
        )
    return f"hybrid={row['hybrid']} ranks share a dense layer of {premise.narrowest_dense} outputs"


def _hybrid_ranks(_: Premise, c: Columns) -> Bools:
    return np.asarray((c["dp"] % c["hybrid"] != 0) | ((c["hybrid"] > 1) & (c["ep"] > 1)))


def _hybrid_ranks_why(_: Premise, row: Row) -> str:
    if row["dp"] % row["hybrid"]:
        return f"hybrid={row['hybrid']} does not divide dp={row['dp']}"
    return f"hybrid={row['hybrid']} goes with ep=1, not ep={row['ep']}"


RULES: Final = (
    rule("chips", "tp pp cp dp", "ranks of all kinds, multiplied, are the chips", _chips, _chips_why),
    rule("tensor kind", "tp", "tensor-parallel ranks cut only networks with products that have a rule to be split by",
          _tensor_kind, lambda p, r: f"tp={r['tp']}, but no product of {p.workload.name} is split"),
    rule("tensor", "tp", "tensor-parallel ranks divide heads, hidden and ffn, and share key/value heads evenly",
          _tensor, _tensor_why),
    rule("experts", "ep", "expert-parallel ranks divide the experts", _experts, _experts_why),
    rule("expert tensor", "tp etp", "etp is 1 or tp, and divides the experts' width", _expert_tensor,
          _expert_tensor_why),
    rule("expert ranks", "tp cp dp etp ep", "ep x etp divides the ranks of a stage, tp x cp x dp", _expert_ranks,
          _expert_ranks_why),
    rule("dense layers", "hybrid", "hybrid ranks cut the dense layers of convolutional networks", _dense_layers,
          _dense_layers_why),
    rule("hybrid ranks", "dp ep hybrid", "hybrid divides dp, and goes without expert parallelism", _hybrid_ranks,
          _hybrid_ranks_why),
)  # fmt: skip
