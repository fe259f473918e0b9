"""Two levels, in servers and between them: every rank reduces its share inside its server, then across."""

from __future__ import annotations

from types import ModuleType
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from ..kernels.optable import Floats
from . import flat_ring, halving_doubling, recursive_doubling
from .closed_form import arrays, ceil_div, check_collective, check_counts, require, whole
from .rounds import CollectiveError, Round, chunk_bounds, merged, placed

COLLECTIVES: Final = ("all_reduce", "reduce_scatter", "all_gather")
#: What may run between servers.
ACROSS: Final[dict[str, ModuleType]] = {
    "ring": flat_ring,
    "halving_doubling": halving_doubling,
    "recursive_doubling": recursive_doubling,
}


def rounds(
    collective: str, ranks: int, message_byte: int, *, ranks_per_server: int, across: str = "ring"
) -> tuple[Round, ...]:
    """A ring reduce-scatter inside each server, the collective on each rail, a ring all-gather inside each server.

    Server m holds ranks m L .. m L + L - 1. Rail l joins the ranks number l of all servers and runs the collective on
    chunk l of L; all rails run side by side. A reduce-scatter has no all-gather after it and an all-gather no
    reduce-scatter before it; their chunks lie rail by rail: rank l of server m owns chunk m (of M) of chunk l (of L).
    """
    check_collective("two_level", collective, COLLECTIVES)
    check_counts("two_level", ranks, message_byte)
    _check_across(across, collective)
    check_counts("two_level: ranks_per_server", ranks_per_server, 0)
    if ranks % ranks_per_server:
        raise CollectiveError(
            f"two_level: ranks is {ranks} with {ranks_per_server} ranks_per_server; a multiple, such as "
            f"{max(1, round(ranks / ranks_per_server)) * ranks_per_server}."
        )
    servers, bounds = ranks // ranks_per_server, chunk_bounds(message_byte, ranks_per_server)

    def inside(phase: str) -> list[Round]:
        one = flat_ring.rounds(phase, ranks_per_server, message_byte)
        local = np.arange(ranks_per_server)
        return merged(placed(one, local + server * ranks_per_server) for server in range(servers))

    rails = merged(
        placed(
            ACROSS[across].rounds(collective, servers, int(bounds[local + 1] - bounds[local])),
            local + ranks_per_server * np.arange(servers),
            int(bounds[local]),
        )
        for local in range(ranks_per_server)
    )
    before = [] if collective == "all_gather" else inside("reduce_scatter")
    after = [] if collective == "reduce_scatter" else inside("all_gather")
    return (*before, *rails, *after)


def seconds(
    collective: str,
    *,
    ranks: ArrayLike,
    message_byte: ArrayLike,
    latency_s: ArrayLike,
    byte_per_s: ArrayLike,
    ranks_per_server: ArrayLike,
    across_latency_s: ArrayLike | None = None,
    across_byte_per_s: ArrayLike | None = None,
    across: str = "ring",
) -> Floats:
    """Time of a two-level all-reduce, reduce-scatter or all-gather over n = L M ranks, L in each of M servers.

    .. math::

        t = p (L - 1) (\\alpha + \\lceil S/L \\rceil / \\beta) + t^{across}(M, \\lceil S/L \\rceil)

    with p = 2 for an all-reduce and 1 for the others.

    Parameters
    ----------
    latency_s, byte_per_s
        Between two ranks of a server. [s], [B/s]
    across_latency_s, across_byte_per_s
        Between two ranks of a rail, while all rails run: a network card's rate where each rank has its own, else its
        share of them; as inside where not given. [s], [B/s]
    across
        What runs between servers, one of `ACROSS`; recursive doubling only in an all-reduce.

    Returns
    -------
    Seconds; zero for one rank and for an empty message. Arguments broadcast. Leaves out: the reduction arithmetic, and
    chunks that are already on their way across while others are still reduced inside. Reference: M. Cho, U. Finkler,
    M. Serrano, D. Kung and H. Hunter, BlueConnect, 2019.
    """
    check_collective("two_level", collective, COLLECTIVES)
    _check_across(across, collective)
    n, message, latency, rate = arrays(
        "two_level", ranks=ranks, message_byte=message_byte, latency_s=latency_s, byte_per_s=byte_per_s
    )
    local = whole("two_level", "ranks_per_server", ranks_per_server, least=1)
    require("two_level", "ranks", np.asarray(n + 0.0 * local), n % local == 0, "a multiple of ranks_per_server")
    inside = flat_ring.seconds(collective, ranks=local, message_byte=message, latency_s=latency, byte_per_s=rate)
    between = ACROSS[across].seconds(
        collective,
        ranks=n / local,
        message_byte=ceil_div(message, local),
        latency_s=latency if across_latency_s is None else across_latency_s,
        byte_per_s=rate if across_byte_per_s is None else across_byte_per_s,
    )
    return np.asarray(inside + between, np.float64)


def _check_across(across: str, collective: str) -> None:
    # Recursive doubling has no reduce-scatter, and its all-gather would not take any number of servers.
    able = [name for name in ACROSS if collective == "all_reduce" or name != "recursive_doubling"]
    if across not in able:
        raise CollectiveError(f"two_level: across is {across!r}; for {collective} one of {', '.join(able)}.")
