"""What a collective runs on, row by row: how many ranks, on which wires, called by which library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..kernels.optable import Floats, Ints

#: Collectives whose time is predicted. `permute`: every rank sends to one other (a ring, a chain, both directions).
COLLECTIVES: Final = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "permute")
#: How the chips of one scale-up domain are joined; a "rack" is switches that join several hosts (NVL72).
UP_KINDS: Final = ("switch", "rack", "pairs", "cube_mesh", "pcie_tree", "torus", "none")
#: Algorithms a caller may force; "" lets the library choose.
ALGORITHMS: Final = ("", "ring", "tree", "nvls", "nvls_tree")


@dataclass(frozen=True, kw_only=True)
class Wires:
    """The wires under one group of ranks, and the library that drives them; everything but the message.

    Parameters
    ----------
    ranks
        Members of the group.
    domain_ranks
        Members inside one scale-up domain (a server, or a rack of NVL72): at most `ranks`.
    host_ranks
        Chips that share one host; equal to a domain's chips where the domain is one server.
    up_kind, up_link
        One of `UP_KINDS`, and the id of the link.
    up_byte_per_s
        Nominal rate of one member inside the group in one domain, all its links to members, one direction [B/s].
    pair_byte_per_s
        Nominal rate between two neighbours of the group inside a domain, one direction [B/s]: all links of a chip
        behind a switch, one pair's links in a mesh.
    out_link, out_byte_per_s
        Family of the wires between domains ("infiniband", "ethernet", "efa", "omni-path", ...; "" where the group
        stays inside one domain), and what all network cards of one domain carry together, one direction [B/s].
    library
        Communication library and who calls it, such as "nccl", "xla+nccl", "rccl", "nccl-2.0-mpi".
    in_switch
        Whether switches of the domain can reduce (NVLink SHARP) and this library uses it.
    in_network
        Whether switches between domains reduce as well.
    axes
        Dimensions of a torus: a ring runs along one after the other, its message cut over all of them.
    """

    ranks: int
    domain_ranks: int
    host_ranks: int
    up_kind: str
    up_link: str
    up_byte_per_s: float
    pair_byte_per_s: float
    out_link: str
    out_byte_per_s: float
    library: str
    in_switch: bool = False
    in_network: bool = False
    axes: int = 1

    def __post_init__(self) -> None:
        if self.up_kind not in UP_KINDS:
            raise ValueError(f"Wires: up_kind {self.up_kind!r}; one of {', '.join(UP_KINDS)}.")
        if self.ranks < 1 or not 1 <= self.domain_ranks <= self.ranks or self.host_ranks < 1:
            raise ValueError(
                f"Wires: {self.ranks} ranks, {self.domain_ranks} of them in a domain, {self.host_ranks} on a host; "
                "at least 1 each, and no more in a domain than in all."
            )
        if not (self.up_byte_per_s > 0 and self.pair_byte_per_s > 0 and self.out_byte_per_s > 0):
            raise ValueError("Wires: rates are above 0.")

    @property
    def fabric(self) -> str:
        """The word under which constants of the scale-up wires are kept."""
        return f"{self.up_link}-{self.up_kind}" if self.up_link else "none"


_OWNERS: Final[dict[str, Callable[[tuple[Wires, str, str]], str]]] = {
    "link": lambda case: case[0].up_link,
    "fabric": lambda case: case[0].fabric,
    "out": lambda case: case[0].out_link,
    "library": lambda case: case[0].library,
    "collective": lambda case: case[1],
}
LEVELS: Final = tuple(_OWNERS)


@dataclass(frozen=True, kw_only=True)
class Exchanges:
    """Many collectives: distinct cases of (wires, collective, forced algorithm), which of them each row is, and the
    bytes of each row's full tensor. ``row`` and ``message_byte`` have shape (rows,)."""

    distinct: tuple[tuple[Wires, str, str], ...]
    row: Ints
    message_byte: Floats

    @classmethod
    def of(cls, cases: Sequence[tuple[Wires, str, str]], message_byte: Sequence[float]) -> Exchanges:
        """One (wires, collective, forced algorithm) per row, deduplicated in order of first appearance."""
        index: dict[tuple[Wires, str, str], int] = {}
        for _, collective, algorithm in cases:
            if collective not in COLLECTIVES or algorithm not in ALGORITHMS:
                raise ValueError(f"Exchanges: {collective!r} by {algorithm!r}; see COLLECTIVES and ALGORITHMS.")
        row = np.array([index.setdefault(case, len(index)) for case in cases], dtype=np.int64)
        return cls(distinct=tuple(index), row=row, message_byte=np.asarray(message_byte, dtype=np.float64))

    @property
    def rows(self) -> int:
        """Number of collectives."""
        return len(self.row)

    def owners(self, level: str) -> tuple[str, ...]:
        """Whose constants the distinct cases use at a level of `LEVELS`; shape (distinct,)."""
        return tuple(_OWNERS[level](case) for case in self.distinct)

    def number(self, name: str) -> Floats:
        """A numeric field of the wires, gathered to rows."""
        return np.array([float(getattr(wires, name)) for wires, _, _ in self.distinct])[self.row]

    def holds(self, name: str, *words: str) -> NDArray[np.bool_]:
        """Whether a text field of the wires (or "collective", "algorithm") is one of the words, gathered to rows."""

        def text(case: tuple[Wires, str, str]) -> str:
            if name == "collective":
                return case[1]
            return case[2] if name == "algorithm" else str(getattr(case[0], name))

        return np.array([text(case) in words for case in self.distinct], dtype=bool)[self.row]

    @cached_property
    def domains(self) -> Floats:
        """Scale-up domains that each group spans."""
        return np.asarray(np.ceil(self.number("ranks") / self.number("domain_ranks")))
