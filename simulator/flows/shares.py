"""Weighted max-min fair shares: who gets how much of the links that flows cross, and the proof that it is right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Loads and levels nearer than this (relative) count as equal in the certificate.
TOLERANCE: Final = 1e-9
#: The same inside the solver; far below the certificate's, far above rounding.
_TIE: Final = 1e-12


class FlowError(InputError):
    """Wires, routes or flows that cannot be; one clear line."""


class CertificateError(RuntimeError):
    """Shares that are not max-min fair: our mistake, never the input's."""


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """Flows on links, as one sparse matrix, entry by entry in the order of the flows.

    Parameters
    ----------
    capacity_byte_per_s
        Of each link, shape (L,) [B/s], above 0.
    start
        Entries start[f] .. start[f+1] - 1 belong to flow f; shape (F + 1,).
    link
        The link of each entry, shape (N,). A link appears once in a flow.
    factor
        Bytes that one byte of the flow puts on that link, shape (N,), above 0. 1 for a message on its route; the share
        of a route where a message is split; a coupled flow (a running ring) has its own for every link it holds.
    weight
        A flow of weight w gets w times the level, shape (F,), above 0.
    bound_byte_per_s
        What a flow can take at most, shape (F,) [B/s], above 0; inf where the links alone decide.
    count
        How many equal flows a flow stands for, shape (F,): n of them load a link n times.
    """

    capacity_byte_per_s: Floats
    start: Ints
    link: Ints
    factor: Floats
    weight: Floats
    bound_byte_per_s: Floats
    count: Floats

    @classmethod
    def of(
        cls,
        capacity_byte_per_s: ArrayLike,
        routes: list[Any],
        *,
        factor: list[Any] | None = None,
        weight: ArrayLike = 1.0,
        bound_byte_per_s: ArrayLike = np.inf,
        count: ArrayLike = 1.0,
    ) -> Sharing:
        """From one list of links a flow, and one list of factors a flow where they are not all 1."""
        lengths = np.array([len(route) for route in routes], np.int64)
        flows = len(routes)

        def spread(values: ArrayLike) -> Floats:
            return np.broadcast_to(np.asarray(values, np.float64), (flows,)).copy()

        def joined(lists: list[Any], kind: type) -> NDArray[Any]:
            return np.array([value for row in lists for value in row], kind)

        link = joined(routes, np.int64)
        sharing = cls(
            capacity_byte_per_s=np.asarray(capacity_byte_per_s, np.float64),
            start=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            link=link,
            factor=np.ones(len(link)) if factor is None else joined(factor, np.float64),
            weight=spread(weight),
            bound_byte_per_s=spread(bound_byte_per_s),
            count=spread(count),
        )
        sharing.check()
        return sharing

    @property
    def flow(self) -> Ints:
        """The flow of each entry, shape (N,)."""
        return np.repeat(np.arange(len(self.weight)), np.diff(self.start))

    def check(self) -> None:
        """Raise `FlowError` for what no network can have."""
        for name in ("capacity_byte_per_s", "factor", "weight", "bound_byte_per_s", "count"):
            values = getattr(self, name)
            wrong = np.flatnonzero(~(values > 0) | (np.isinf(values) & (name != "bound_byte_per_s")))
            if len(wrong):
                raise FlowError(f"flows: {name}[{wrong[0]}] is {values[wrong[0]]:g}; above 0, finite.")
        if len(self.factor) != len(self.link):
            raise FlowError(f"flows: {len(self.factor)} factors for {len(self.link)} links; one each.")
        unknown = np.flatnonzero((self.link < 0) | (self.link >= len(self.capacity_byte_per_s)))
        if len(unknown):
            flow, link = self.flow[unknown[0]], self.link[unknown[0]]
            raise FlowError(f"flows: flow {flow} uses link {link}; 0 to {len(self.capacity_byte_per_s) - 1}.")
        nowhere = np.flatnonzero((np.diff(self.start) == 0) & np.isinf(self.bound_byte_per_s))
        if len(nowhere):
            raise FlowError(f"flows: flow {nowhere[0]} uses no link and has no bound; nothing limits it.")
        if len(np.unique(self.flow * len(self.capacity_byte_per_s) + self.link)) != len(self.link):
            raise FlowError("flows: a flow names a link twice; name it once, with the sum of its factors.")

    def load_byte_per_s(self, rate_byte_per_s: Floats) -> Floats:
        """What the flows put on each link, shape (L,) [B/s], at the given rate of each flow."""
        each = np.repeat(self.count * rate_byte_per_s, np.diff(self.start)) * self.factor
        return np.bincount(self.link, each, len(self.capacity_byte_per_s)).astype(np.float64)


