"""The table of collective algorithms: which runs what, on how many ranks, and where its rounds and its time are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

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


class _Module(Protocol):
    """What the module of an algorithm has."""

    @property
    def COLLECTIVES(self) -> Iterable[str]: ...  # noqa: N802 (the constant of a module)

    @property
    def rounds(self) -> Callable[..., tuple[Round, ...]]: ...

    @property
    def seconds(self) -> Callable[..., Floats]: ...


def _entry(
    name: str, module: _Module, note: str, *, options: tuple[str, ...] = (), needs: tuple[str, ...] = (),
    ports: str = "1", power_of_two: tuple[str, ...] = (),
) -> Algorithm:  # fmt: skip
    return Algorithm(
        name=name, collectives=tuple(module.COLLECTIVES), rounds=module.rounds, seconds=module.seconds, note=note,
        options=options, needs=needs, ports=ports, power_of_two=power_of_two,
    )  # fmt: skip


_ENTRIES = (
    _entry("direct", direct, "Any number of ranks, two of which take part."),
    _entry("binomial", binomial, "Any number of ranks. Its all-reduce is FireCaffe's reduction tree."),
    _entry("chain", chain, "Any number of ranks; pipelined in chunks.", options=("chunks",)),
    _entry("scatter_all_gather", scatter_gather, "Any number of ranks; for long messages."),
    _entry("ring", flat_ring, "Any number of ranks."),
    _entry(
        "recursive_doubling",
        recursive_doubling,
        "All-reduce: any number of ranks, two rounds more where it is no power of two. All-gather: powers of two.",
        power_of_two=("all_gather",),
    ),
    _entry(
        "halving_doubling",
        halving_doubling,
        "Any number of ranks, two rounds more where it is no power of two (Rabenseifner's algorithm).",
    ),
    _entry("double_binary_tree", double_binary_tree, "Any number of ranks; pipelined in chunks.", options=("chunks",)),
    _entry(
        "two_level",
        two_level,
        "A multiple of the ranks of a server. Its time also takes across_latency_s and across_byte_per_s.",
        options=("ranks_per_server", "across"),
        needs=("ranks_per_server",),
    ),
    _entry(
        "torus",
        torus,
        "The product of the dimensions, of which there may be any number.",
        options=("dims", "both_ways"),
        needs=("dims",),
        ports="one for each dimension, two with both_ways",
    ),
    _entry("bruck", bruck, "Any number of ranks; for short messages."),
    _entry("pairwise", pairwise, "Any number of ranks. Uneven amounts: pairwise.ragged_rounds and ragged_seconds."),
    _entry(
        "halo",
        halo,
        "The product of the grid, of one dimension or more.",
        options=("grid", "cells", "width", "periodic"),
        needs=("grid", "cells"),
    ),
    _entry("dissemination", dissemination, "Any number of ranks."),
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
