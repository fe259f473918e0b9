"""What the event engine asks: how long this piece takes this time, on the slowest rank of those that meet after it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from simulator.events.misfortune.laws import Floats, maximum, uniforms
from simulator.events.misfortune.patterns import MET_BY_ALL, Misfortune, Pattern
from simulator.events.misfortune.pieces import Jitter, Pieces
from simulator.events.misfortune.streams import Streams
from simulator.events.misfortune.sums import ChainLaw, chain_law
from simulator.events.roles import Grid


class LastKnown:
    """The last of a group is the last of those that are simulated.

    Either they stand for the slowest replica already (`ChainDraws`), or the slowest of many is drawn from whole steps
    (`ReplicaLaw`); to add the others where they meet as well would count them twice.
    """

    def last_of(self, ready_ps: Sequence[int], ranks: int) -> int:
        """The last that is known [ps]."""
        return max(ready_ps)


class Piece(NamedTuple):
    """One piece that an engine asked for."""

    role: int
    kind: str
    place: int
    base_ps: int
    ranks: int


class Recorder(LastKnown):
    """Delays nothing and writes down what was asked: the chain of pieces of a job."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []

    def ps(self, role: int, kind: str, place: int, base_ps: int, ranks: int) -> int:
        """The price."""
        self.pieces.append(Piece(role, kind, place, base_ps, ranks))
        return base_ps


class PieceDelays(LastKnown):
    """Every piece is drawn by itself, on the slowest of its own meeting: one replica, or with `grid` 1 x 1 one rank.

    ``slow`` says what is slow among the ranks of a role. Ranks of other replicas are not in it; but those updates that
    all ranks wait for are drawn on the slowest of all.
    """

    def __init__(
        self, jitter: Jitter, grid: Grid, streams: Streams, slow: Callable[[int], tuple[float, ...]] = lambda _: ()
    ) -> None:
        self._jitter = jitter
        self._grid = grid
        self._streams = streams
        self._slow = slow
        self._drawn: dict[tuple[int, int, int], tuple[np.random.Generator, Floats, int]] = {}

    def ps(self, role: int, kind: str, place: int, base_ps: int, ranks: int) -> int:
        """Duration [ps] of one piece."""
        slow = self._slow(role)
        if base_ps == 0 or (self._jitter.none and not slow):
            return base_ps
        meeting, replicas = self._grid.inner, self._grid.replicas
        key = (role, base_ps, max(len(slow), meeting * replicas if kind in MET_BY_ALL else min(ranks, meeting)))
        stream, values, used = self._drawn.get(key) or (self._streams.of("pieces", *key), np.empty(0), 0)
        if used == values.size:
            block = np.full(min(4096, max(16, 2 * values.size)), float(base_ps))
            values, used = self._jitter.slowest_ps(block, key[2], slow, stream), 0
        self._drawn[key] = (stream, values, used + 1)
        return round(float(values[used]))


@dataclass(frozen=True, kw_only=True)
class Chain:
    """The pieces of a role that replicas run without waiting for each other, and those that all ranks meet after."""

    passes: tuple[Piece, ...]
    others: tuple[Piece, ...]

    @classmethod
    def of(cls, pieces: Sequence[Piece]) -> Chain:
        """From what an engine asked for of one role."""
        return cls(
            passes=tuple(p for p in pieces if p.kind not in MET_BY_ALL and p.base_ps > 0),
            others=tuple(p for p in pieces if p.kind in MET_BY_ALL and p.base_ps > 0),
        )