def max_min(sharing: Sharing) -> Floats:
    """The weighted max-min fair rate of each flow, shape (F,) [B/s].

    The level of a flow is its rate over its weight. No flow's level can be raised without lowering that of a flow
    whose level is not higher: all levels rise together; a link that is full freezes the flows on it.

    .. math:: \\sum_f n_f\\, k_{fl}\\, w_f\\, x_f \\le c_l, \\qquad w_f x_f \\le b_f

    with count n, factor k, weight w, level x, capacity c and bound b. Rather than one link at a time, every round
    freezes all links whose level is the lowest for each flow on them: no later round can change those. The number of
    rounds is the length of the longest chain of bottlenecks, not the number of links.

    References
    ----------
    .. [1] D. Bertsekas and R. Gallager, Data Networks, 2nd ed., 1992, section 6.5.2.
    """
    links = len(sharing.capacity_byte_per_s)
    left = sharing.capacity_byte_per_s.copy()
    level = sharing.bound_byte_per_s / sharing.weight
    where = np.flatnonzero(np.diff(sharing.start))  # the flows still open; without links the bound is the level
    length, link = np.diff(sharing.start)[where], sharing.link
    pull = sharing.factor * np.repeat(sharing.count * sharing.weight, np.diff(sharing.start))
    while len(where):
        begin = np.cumsum(length) - length
        demand = np.bincount(link, pull, links)
        fair = np.divide(left, demand, out=np.full(links, np.inf), where=demand > 0)
        lowest = np.minimum.reduceat(fair[link], begin)
        bounded = level[where] <= lowest
        lowest = np.where(bounded, level[where], lowest)
        at_lowest = np.repeat(lowest, length) * (1 + _TIE) >= fair[link]
        frozen_link = np.bincount(link[at_lowest], minlength=links) == np.bincount(link, minlength=links)
        done = bounded | np.logical_or.reduceat(frozen_link[link], begin)
        level[where[done]] = lowest[done]
        gone = np.repeat(done, length)
        left -= np.bincount(link[gone], (pull * np.repeat(lowest, length))[gone], links)
        where, length, link, pull = where[~done], length[~done], link[~gone], pull[~gone]
    return level * sharing.weight


def certificate(sharing: Sharing, rate_byte_per_s: Floats, *, tolerance: float = TOLERANCE) -> None:
    """Raise `CertificateError` unless the rates are the max-min fair ones; it costs a few per cent of a solve.

    Two things are necessary and sufficient: no link carries more than its capacity, and every flow is at its bound or
    has a full link on which no flow has a higher level.
    """
    capacity = sharing.capacity_byte_per_s
    load = sharing.load_byte_per_s(rate_byte_per_s)
    over = load / capacity - 1
    if len(over) and not over.max() <= tolerance:
        raise CertificateError(f"shares: link {over.argmax()} carries {1 + over.max():.12g} times its capacity.")
    if not np.all(rate_byte_per_s <= sharing.bound_byte_per_s * (1 + tolerance)):
        raise CertificateError("shares: a flow is faster than its bound.")
    level = rate_byte_per_s / sharing.weight
    of_entry = np.repeat(level, np.diff(sharing.start))
    highest = np.zeros(len(capacity))
    np.maximum.at(highest, sharing.link, of_entry)
    full = load >= capacity * (1 - tolerance)
    holds = full[sharing.link] & (of_entry >= highest[sharing.link] * (1 - tolerance))
    held = np.bincount(sharing.flow[holds], minlength=len(level)) > 0
    held |= rate_byte_per_s >= sharing.bound_byte_per_s * (1 - tolerance)
    if not held.all():
        raise CertificateError(f"shares: flow {np.flatnonzero(~held)[0]} could be faster at no slower flow's cost.")
