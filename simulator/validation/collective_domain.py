"""One scale-up domain as a row describes it, and the rates that a group of its chips has."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import hwmodels.catalog as hardware
from hwmodels.server import Server
from simulator.cluster import RELAYED_SHARE
from topologies.cube_mesh import hybrid_cube_mesh
from topologies.rings import rings_with_relays

from .collective_software import CollectiveRowError

#: Rate of a relayed ring over that of a direct one on the same links: 37.2 GB/s on two rings of five chips of a DGX-1

#: By the wire between two sockets: the word its constants are kept under, and what crosses from one socket's chips to
#: the other's, one direction [B/s]: NCCL's figures (NVIDIA/nccl@5067397, src/graph/topo.h), far below the wire's rate.
ACROSS_SOCKETS: Final = {
    "qpi-9.6": ("qpi", 6e9), "upi-10.4": ("upi", 10e9), "upi-16": ("upi", 22e9), "xgmi-socket": ("xgmi-socket", 16e9),
    "x-bus": ("x-bus", 32e9),
}  # fmt: skip
#: Those figures are what is sustained; the cost model takes nominal rates and this share of them.
_SUSTAINED: Final = 0.85


@dataclass(frozen=True, kw_only=True)
class Inside:
    """How the chips of one domain are joined.

    Parameters
    ----------
    kind, link
        As in `exchange.Wires`.
    chips, host_chips
        Chips of a domain, and of one host.
    links, peers
        Links of one chip, and the chips they lead to where they are wired pair by pair.
    pairs
        (chip a, chip b, links) where the wiring is pair by pair and uneven; () otherwise.
    sockets, socket_wire
        Roots of a PCIe tree, and the catalogue's link between sockets; "" where nothing crosses them.
    server
        The catalogue's server that filled in what the words left out.
    assumed
        What was filled in.
    """

    kind: str
    link: str
    chips: int
    host_chips: int
    links: int
    server: Server
    peers: int = 0
    pairs: tuple[tuple[int, int, int], ...] = ()
    sockets: int = 1
    socket_wire: str = ""
    assumed: tuple[str, ...] = ()

    def rates(self, members: int) -> tuple[str, float, float]:
        """The word of the wires that bind, what one of some members of a domain sends to the others, and what it sends
        to a neighbour [B/s], one direction."""
        if self.kind == "none":
            return self.link, 0.0, 0.0
        rate = hardware.link(self.link).bandwidth_byte_per_s
        if self.kind == "pcie_tree":
            # A launcher deals ranks to the sockets in turn, so that two of them already meet across.
            return self._across() if self.sockets > 1 and members > 1 else (self.link, rate, rate)
        if self.kind == "cube_mesh":
            return self.link, _ring_rate(self.pairs, self.chips, max(members, 2)) * rate, rate
        if self.kind == "pairs":
            if self.pairs and self.socket_wire and not _joined(self.pairs, members):
                return self._across()
            many, one = self._pair_links(max(members, 2))
            return self.link, many * rate, one * rate
        whole = self.links * rate
        return self.link, whole, rate if self.kind == "torus" else whole

    def _across(self) -> tuple[str, float, float]:
        word, sustained = ACROSS_SOCKETS[self.socket_wire]
        return word, sustained / _SUSTAINED, sustained / _SUSTAINED

    def _pair_links(self, members: int) -> tuple[float, float]:
        if not self.pairs:
            one = self.links / max(self.peers, 1)
            return one * (members - 1), one
        inside = [(a, b, n) for a, b, n in self.pairs if a < members and b < members]
        degree = [sum(n for a, b, n in inside if i in (a, b)) for i in range(members)]
        return float(max(min(degree), 1)), float(min((n for *_, n in inside), default=1))


def _joined(pairs: tuple[tuple[int, int, int], ...], members: int) -> bool:
    """Whether links between the first members lead from each of them to all others."""
    reached = {0}
    for _ in range(members):
        reached |= {b for a, b, _ in (*pairs, *((b, a, n) for a, b, n in pairs)) if a in reached and b < members}
    return len(reached) >= members


@cache
def _ring_rate(pairs: tuple[tuple[int, int, int], ...], chips: int, members: int) -> float:
    """What the rings over the first members of a cube mesh carry together, in links of one direction."""
    wired = 1 + max(b for _, b, _ in pairs)
    if members > wired:
        raise CollectiveRowError(f"{members} ranks on one cube mesh, which has {wired} chips.")
    found = rings_with_relays(hybrid_cube_mesh(pairs), tuple(range(min(members, chips))))
    if not len(found):
        raise CollectiveRowError(f"no ring over {members} chips of a cube mesh of {chips}.")
    return sum(RELAYED_SHARE if relayed else 1.0 for relayed in found.relayed)
