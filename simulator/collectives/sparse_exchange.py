"""Exchanging sparse gradients: a sum of sparse vectors is denser than each, until plain numbers are shorter.

Three exchanges (Renggli et al., SparCML: high-performance sparse communication for machine learning, 2019):
``all_gather`` collects every rank's vector unadded (as deep gradient compression does), ``recursive_doubling`` adds
pairs, pairs of pairs, ..., and ``split_all_gather`` first gives each rank one part of the index range to add.
Sizes are expectations over supports that are drawn alike.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from ..kernels.optable import Floats, Ints
from .checks import counts, numbers, word
from .rounds import CollectiveError, Round

EXCHANGES: Final = ("all_gather", "recursive_doubling", "split_all_gather")


def union_elements(*, elements: ArrayLike, kept: ArrayLike, ranks: ArrayLike, shared: ArrayLike = 0.0) -> Floats:
    """Expected elements that are not zero in the sum of ``ranks`` vectors with ``kept`` of ``elements`` each.

    .. math:: U = s k + (N - s k) \\left(1 - \\left(1 - \\frac{k - s k}{N - s k}\\right)^p\\right)

    A share s of every support is common to all ranks (rows of frequent words), the rest uniform and independent;
    s = 0 is the worst case of the paper, s = 1 keeps U = k. Shapes broadcast. Leaves out: sums that cancel.
    """
    where = "union_elements"
    n = numbers(where, "elements", elements, above=True)
    k = numbers(where, "kept", kept)
    p = counts(where, "ranks", ranks, low=1)
    common = numbers(where, "shared", shared)
    if (common > 1).any():
        raise CollectiveError(f"{where}: shared is {common.max():g}; a share from 0 to 1.")
    if (k > n).any():
        raise CollectiveError(f"{where}: kept is {k.max():g} of {n.min():g} elements; at most all.")
    both = common * k
    rest = n - both
    own = np.divide(k - both, rest, out=np.zeros(np.broadcast_shapes(k.shape, rest.shape)), where=rest > 0)
    # log1p and expm1 keep the union of supports that hardly meet from drowning in rounding.
    with np.errstate(divide="ignore"):
        grown = -np.expm1(p * np.log1p(-own))
    return np.asarray(both + rest * grown)


def break_even_elements(*, elements: ArrayLike, value_byte: ArrayLike = 4, index_byte: ArrayLike = 4) -> Floats:
    """Above so many kept elements plain numbers are shorter than pairs of place and value: N v / (v + i)."""
    where = "break_even_elements"
    value = numbers(where, "value_byte", value_byte, above=True)
    total = value + numbers(where, "index_byte", index_byte)
    return np.asarray(numbers(where, "elements", elements) * value / total)


def stream_byte(
    *, elements: ArrayLike, nonzero: ArrayLike, value_byte: ArrayLike = 4, index_byte: ArrayLike = 4
) -> Floats:
    """Bytes of one vector: pairs of place and value, or all values once that is shorter [B]."""
    where = "stream_byte"
    value = numbers(where, "value_byte", value_byte, above=True)
    pair = value + numbers(where, "index_byte", index_byte)
    return np.asarray(
        np.minimum(numbers(where, "nonzero", nonzero) * pair, numbers(where, "elements", elements) * value)
    )


def round_byte(
    exchange: str, *, elements: ArrayLike, kept: ArrayLike, ranks: int, value_byte: ArrayLike = 4,
    index_byte: ArrayLike = 4, shared: ArrayLike = 0.0,
) -> Floats:  # fmt: skip
    """Bytes the busiest rank sends in each round, rounds along the first axis [B].

    all_gather, a ring: p - 1 rounds of one vector each, passed on unadded.

    recursive_doubling: round i sends the sum of 2^i vectors. Of p = 2^q + r ranks, r first send theirs to a
    neighbour (one more round) and get the whole sum at the end (another); a block of 2^i then holds up to
    2^i + min(2^i, r) vectors.

    split_all_gather: p - 1 rounds that send one p-th of the support to its owner, p - 1 that pass the added parts on.
    """
    word("round_byte", "exchange", exchange, EXCHANGES)
    p = int(counts("round_byte", "ranks", ranks, low=1))
    n = numbers("round_byte", "elements", elements, above=True)
    k, common = numbers("round_byte", "kept", kept), numbers("round_byte", "shared", shared)
    shape = np.broadcast_shapes(n.shape, k.shape, common.shape, np.shape(value_byte), np.shape(index_byte))

    def sent(of: Floats, vectors: int, part: float = 1.0) -> Floats:
        union = union_elements(elements=n, kept=of, ranks=vectors, shared=common)
        size = stream_byte(elements=n, nonzero=union, value_byte=value_byte, index_byte=index_byte)
        return np.asarray(np.broadcast_to(size * part, shape))

    if p == 1:
        return np.zeros((0, *shape))
    if exchange == "all_gather":
        return np.stack([sent(k, 1)] * (p - 1))
    if exchange == "split_all_gather":
        scatter, gather = sent(k, 1, 1.0 / p), sent(k, p, 1.0 / p)
        return np.stack([scatter] * (p - 1) + [gather] * (p - 1))
    core = 1 << (p.bit_length() - 1)
    extra = p - core
    steps = [sent(k, 2**i + min(2**i, extra)) for i in range(core.bit_length() - 1)]
    if extra:
        steps = [sent(k, 1), *steps, sent(k, p)]
    return np.stack(steps)


def rounds(
    exchange: str, *, elements: int, kept: int, ranks: int, value_byte: int = 4, index_byte: int = 4,
    shared: float = 0.0,
) -> tuple[Round, ...]:  # fmt: skip
    """The transfers of an exchange, their expected bytes rounded up; see `round_byte`.

    In recursive doubling rank i trades with rank i xor 2^r; ranks from the power of two 2^q on send theirs to rank
    i - 2^q first and get the sum from it last.
    """
    word("sparse_exchange.rounds", "exchange", exchange, EXCHANGES)
    p = int(counts("sparse_exchange.rounds", "ranks", ranks, low=1))
    rank = np.arange(p)

    def size(vectors: Ints | int, part: int = 1) -> Ints:
        union = union_elements(elements=elements, kept=kept, ranks=vectors, shared=shared)
        whole = stream_byte(elements=elements, nonzero=union, value_byte=value_byte, index_byte=index_byte)
        # 1e-6 of a byte is rounding.
        return np.asarray(np.ceil(whole / part - 1e-6), dtype=np.int64)

    if exchange == "all_gather":
        step = Round(source=rank, target=(rank + 1) % p, byte=np.full(p, size(1)), repeat=p - 1) if p > 1 else None
        return (step,) if step else ()
    if exchange == "split_all_gather":
        sizes = [size(1, p)] * (p - 1) + [size(p, p)] * (p - 1)
        shifts = [*range(1, p)] * 2
        return tuple(
            Round(source=rank, target=(rank + shift) % p, byte=np.full(p, one))
            for shift, one in zip(shifts, sizes, strict=True)
        )
    core = 1 << (p.bit_length() - 1)
    outside = np.arange(core, p)
    found = []
    if outside.size:
        found.append(Round(source=outside, target=outside - core, byte=np.full(outside.size, size(1))))
    inside = np.arange(core)
    for step_ranks in (1 << r for r in range(core.bit_length() - 1)):
        first = inside - inside % step_ranks  # of the block whose sum the rank holds
        vectors = step_ranks + np.clip(p - core - first, 0, step_ranks)
        found.append(Round(source=inside, target=inside ^ step_ranks, byte=size(vectors)))
    if outside.size:
        found.append(Round(source=outside - core, target=outside, byte=np.full(outside.size, size(p))))
    return tuple(found)


def seconds(
    exchange: str, *, elements: ArrayLike, kept: ArrayLike, ranks: int, latency_s: ArrayLike, byte_per_s: ArrayLike,
    value_byte: ArrayLike = 4, index_byte: ArrayLike = 4, shared: ArrayLike = 0.0,
) -> Floats:  # fmt: skip
    """Expected time of a sparse all-reduce: every round costs its latency and the busiest rank's bytes [s].

    .. math:: t = \\sum_r \\left(\\alpha + b_r / \\beta\\right)

    Leaves out: merging two sorted lists (memory passes; `compression.decode_cost` prices them) and supports that
    differ between ranks in size.
    """
    alpha = numbers("sparse_exchange.seconds", "latency_s", latency_s)
    beta = numbers("sparse_exchange.seconds", "byte_per_s", byte_per_s, above=True)
    size = round_byte(
        exchange, elements=elements, kept=kept, ranks=ranks, value_byte=value_byte, index_byte=index_byte,
        shared=shared,
    )  # fmt: skip
    return np.asarray(np.sum(alpha + size / beta, axis=0)) if len(size) else np.zeros(np.shape(size)[1:])


def cheapest(
    *, elements: float, kept: float, ranks: int, latency_s: float, byte_per_s: float, value_byte: float = 4,
    index_byte: float = 4, shared: float = 0.0,
) -> tuple[str, float]:  # fmt: skip
    """The exchange that takes least, and its seconds; "dense" where a plain ring all-reduce is faster still."""
    found = {
        exchange: float(seconds(
            exchange, elements=elements, kept=kept, ranks=ranks, latency_s=latency_s, byte_per_s=byte_per_s,
            value_byte=value_byte, index_byte=index_byte, shared=shared,
        ))
        for exchange in EXCHANGES
    }  # fmt: skip
    found["dense"] = 2.0 * (ranks - 1) * (latency_s + elements * value_byte / ranks / byte_per_s)
    return min(found.items(), key=lambda item: item[1])
