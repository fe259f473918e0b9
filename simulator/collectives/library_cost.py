"""What a collective costs as a communication library runs it: the one cost model for steps and for measured rows.

The library picks the algorithm and the protocol; here the fastest of those it has, unless the caller forces one. Arrays
in, arrays out: a million collectives a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..kernels.optable import Floats, Ints
from .exchange import Exchanges
from .library_point_to_point import Sends, point_to_point
from .library_reduce import Path, in_switch, ring, tree
from .library_specs import SPECS

#: What a library can run, as it is printed.
CHOICES: Final = (
    "ring, large-message protocol", "ring, small-message protocol", "tree, small-message protocol",
    "tree, large-message protocol", "reduction in the switches", "sends",
)  # fmt: skip
#: What can bind: the time to start and step, a chip's links, a domain's network cards, the library's channels.
LIMITS: Final = ("latency", "links of a chip", "network cards", "channels of the library")

#: Messages above this are pinned anew by MPI libraries of that time.
_PINNED_BYTE: Final = 134_217_728.0
_NEVER: Final = 1e9

#: Libraries without trees: NVIDIA's before release 2.4 of 2019, and the ring that came before it.
RING_ONLY: Final = ("nccl-2.0-mpi", "nccl-2.0-single", "baidu-ring")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Seconds of every collective, which of `CHOICES` runs it, and which of `LIMITS` binds it; shape (rows,) each."""

    seconds: Floats
    choice: Ints
    limit: Ints


def exchange_cost(x: Exchanges, values: Mapping[str, Floats]) -> Cost:
    """Price collectives from constants gathered to rows (name -> shape (rows,)).

    The time is the least over the algorithms that the library and the wires have. Zero for one rank and for an empty
    message. Leaves out: other traffic on the same wires (`simulator.flows` has it) and ranks that arrive late.
    """
    v = values
    reduce = x.holds("collective", "all_reduce")
    sends = x.holds("collective", "all_to_all", "permute")
    # What only an all-reduce has cannot be forced on another collective.
    forced = {word: reduce & x.holds("algorithm", word) for word in ("tree", "nvls", "nvls_tree")}
    free = x.holds("algorithm", "") & ~x.holds("library", *RING_ONLY)
    switching = forced["nvls"] | forced["nvls_tree"]
    bulk, fast = ring(x, v, bulk=True), ring(x, v, bulk=False)
    small_tree, large_tree, switch = tree(x, v, bulk=False), tree(x, v, bulk=True), in_switch(x, v)
    allowed = (
        ~sends & ~forced["tree"] & ~switching,
        ~sends & ~forced["tree"] & ~switching,
        reduce & (free | forced["tree"]),
        reduce & (free | forced["tree"]),
        reduce & ((free & x.holds("in_switch", "True")) | switching),
    )
    paths: tuple[Path, ...] = (bulk, fast, small_tree, large_tree, switch)
    seconds = np.stack([np.where(ok, path.seconds, _NEVER) for ok, path in zip(allowed, paths, strict=True)])
    choice = np.argmin(seconds, axis=0)
    direct = point_to_point(x, v)
    least = np.where(sends, direct.seconds, np.min(seconds, axis=0))
    pinned = x.holds("library", "mlsl", "mpi") & (x.message_byte > _PINNED_BYTE)
    least = least + np.where(pinned, v["register_s"], 0.0)
    some = (x.number("ranks") > 1.0) & (x.message_byte > 0.0)
    return Cost(
        seconds=np.asarray(np.where(some, least, 0.0)),
        choice=np.where(sends, CHOICES.index("sends"), choice),
        limit=_limit(sends, paths, choice, direct),
    )


def _limit(sends: NDArray[np.bool_], paths: tuple[Path, ...], choice: Ints, direct: Sends) -> Ints:
    """Which of `LIMITS` takes the most of each row's time."""

    def taken(name: str) -> Floats:
        return np.asarray(np.choose(choice, [getattr(path, name) for path in paths]))

    names = ("latency_s", "inside_s", "outside_s")
    by_path = np.argmax(np.stack([taken(name) for name in names]), axis=0)
    by_sends = np.argmax(np.stack([getattr(direct, name) for name in (*names, "channels_s")]), axis=0)
    return np.asarray(np.where(sends, by_sends, by_path))


def exchange_s(x: Exchanges, values: Mapping[str, Floats]) -> Floats:
    """Seconds of collectives, shape (rows,): `exchange_cost` without the reasons."""
    return exchange_cost(x, values).seconds


def chosen(x: Exchanges, values: Mapping[str, Floats]) -> tuple[str, ...]:
    """The algorithm and protocol that runs each collective, one of `CHOICES`."""
    return tuple(CHOICES[i] for i in exchange_cost(x, values).choice)


__all__ = ["CHOICES", "LIMITS", "SPECS", "Cost", "chosen", "exchange_cost", "exchange_s"]
