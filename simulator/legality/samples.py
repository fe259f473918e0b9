"""Rules of ranks that share one sample: sequences, images, volumes."""

from __future__ import annotations

from typing import Final

import numpy as np

from ..parallelism import CONTEXT_EXCHANGES
from .premise import Premise
from .rule import Bools, Columns, Row, remainder, rule

_ULYSSES: Final = CONTEXT_EXCHANGES.index("ulysses")


def _context_kind(premise: Premise, c: Columns) -> Bools:
    return np.asarray((c["cp"] > 1) & (not premise.cut_along))


def _context_kind_why(premise: Premise, row: Row) -> str:
    return f"cp={row['cp']} ranks cannot share one {premise.workload.sample} of {premise.workload.name}"


def _positions(premise: Premise, c: Columns) -> Bools:
    if premise.cut_along != "positions":
        return np.zeros(len(c["cp"]), dtype=bool)
    return np.asarray(premise.workload.tokens_per_sample % c["cp"] != 0)


def _positions_why(premise: Premise, row: Row) -> str:
    return remainder("cp", row["cp"], premise.workload.tokens_per_sample, "positions")


def _slabs(premise: Premise, c: Columns) -> Bools:
    if premise.cut_along != "slabs":
        return np.zeros(len(c["cp"]), dtype=bool)
    return np.asarray((c["cp"] > 1) & (c["cp"] > premise.most_slabs))


def _slabs_why(premise: Premise, row: Row) -> str:
    name, rows, halo = premise.thinnest
    return f"cp={row['cp']} slabs of {rows} rows at {name} are thinner than its halo of {halo}"


def _exchange(premise: Premise, c: Columns) -> Bools:
    chosen = c["context_exchange"] > 0
    return np.asarray(chosen & ((c["cp"] == 1) | (premise.cut_along != "positions")))


def _exchange_why(_: Premise, row: Row) -> str:
    word = CONTEXT_EXCHANGES[row["context_exchange"]]
    return f"context_exchange={word} with cp={row['cp']}: no ranks share a sequence"


def _ulysses(premise: Premise, c: Columns) -> Bools:
    bad = np.zeros(len(c["cp"]), dtype=bool)
    for heads in premise.heads:
        bad |= heads % (c["cp"] * c["tp"]) != 0
    return np.asarray(bad & (c["context_exchange"] == _ULYSSES) & (c["cp"] > 1))


def _ulysses_why(premise: Premise, row: Row) -> str:
    both = row["cp"] * row["tp"]
    heads = next(h for h in premise.heads if h % both)
    return f"cp x tp = {both} leaves {heads % both} of {heads} heads over"


def _sequence(premise: Premise, c: Columns) -> Bools:
    left = premise.workload.tokens_per_sample % (c["cp"] * c["tp"]) != 0
    return np.asarray((c["sequence_parallel"] > 0) & ((c["tp"] == 1) | left))


def _sequence_why(premise: Premise, row: Row) -> str:
    if row["tp"] == 1:
        return "sequence_parallel with tp=1"
    both, positions = row["cp"] * row["tp"], premise.workload.tokens_per_sample
    return f"sequence_parallel with cp x tp = {both} leaves {positions % both} of {positions} positions over"


RULES: Final = (
    rule("context kind", "cp", "context-parallel ranks share sequences of attention, or slabs of images and volumes",
          _context_kind, _context_kind_why),
    rule("positions", "cp", "context-parallel ranks divide the sequence", _positions, _positions_why),
    rule("slabs", "cp", "a slab of an image or volume is no thinner than the halo of any convolution",
          _slabs, _slabs_why),
    rule("context exchange", "cp context_exchange", "another exchange than a ring needs ranks that share a sequence",
          _exchange, _exchange_why),
    rule("ulysses", "tp cp context_exchange", "with ulysses cp x tp divides the heads", _ulysses, _ulysses_why),
    rule("sequence parallel", "tp cp sequence_parallel",
          "sequence parallelism needs tp above 1, and cp x tp divides the positions", _sequence, _sequence_why),
)  # fmt: skip
