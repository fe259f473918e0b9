"""A torus: rings along one dimension after the other, parts of the message starting on each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from ..kernels.optable import Floats, Ints
from .closed_form import arrays, ceil_div, check_collective, check_counts, chunk_byte, require, whole
from .rounds import CollectiveError, Round, chunk_bounds, merged, mirrored, moves

#: Each with how often every ring goes round.
COLLECTIVES: Final = {"all_reduce": 2.0, "reduce_scatter": 1.0, "all_gather": 1.0}


def rounds(
    collective: str, ranks: int, message_byte: int, *, dims: Sequence[int], both_ways: bool = False
) -> tuple[Round, ...]:
    """A reduce-scatter along every dimension in turn, then the same backwards as an all-gather.

    Rank r sits at the r-th coordinate, the last dimension running fastest. The message is cut into one part for each
    dimension (`both_ways`: two, whose rings turn in opposite directions). Part p goes along dimensions p, p + 1, ...
    (mod k), so that in every stage each dimension carries one part; a stage ends when all parts have finished it.
    On two dimensions: rows then columns for one half, columns then rows for the other, both at once. A reduce-scatter
    is the first half of the rounds and an all-gather the second; what a rank owns then is one range in each part.
    """
    check_collective("torus", collective, COLLECTIVES)
    check_counts("torus", ranks, message_byte)
    dims = tuple(int(size) for size in dims)
    if not dims or min(dims) < 1 or math.prod(dims) != ranks:
        raise CollectiveError(
            f"torus: dims {'x'.join(map(str, dims)) or '()'} hold {math.prod(dims)} ranks, asked for {ranks}; sizes of "
            "at least 1 whose product is the number of ranks."
        )
    count = len(dims)
    parts = count * (2 if both_ways else 1)
    bounds = chunk_bounds(message_byte, parts)
    ranges = [(np.full(ranks, bounds[p]), np.full(ranks, bounds[p + 1])) for p in range(parts)]
    down: list[Round] = []
    for stage in range(count):
        lanes = []
        for p, (first, end) in enumerate(ranges):
            lane, ranges[p] = _reduce_scatter(dims, (p + stage) % count, -1 if p >= count else 1, first, end)
            lanes.append(lane)
        down += merged(lanes)
    up = mirrored(down, reduces=False)
    return tuple({"all_reduce": down + up, "reduce_scatter": down, "all_gather": up}[collective])


def _reduce_scatter(
    dims: tuple[int, ...], axis: int, way: int, first: Ints, end: Ints
) -> tuple[list[Round], tuple[Ints, Ints]]:
    """Rounds of all rings along one dimension, and the range that each rank is left with."""
    rank, size = np.arange(len(first)), dims[axis]
    stride = math.prod(dims[axis + 1 :])
    at = rank // stride % size
    following = rank + ((at + way) % size - at) * stride

    def start(chunk: Ints) -> Ints:
        return np.asarray(first + chunk * ((end - first) // size) + np.minimum(chunk, (end - first) % size))

    found: list[Round] = []
    for step in range(size - 1):
        chunk = (at - way * (1 + step)) % size
        found += moves(rank, following, start(chunk), start(chunk + 1), reduces=True)
    return found, (start(at), start(at + 1))


def seconds(
    collective: str,
    *,
    ranks: ArrayLike,
    message_byte: ArrayLike,
    latency_s: ArrayLike,
    byte_per_s: ArrayLike,
    dims: Sequence[ArrayLike],
    both_ways: bool = False,
) -> Floats:
    """Time of an all-reduce, or of one of its halves, on a torus of k dimensions with full-duplex links.

    .. math::

        t = g \\sum_{j=1}^{k} \\sum_{t} (\\alpha + \\max_{p : t < D - 1} c_{pj} / \\beta), \\quad
        c_{pj} = \\lceil s_p / \\textstyle\\prod D \\rceil

    with g = 2 for an all-reduce and 1 for a reduce-scatter or an all-gather, D the dimension that part p of s_p bytes
    uses in stage j, and the product over its dimensions up to and with stage j; parts are 1/k of the message, or 1/(2k)
    where both directions are used. With k equal dimensions t = g (k (D-1) alpha + (n-1)/n S / (k beta)).

    Parameters
    ----------
    dims
        One array of sizes for each dimension; their product must be `ranks`.

    Returns
    -------
    Seconds; zero for one rank and for an empty message. Arguments broadcast: counts, [B], [s], [B/s]. Leaves out: the
    reduction arithmetic; a dimension of 2 uses one of its two links. References: P. Sack and W. Gropp, Collective
    algorithms for multiported torus networks, 2015; C. Ying et al., Image classification at supercomputer scale, 2018
    (2-D all-reduce).
    """
    check_collective("torus", collective, COLLECTIVES)
    n, message, latency, rate = arrays(
        "torus", ranks=ranks, message_byte=message_byte, latency_s=latency_s, byte_per_s=byte_per_s
    )
    sizes = [whole("torus", "a size of dims", size, least=1) for size in dims]
    if not sizes:
        raise CollectiveError("torus: dims is empty; at least one size.")
    product = np.asarray(math.prod(sizes), np.float64)
    require("torus", "ranks", np.asarray(n + 0.0 * product), n == product, "the product of dims")
    count = len(sizes)
    q, more = chunk_byte(message, np.asarray(count * (2.0 if both_ways else 1.0)))
    # Of parts that go the same way at the same time, only the largest matters: part p, not its twin p + k.
    share = [q + (p < more) for p in range(count)]
    time = np.zeros(np.broadcast_shapes(n.shape, message.shape, latency.shape, rate.shape, product.shape))
    for stage in range(count):
        steps = [sizes[(p + stage) % count] - 1.0 for p in range(count)]
        share = [ceil_div(byte, step + 1.0) for byte, step in zip(share, steps, strict=True)]
        ends = np.sort(np.stack(np.broadcast_arrays(*steps)), axis=0)
        begin = np.zeros(())
        for end in ends:
            running = (np.where(step >= end, byte, 0.0) for byte, step in zip(share, steps, strict=True))
            largest = np.max(np.stack(np.broadcast_arrays(*running)), axis=0)
            time = time + np.where(largest > 0, (end - begin) * (latency + largest / rate), 0.0)
            begin = end
    return np.asarray(COLLECTIVES[collective] * time)
