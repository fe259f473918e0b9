"""The search behind `rings`: a largest set of rings, over numbered chips, that fit on links of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from topologies.topology import TopologyError

#: Steps of search before it gives up rather than hang: a second or two. Eight chips wired all to all take 14,000.
MOST_STEPS: Final = 500_000

Arc = tuple[int, int]


class Path(NamedTuple):
    """A ring over chips 0 .. n-1 in their order from chip 0, and for each step the chip that relays it (-1: none)."""

    order: tuple[int, ...]
    through: tuple[int, ...]

    def arcs(self) -> Counter[Arc]:
        """How often the ring uses each direction of a pair of chips; a relayed step uses two."""
        used: Counter[Arc] = Counter()
        for (a, b), relay in zip(pairwise((*self.order, self.order[0])), self.through, strict=True):
            used.update([(a, b)] if relay < 0 else [(a, relay), (relay, b)])
        return used

    @property
    def relays(self) -> int:
        """Steps that are relayed."""
        return sum(relay >= 0 for relay in self.through)


class Budget:
    """Counts steps of a search and gives up, with a message, when there are too many."""

    def __init__(self, topology: str, chips: int) -> None:
        self.where = f"Topology {topology!r}: rings over {chips} chips"
        self.left = MOST_STEPS

    def spend(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise TopologyError(f"{self.where}: no answer after {MOST_STEPS} steps of search. Ask for fewer members.")


def all_rings(
    chips: int, free: Mapping[Arc, int], budget: Budget, *, through: Sequence[int] = (), relays: int = 0
) -> list[Path]:
    """Every directed ring over chips 0 .. n-1 that fits in the `free` links and has at most `relays` relayed steps.

    In lexical order; a step that can go directly never goes through a relay.
    """

    after = _steps(chips, free, through if relays else ())
    home = [[relay for b, relay in steps if b == 0] for steps in after]
    rings: list[Path] = []
    paths: list[tuple[tuple[int, ...], tuple[int, ...], int]] = [((0,), (), relays)]
    while paths:
        budget.spend()
        order, used, left = paths.pop()
        if len(order) < chips:
            paths.extend(
                ((*order, b), (*used, relay), left - (relay >= 0))
                for b, relay in reversed(after[order[-1]])
                if b not in order and (relay < 0 or left)
            )
            continue
        for relay in home[order[-1]]:
            ring = Path(order, (*used, relay))
            # A relayed step may ask twice for a link that is there once.
            if ring.relays <= relays and all(free[arc] >= n for arc, n in ring.arcs().items()):
                rings.append(ring)
    return rings


def _steps(chips: int, free: Mapping[Arc, int], through: Sequence[int]) -> list[list[tuple[int, int]]]:
    """For each chip, (next chip, relay or -1) in lexical order; relays only where there is no direct link."""
    steps: list[list[tuple[int, int]]] = [[] for _ in range(chips)]
    for a, b in free:
        if a < chips and b < chips:
            steps[a].append((b, -1))
    for a in range(chips) if through else ():
        for b in range(chips):
            if a != b and (a, b) not in free:
                steps[a].extend((b, r) for r in through if (a, r) in free and (r, b) in free)
    return [sorted(one) for one in steps]


def largest_set(chips: int, free: Mapping[Arc, int], rings: Sequence[Path], budget: Budget) -> list[Path]:
    """A largest multiset of `rings` that fits in the `free` links, the same one every time.

    Backtracking in the order of `rings` (one may repeat), from the most the links of the chips could hold downwards.
    """
    arcs = [tuple(ring.arcs().items()) for ring in rings]
    left = dict(free)

    def most(candidates: Sequence[int]) -> int:
        # Every ring leaves and enters every chip at least once, on links that are on a candidate.
        usable = {arc for i in candidates for arc, _ in arcs[i]}
        out, into = [0] * chips, [0] * chips
        for a, b in usable:
            if a < chips:
                out[a] += left[a, b]
            if b < chips:
                into[b] += left[a, b]
        return min(min(out), min(into))

    def find(wanted: int, candidates: list[int]) -> list[int] | None:
        if wanted == 0:
            return []
        if most(candidates) < wanted:
            return None
        for k, i in enumerate(candidates):
            budget.spend()
            for arc, n in arcs[i]:
                left[arc] -= n
            rest = [j for j in candidates[k:] if all(left[arc] >= n for arc, n in arcs[j])]
            found = find(wanted - 1, rest)
            for arc, n in arcs[i]:
                left[arc] += n
            if found is not None:
                return [i, *found]
        return None

    everything = list(range(len(rings)))
    for wanted in range(most(everything), 0, -1):
        if (found := find(wanted, everything)) is not None:
            return [rings[i] for i in found]
    return []
