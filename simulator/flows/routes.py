"""The links that many messages take, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .shares import Floats, Ints


@dataclass(frozen=True, kw_only=True)
class Routes:
    """The links of many messages, message by message; see `Sharing` for the three arrays."""

    start: Ints
    link: Ints
    factor: Floats

    @cached_property
    def whole(self) -> bool:
        """Whether no message is split and no link carries one twice."""
        return bool((self.factor == 1).all())


def coupled(routes: Routes) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """The links and factors of one flow that runs on all these routes at once, at the worst hop's pace: a ring, a tree.

    A link that several of the routes take carries a byte for each of them.
    """
    links, inverse = np.unique(routes.link, return_inverse=True)
    return tuple(links.tolist()), tuple(np.bincount(inverse.reshape(-1), routes.factor, len(links)).tolist())


def of_table(table: Ints) -> Routes:
    """Routes from a table with a row of links a message, -1 after the last."""
    used = table >= 0
    length = used.sum(axis=1)
    link = table[used]
    start = np.concatenate([[0], np.cumsum(length)]).astype(np.int64)
    return Routes(start=start, link=link, factor=np.broadcast_to(np.float64(1.0), link.shape))


def merged_links(routes: Routes) -> Routes:
    """The same with a link that a message passes twice named once, with factor 2."""
    flow = np.repeat(np.arange(len(routes.start) - 1), np.diff(routes.start))
    key = flow * (int(routes.link.max(initial=0)) + 1) + routes.link
    distinct, first, times = np.unique(key, return_index=True, return_counts=True)
    if len(distinct) == len(key):
        return routes
    order = np.argsort(first)
    length = np.bincount(flow[first], minlength=len(routes.start) - 1)
    return Routes(
        start=np.concatenate([[0], np.cumsum(length)]).astype(np.int64),
        link=routes.link[first[order]],
        factor=times[order].astype(np.float64),
    )


def packed(rows: Sequence[tuple[Sequence[int], Sequence[float]]]) -> Routes:
    length = np.array([len(links) for links, _ in rows], np.int64)
    return Routes(
        start=np.concatenate([[0], np.cumsum(length)]).astype(np.int64),
        link=np.array([link for links, _ in rows for link in links], np.int64),
        factor=np.array([share for _, shares in rows for share in shares], np.float64),
    )
