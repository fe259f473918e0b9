"""Max-min fair shares kept up to date while flows come and go: only what a change can influence is solved again."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from itertools import pairwise
from operator import mul
from typing import Final

import numpy as np

from .shares import TOLERANCE, CertificateError, Sharing, certificate, max_min

#: A change of level smaller than this (relative) is rounding and goes no further.
_STILL: Final = 1e-13
#: Fewer open flows than this are settled link by link from scratch; more by `max_min`.
_FEW: Final = 48
#: The whole state is certified after so many settlements; each settlement certifies what it touched.
_AUDIT_EVERY: Final = 512

_INF: Final = float("inf")


class Refill:
    """The fair shares of the open flows of one `Sharing`, held in a state that is cheap to correct.

    Every link l offers a level m_l to the flows on it, which fills the link if each flow takes the least that its
    *other* links offer, but no more than m_l:

    .. math:: \\sum_f a_{fl} \\min(x_f^{-l}, m_l) = c_l, \\qquad x_f^{-l} = \\min_{k \\ne l} m_k

    (infinite where the others offer less than the link could carry). The level of a flow is the least offer on its way.
    Offers that agree with each other on every link are max-min fair, and there is only one such set of levels. When a
    flow goes or comes, its links make new offers; a changed offer wakes only those links whose own offer it can
    change; lowest first, because a low level never depends on a higher one.

    References
    ----------
    .. [1] A. Charny, D. Clark and R. Jain, Congestion control with explicit rate indication, ICC 1995: the same
       offers, as a protocol between switches; with a proof that they settle.
    """

    def __init__(self, sharing: Sharing) -> None:
        self.sharing = sharing
        self.settlements = self.solves = self.offers = 0
        self._capacity: list[float] = sharing.capacity_byte_per_s.tolist()
        pull = sharing.factor * np.repeat(sharing.count * sharing.weight, np.diff(sharing.start))
        ends = sharing.start.tolist()
        link, pulls = sharing.link.tolist(), pull.tolist()
        rows = list(pairwise(ends))
        self._links: list[list[int]] = [link[a:b] for a, b in rows]
        self._pulls: list[list[float]] = [pulls[a:b] for a, b in rows]
        self._bound: list[float] = (sharing.bound_byte_per_s / sharing.weight).tolist()
        self._weight: list[float] = sharing.weight.tolist()
        flows = len(rows)
        self._on: list[dict[int, float]] = [{} for _ in self._capacity]  # open flows of a link, with their pull
        self._offer: list[float] = [_INF] * len(self._capacity)
        self._room = self._capacity.copy()  # what a link whose offer is infinite has to spare
        self._level = [0.0] * flows  # the least offer on a flow's way, where it is made, and the least of the others
        self._by = [-1] * flows
        self._next = [_INF] * flows
        self._open: dict[int, None] = {}

    def rate_byte_per_s(self, flow: int) -> float:
        """The share of one open flow [B/s]."""
        return self._level[flow] * self._weight[flow]

    def change(self, *, close: Iterable[int] = (), open: Iterable[int] = ()) -> dict[int, None]:
        """Let flows go, let others come; the open flows whose share may have changed, each once, in a fixed order."""
        self.settlements += 1
        wake: dict[int, None] = {}
        changed: dict[int, None] = {}
        closing, opening = list(close), list(open)
        for flow in closing:
            del self._open[flow]
            for link in self._links[flow]:
                pull = self._on[link].pop(flow)
                if self._offer[link] == _INF:  # had room to spare, has even more now
                    self._room[link] += pull * self._level[flow]
                elif self._on[link]:
                    wake[link] = None
        for flow in opening:
            self._open[flow] = None
            changed[flow] = None
            for link, pull in zip(self._links[flow], self._pulls[flow], strict=True):
                self._on[link][flow] = pull
                wake[link] = None
            self._look(flow)
        if len(opening) > _FEW and 4 * len(opening) > len(self._open):
            return self._solve()
        try:
            touched = self._settle(wake, changed)
        except _RestlessError:
            return self._solve()
        self._certify(touched)
        if self.settlements % _AUDIT_EVERY == 0:
            self.audit()
        return {flow: None for flow in changed if flow in self._open}

    def audit(self) -> None:
        """Certify the shares of all open flows, from nothing but the flows and the links."""
        flows = list(self._open)
        rates = np.array([self.rate_byte_per_s(flow) for flow in flows])
        certificate(self._subset(flows), rates)

    def _subset(self, flows: list[int]) -> Sharing:
        whole = self.sharing
        index = np.array(flows, np.int64)
        length = np.diff(whole.start)[index]
        start = np.concatenate([[0], np.cumsum(length)]).astype(np.int64)
        entry = np.repeat(whole.start[index] - start[:-1], length) + np.arange(start[-1])
        return Sharing(
            capacity_byte_per_s=whole.capacity_byte_per_s,
            start=start,
            link=whole.link[entry],
            factor=whole.factor[entry],
            weight=whole.weight[index],
            bound_byte_per_s=whole.bound_byte_per_s[index],
            count=whole.count[index],
        )

    def _solve(self) -> dict[int, None]:
        """All open flows at once; then the offers that say the same."""
        self.solves += 1
        flows = list(self._open)
        subset = self._subset(flows)
        rates = max_min(subset)
        certificate(subset, rates)
        level = rates / subset.weight
        load = subset.load_byte_per_s(rates)
        highest = np.zeros(len(load))
        np.maximum.at(highest, subset.link, np.repeat(level, np.diff(subset.start)))
        full = load >= subset.capacity_byte_per_s * (1 - 1e-11)
        self._offer = np.where(full, highest, _INF).tolist()
        for link, on in enumerate(self._on):
            if len(on) == 1:
                self._offer[link] = self._capacity[link] / next(iter(on.values()))
        self._room = (subset.capacity_byte_per_s - load).tolist()
        for flow in flows:
            self._look(flow)
        return dict.fromkeys(flows)

    def _look(self, flow: int) -> None:
        """Take in what the links on a flow's way offer: the least, who makes it, and the least of all others."""
        least, by, second, offer = self._bound[flow], -1, _INF, self._offer
        for link in self._links[flow]:
            here = offer[link]
            if here < least:
                least, by, second = here, link, least
            elif here < second:
                second = here
        self._level[flow], self._by[flow], self._next[flow] = least, by, second

    def _fresh_offer(self, link: int) -> float:
        on = self._on[link]
        left = self._capacity[link]
        if len(on) == 1:  # the others cannot change what one flow alone may take
            return left / next(iter(on.values()))
        by, level, after = self._by, self._level, self._next
        take = [after[flow] if by[flow] == link else level[flow] for flow in on]
        pull = list(on.values())
        while take:
            offer = left / sum(pull)
            if min(take) >= offer:
                return offer
            left -= sum([x * a for x, a in zip(take, pull, strict=True) if x < offer])
            pull = [a for x, a in zip(take, pull, strict=True) if x >= offer]
            take = [x for x in take if x >= offer]
        self._room[link] = left
        return _INF

    def _settle(self, wake: dict[int, None], changed: dict[int, None]) -> dict[int, None]:
        """Renew offers until all agree; fills `changed`, returns the links whose offer or load changed."""
        offer, links_of, on = self._offer, self._links, self._on
        levels, bys, nexts, look = self._level, self._by, self._next, self._look
        room, pulls_of = self._room, self._pulls
        queue = [(offer[link], link) for link in wake]
        heapq.heapify(queue)
        queued = set(wake)
        touched = dict(wake)
        patience = 64 * (len(self._offer) + len(self._open)) + 10_000
        while queue:
            link = heapq.heappop(queue)[1]
            queued.discard(link)
            patience -= 1
            if patience < 0:
                raise _RestlessError
            self.offers += 1
            old, new = offer[link], self._fresh_offer(link)
            if old == new or (new < _INF and abs(new - old) <= _STILL * new):
                continue
            offer[link] = new
            touched[link] = None
            for flow in on[link]:
                level, by, second = levels[flow], bys[flow], nexts[flow]
                if by != link and old > second and new > second:
                    continue  # neither the least nor the next was or is made here
                look(flow)
                least, now_by = levels[flow], bys[flow]
                if least != level:
                    changed[flow] = None
                elif now_by == by and nexts[flow] == second:
                    continue
                for place, other in enumerate(links_of[flow]):
                    if other == link:
                        continue
                    if least != level:
                        touched[other] = None
                    before = second if by == other else level
                    after = nexts[flow] if now_by == other else least
                    here = offer[other]
                    # Below an offer a flow shapes it, at or above it only counts; room to spare stays if a flow slows.
                    if before == after or other in queued:
                        continue
                    if here == _INF:
                        room[other] -= pulls_of[flow][place] * (after - before)
                        shapes = room[other] <= 0
                    else:
                        shapes = before < here or after < here
                    if shapes:
                        queued.add(other)
                        heapq.heappush(queue, (here, other))
        return touched

    def _certify(self, touched: Iterable[int]) -> None:
        """`certificate` where something changed; a flow on links that are as they were keeps the one it has."""
        levels, bys = self._level, self._by
        for link in touched:
            on = self._on[link]
            if not on:
                continue
            capacity, offer = self._capacity[link], self._offer[link]
            if offer == _INF:
                if not self._room[link] >= -TOLERANCE * capacity:
                    raise CertificateError(f"shares: link {link} carries more than its capacity.")
                continue
            here = [levels[flow] for flow in on]
            load = sum(map(mul, here, on.values()))
            if not load <= capacity * (1 + TOLERANCE):
                raise CertificateError(f"shares: link {link} carries {load / capacity:.12g} times its capacity.")
            held = [flow for flow in on if bys[flow] == link]
            if held:
                least = min([levels[flow] for flow in held])
                if load < capacity * (1 - TOLERANCE) or least < max(here) * (1 - TOLERANCE):
                    raise CertificateError(f"shares: flow {held[0]} could be faster at no slower flow's cost.")


class _RestlessError(Exception):
    """The offers did not agree in a generous number of steps."""
