"""Hypercubes: 2^d chips, each joined to the d whose number differs in one bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from topologies.link_table import NO_LINK, Ints, LinkTable, as_endpoints, directed, left_packed, link_table, topology_of
from topologies.topology import Topology, TopologyError, check_count


@dataclass(frozen=True, kw_only=True)
class HypercubeShape:
    """2^d chips and the parallel links of each pair whose numbers differ in one bit."""

    chips: int
    links: int = 1
    tier: str = "scale_up"

    def __post_init__(self) -> None:
        check_count("hypercube", "chips", self.chips)
        check_count("hypercube", "links", self.links)
        if self.chips != 1 << self.dimensions:
            nearest = min(1 << self.dimensions, 2 << self.dimensions, key=lambda power: abs(power - self.chips))
            raise TopologyError(f"hypercube: chips is {self.chips}; a power of two. Nearest: {nearest}.")

    @property
    def endpoints(self) -> int:
        """Its chips."""
        return self.chips

    @property
    def dimensions(self) -> int:
        """d, which is also the diameter and the links of a chip (times `links`)."""
        return self.chips.bit_length() - 1


def hypercube(chips: int, *, links: int = 1, tier: str = "scale_up") -> Topology:
    """Chips 0 .. 2^d - 1, each joined to the d chips whose number differs from its own in one bit.

    Parameters
    ----------
    links
        Parallel links of each pair.

    Notes
    -----
    d links per chip and a diameter of d; the bisection is n/2 (times `links`).

    Raises
    ------
    TopologyError
        If `chips` is not a power of two.
    """
    return topology_of(
        hypercube_links(HypercubeShape(chips=chips, links=links, tier=tier)),
        name=f"hypercube of {chips}",
        endpoints=chips,
        names=[*range(chips)],
        bisection=chips // 2 * links,
    )


def hypercube_links(shape: HypercubeShape) -> LinkTable:
    """The links of a hypercube, bit by bit, in the order of the chip whose bit is 0."""
    numbers = np.arange(shape.chips)
    lower = [numbers[numbers >> bit & 1 == 0] for bit in range(shape.dimensions)]
    return link_table(shape.chips, [(low, low | 1 << bit, shape.tier, shape.links) for bit, low in enumerate(lower)])


def hypercube_choices(shape: HypercubeShape, a: Any, b: Any) -> Ints:
    """(T,) routes that `hypercube_routes` chooses from: one for each bit to look at first."""
    a, _ = as_endpoints("hypercube", a, shape.chips), as_endpoints("hypercube", b, shape.chips)
    return np.full_like(a, max(1, shape.dimensions))


def hypercube_routes(shape: HypercubeShape, a: Any, b: Any, choice: Any = 0) -> Ints:
    """(T, H) the links from a[t] to b[t], NO_LINK behind the last: one bit that differs after the other.

    `choice`, modulo d, is the bit looked at first; 0 is the e-cube route, lowest bit first. Other routes of equal
    length (there is one for every order of the bits that differ) are left out.
    """
    a, b = as_endpoints("hypercube", a, shape.chips), as_endpoints("hypercube", b, shape.chips)
    d, half = shape.dimensions, shape.chips // 2
    here = a.copy()
    columns = [np.full_like(a, NO_LINK)]
    for step in range(d):
        bit = np.broadcast_to((np.asarray(choice, np.int64) + step) % d, a.shape)
        flips = (here ^ b) >> bit & 1 == 1
        low = here & ~(1 << bit)
        # The edge's place among those of its bit: the number without the bit.
        place = (low >> (bit + 1) << bit) | (low & ((1 << bit) - 1))
        columns.append(np.where(flips, directed(bit * half + place, here == low, d * half), NO_LINK))
        here = np.where(flips, here ^ (1 << bit), here)
    return left_packed(np.stack(columns, axis=1))