class ChainDraws:
    """Steps of replicas without a pipeline: each step is that of the slowest replica, drawn by order statistics.

    The chain of every kind of replica (nothing slow, one slow rank, ...) has a law (`chain_law`), made once. A step
    draws how many replicas are of which kind and the slowest sum of each kind by u^(1/n); the slowest of all gives the
    step its pieces, which are drawn one by one and scaled to that sum (exact for gamma laws of equal pieces, whose
    shares do not depend on their sum). The cost depends on kinds and pieces, not on ranks.
    """

    def __init__(self, chain: Chain, grid: Grid, misfortune: Misfortune, streams: Streams) -> None:
        self._chain = chain
        self._grid = grid
        self._misfortune = misfortune
        self._streams = streams
        self._patterns = misfortune.patterns(grid)
        self._laws: dict[tuple[float, ...], ChainLaw] = {}
        self._bases = np.array([piece.base_ps for piece in chain.passes], dtype=float)
        self._alike = Counter((piece.base_ps, self._met(piece)) for piece in chain.passes)

    def _met(self, piece: Piece) -> int:
        return min(piece.ranks, self._grid.inner)

    def law(self, slow: tuple[float, ...]) -> ChainLaw:
        """The law of one replica in whose group those are slow."""
        if slow not in self._laws:
            groups = [
                Pieces(base_ps=float(base), count=count, ranks=max(ranks, len(slow)), slow=slow)
                for (base, ranks), count in self._alike.items()
            ]
            self._laws[slow] = chain_law(groups, self._misfortune.jitter)
        return self._laws[slow]

    def delays(self, repetition: int) -> TableDelays:
        """What one repetition's run is given."""
        streams = self._streams.within("repetition", repetition)
        kinds = self._kinds(streams)
        if self._misfortune.jitter.none and not any(kinds):
            return TableDelays({})
        who = streams.of("slowest replica")
        sums: dict[tuple[float, ...], float] = {
            slow: float(maximum(self.law(slow), count, uniforms(who, 1))[0]) for slow, count in sorted(kinds.items())
        } if self._chain.passes else {(): 0.0}  # fmt: skip
        slowest = max(sums, key=lambda slow: (sums[slow], slow))
        drawn = self._pieces(slowest, streams)
        if not self._misfortune.jitter.certain:
            drawn *= sums[slowest] / drawn.sum() if drawn.size else 1.0
        table = {p.place: round(float(v)) for p, v in zip(self._chain.passes, drawn, strict=True)}
        everywhere = tuple(f for slow, count in sorted(kinds.items()) for f in slow * count)
        last = streams.of("update")
        for piece in self._chain.others:
            base_ps = np.array([float(piece.base_ps)])
            value = self._misfortune.jitter.slowest_ps(base_ps, self._grid.ranks, everywhere, last)
            table[piece.place] = round(float(value[0]))
        return TableDelays(table)

    def _kinds(self, streams: Streams) -> Counter[tuple[float, ...]]:
        stream, kinds = streams.of("stragglers"), Counter[tuple[float, ...]]()
        for pattern, count in self._patterns.items():
            struck = self._misfortune.struck(self._grid, pattern, count, stream)
            if count > struck:
                kinds[pattern[0]] += count - struck
            for _ in range(struck):
                kinds[self._misfortune.with_stragglers(self._grid, pattern, stream)[0]] += 1
        return kinds

    def _pieces(self, slow: tuple[float, ...], streams: Streams) -> Floats:
        drawn, stream = np.empty(self._bases.size), streams.of("pieces")
        met = np.array([self._met(piece) for piece in self._chain.passes])
        for ranks in sorted(set(met.tolist())):
            here = met == ranks
            drawn[here] = self._misfortune.jitter.slowest_ps(self._bases[here], max(ranks, len(slow)), slow, stream)
        return drawn


class TableDelays(LastKnown):
    """Durations known beforehand, by the place of the piece; what is not in the table takes its price."""

    def __init__(self, table: dict[int, int]) -> None:
        self._table = table

    def ps(self, role: int, kind: str, place: int, base_ps: int, ranks: int) -> int:
        """Duration [ps] of one piece."""
        return self._table.get(place, base_ps)


def stage_slow(pattern: Pattern) -> Callable[[int], tuple[float, ...]]:
    """What is slow among a role's ranks, where role i is stage i."""
    return lambda role: pattern[role]
