"""The table of collective algorithms: which runs what, on how many ranks, and where its rounds and its time are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hwmodels.datafile import did_you_mean

from ..kernels.optable import Floats
from . import (
    binomial,
    bruck,
    chain,
    direct,
    dissemination,
    double_binary_tree,
    flat_ring,
    halo,
    halving_doubling,
    pairwise,
    recursive_doubling,
    scatter_gather,
    torus,
    two_level,
)
from .rounds import CollectiveError, Round


@dataclass(frozen=True, kw_only=True)
class Algorithm:
    """One way to run some collectives.

    Parameters
    ----------
    collectives
        What it runs.
    rounds
        `rounds(collective, ranks, message_byte, **options)`: who sends how many bytes to whom.
    seconds
        `seconds(collective, ranks=, message_byte=, latency_s=, byte_per_s=, **options)`: the closed form, arrays in and
        out. `message_byte` is the full tensor: an all-gather's output, a reduce-scatter's input; in an all-to-all what
        one rank holds.
    options
        Keywords of both beyond these; those in `needs` must be given. The rounds of what has a root also take `root`.
    ports
        Transfers that a rank may send (and receive) at once, where every port has the full rate.
    power_of_two
        Collectives that it runs on 2^k ranks only.
    note
        Which numbers of ranks are legal, and what else to know.
    """

    name: str
    collectives: tuple[str, ...]
    rounds: Callable[..., tuple[Round, ...]]
    seconds: Callable[..., Floats]
    note: str
    options: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    ports: str = "1"
    power_of_two: tuple[str, ...] = ()

    def refusal(self, collective: str, ranks: int) -> str:
        """Why it cannot run a collective on so many ranks, in words; empty where it can."""
        if collective not in self.collectives:
            return f"runs {', '.join(self.collectives)}"
        if collective in self.power_of_two and ranks & (ranks - 1):
            return f"needs a power of two for {collective}"
        return ""


_ENTRIES = (
    Algorithm(
        name="direct",
        collectives=direct.COLLECTIVES,
        rounds=direct.rounds,
        seconds=direct.seconds,
        note="Any number of ranks, two of which take part.",
    ),
    Algorithm(
        name="binomial",
        collectives=binomial.COLLECTIVES,
        rounds=binomial.rounds,
        seconds=binomial.seconds,
        note="Any number of ranks. Its all-reduce is FireCaffe's reduction tree.",
    ),
    Algorithm(
        name="chain",
        collectives=chain.COLLECTIVES,
        rounds=chain.rounds,
        seconds=chain.seconds,
        options=("chunks",),
        note="Any number of ranks; pipelined in chunks.",
    ),
    Algorithm(
        name="scatter_all_gather",
        collectives=scatter_gather.COLLECTIVES,
        rounds=scatter_gather.rounds,
        seconds=scatter_gather.seconds,
        note="Any number of ranks; for long messages.",
    ),
    Algorithm(
        name="ring",
        collectives=tuple(flat_ring.COLLECTIVES),
        rounds=flat_ring.rounds,
        seconds=flat_ring.seconds,
        note="Any number of ranks.",
    ),
    Algorithm(
        name="recursive_doubling",
        collectives=recursive_doubling.COLLECTIVES,
        rounds=recursive_doubling.rounds,
        seconds=recursive_doubling.seconds,
        power_of_two=("all_gather",),
        note="All-reduce: any number of ranks, two rounds more where it is no power of two. All-gather: powers of two.",
    ),
    Algorithm(
        name="halving_doubling",
        collectives=halving_doubling.COLLECTIVES,
        rounds=halving_doubling.rounds,
        seconds=halving_doubling.seconds,
        note="Any number of ranks, two rounds more where it is no power of two (Rabenseifner's algorithm).",
    ),
    Algorithm(
        name="double_binary_tree",
        collectives=double_binary_tree.COLLECTIVES,
        rounds=double_binary_tree.rounds,
        seconds=double_binary_tree.seconds,
        options=("chunks",),
        note="Any number of ranks; pipelined in chunks.",
    ),
    Algorithm(
        name="two_level",
        collectives=two_level.COLLECTIVES,
        rounds=two_level.rounds,
        seconds=two_level.seconds,
        options=("ranks_per_server", "across"),
        needs=("ranks_per_server",),
        note="A multiple of the ranks of a server. Its time also takes across_latency_s and across_byte_per_s.",
    ),
    Algorithm(
        name="torus",
        collectives=tuple(torus.COLLECTIVES),
        rounds=torus.rounds,
        seconds=torus.seconds,
        options=("dims", "both_ways"),
        needs=("dims",),
        ports="one for each dimension, two with both_ways",
        note="The product of the dimensions, of which there may be any number.",
    ),
    Algorithm(
        name="bruck",
        collectives=bruck.COLLECTIVES,
        rounds=bruck.rounds,
        seconds=bruck.seconds,
        note="Any number of ranks; for short messages.",
    ),
    Algorithm(
        name="pairwise",
        collectives=pairwise.COLLECTIVES,
        rounds=pairwise.rounds,
        seconds=pairwise.seconds,
        note="Any number of ranks. Uneven amounts: pairwise.ragged_rounds and ragged_seconds.",
    ),
    Algorithm(
        name="halo",
        collectives=halo.COLLECTIVES,
        rounds=halo.rounds,
        seconds=halo.seconds,
        options=("grid", "cells", "width", "periodic"),
        needs=("grid", "cells"),
        note="The product of the grid, of one dimension or more.",
    ),
    Algorithm(
        name="dissemination",
        collectives=dissemination.COLLECTIVES,
        rounds=dissemination.rounds,
        seconds=dissemination.seconds,
        note="Any number of ranks.",
    ),
)

#: Every algorithm by its name.
ALGORITHMS: Final[dict[str, Algorithm]] = {one.name: one for one in _ENTRIES}
#: Every collective that some algorithm runs, each once.
COLLECTIVES: Final = tuple(dict.fromkeys(name for one in _ENTRIES for name in one.collectives))


def algorithm(name: str, collective: str, ranks: int) -> Algorithm:
    """The algorithm of a name, if it runs the collective on so many ranks.

    Raises
    ------
    CollectiveError
        If there is no such algorithm or collective, or they do not go together; it says which do.
    """
    if name not in ALGORITHMS:
        raise CollectiveError(
            f"algorithm is {name!r}; one of {', '.join(ALGORITHMS)}.{did_you_mean(_word(name), ALGORITHMS)}"
        )
    if collective not in COLLECTIVES:
        raise CollectiveError(
            f"collective is {collective!r}; one of {', '.join(COLLECTIVES)}."
            f"{did_you_mean(_word(collective), COLLECTIVES)}"
        )
    if isinstance(ranks, bool) or not isinstance(ranks, int) or ranks < 1:
        raise CollectiveError(f"ranks is {ranks!r}; a whole number, at least 1.")
    found = ALGORITHMS[name]
    if reason := found.refusal(collective, ranks):
        able = ", ".join(algorithms_for(collective, ranks))
        raise CollectiveError(f"algorithm {name!r} {reason}; {collective} on {ranks} ranks: {able}.")
    return found


def algorithms_for(collective: str, ranks: int) -> tuple[str, ...]:
    """Names of the algorithms that run a collective on so many ranks."""
    return tuple(name for name, one in ALGORITHMS.items() if not one.refusal(collective, ranks))


def _word(given: str) -> str:
    return str(given).lower().replace("-", "_")
