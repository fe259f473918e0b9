"""Classes of equal flows: what cannot be told apart shares alike, so it is solved once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from .colours import Colours, mixed, ranked
from .routes import Routes
from .shares import Floats, Ints, Sharing, certificate, max_min

#: Salts of what a flow brings along, far from those of the refinement's passes: with an equal salt a flow's own colour
#: and its links' could undo each other.
_OWN_SALT: Final = 1 << 40
_PARTS_SALT: Final = 1 << 41


@dataclass(frozen=True, kw_only=True)
class Folded:
    """Flows by class: `of_flow` is the class of each flow (F,), `first` a flow of each class (C,), `sharing` theirs.

    `links` is the number of classes of links, which are those of `sharing`.
    """

    of_flow: Ints
    first: Ints
    sharing: Sharing

    @property
    def links(self) -> int:
        return len(self.sharing.capacity_byte_per_s)


def fold(capacity_byte_per_s: Floats, routes: Routes, colour: Colours, bound_byte_per_s: Floats) -> Folded:
    """The coarsest classes of flows and links for which each link of a class carries equally many of each class.

    Parameters
    ----------
    capacity_byte_per_s
        Of each link, shape (L,) [B/s].
    colour
        Flows of different colour differ from the start, shape (F,): by their bytes, latency or bound.
    bound_byte_per_s
        Of each flow, shape (F,) [B/s]; equal for flows of a colour.

    Notes
    -----
    Colour refinement on the flows and the links they use: a flow's new colour is its own with the multiset of its
    links' (with factors), a link's is its own with the multiset of its flows', until no class splits. In such an
    equitable partition max-min fair shares are equal within a class, so one flow of each class and one link of each
    class, loaded by all flows of a class on it, give them all [1]_. Multisets are compared by sums of 64-bit hashes,
    salted anew in each pass; classes that only a hash merges are parted by the next pass.

    References
    ----------
    .. [1] M. Grohe et al., Dimension Reduction via Colour Refinement, ESA 2014: equitable partitions fold linear
       programmes, of which max-min fairness is a sequence.
    """
    start = routes.start
    used, link = np.unique(routes.link, return_inverse=True) if len(routes.link) < 4096 else _numbered(routes.link)
    length = np.diff(start)
    parts = None if routes.whole else mixed(routes.factor.view(np.int64), _PARTS_SALT)
    own = mixed(colour, _OWN_SALT)
    kind = np.unique(capacity_byte_per_s[used], return_inverse=True)[1].reshape(-1)
    classes, salt = 0, 0
    while True:
        salt += 1
        seen = mixed(kind, salt)[link]
        if parts is not None:
            seen = mixed(seen ^ parts, salt)
        hashed = mixed(np.add.reduceat(seen, start[:-1]) ^ own, salt)
        now = int(kind.max()) + 1
        if now == classes:
            break
        classes = now
        here = hashed if parts is None else mixed(np.repeat(hashed, length) ^ parts, salt)
        halves = (here & np.uint64(0xFFFFFFFF)).astype(np.float64), (here >> np.uint64(32)).astype(np.float64)
        keys = np.empty((3, len(used)))
        keys[0] = kind
        for row, half in enumerate(halves, start=1):
            keys[row] = np.bincount(link, np.repeat(half, length) if parts is None else half, len(used))
        kind = ranked(keys)
    first, of_flow = _distinct(hashed)
    return Folded(
        of_flow=of_flow,
        first=first,
        sharing=_of_classes(
            capacity_byte_per_s[used], link, kind, np.repeat(of_flow, length), routes.factor, bound_byte_per_s[first]
        ),
    )


def certify(folded: Folded, capacity_byte_per_s: Floats, routes: Routes, bound_byte_per_s: Floats) -> None:
    """Raise `CertificateError` unless the shares of the classes are those of all flows, each on its own links.

    Checked for all flows open at once, and by nothing that the folding rests on but its result.
    """
    flows = len(folded.of_flow)
    whole = Sharing(
        capacity_byte_per_s=capacity_byte_per_s,
        start=routes.start,
        link=routes.link,
        factor=routes.factor,
        weight=np.broadcast_to(np.float64(1), flows),
        bound_byte_per_s=bound_byte_per_s,
        count=np.broadcast_to(np.float64(1), flows),
    )
    certificate(whole, max_min(folded.sharing)[folded.of_flow])


def _of_classes(
    capacity_byte_per_s: Floats, link: Ints, kind: Ints, of_entry: Ints, factor: Floats, bound_byte_per_s: Floats
) -> Sharing:
    """One link of each class, loaded by all flows on it."""
    kinds, classes = int(kind.max()) + 1, len(bound_byte_per_s)
    member = np.unique(kind, return_index=True)[1]
    chosen = np.zeros(len(kind), np.bool_)
    chosen[member] = True
    entry = np.flatnonzero(chosen[link])
    key, inverse = np.unique(of_entry[entry] * kinds + kind[link[entry]], return_inverse=True)
    length = np.bincount(key // kinds, minlength=classes)
    return Sharing(
        capacity_byte_per_s=capacity_byte_per_s[member],
        start=np.concatenate([[0], np.cumsum(length)]).astype(np.int64),
        link=key % kinds,
        factor=np.bincount(inverse.reshape(-1), factor[entry], len(key)).astype(np.float64),
        weight=np.ones(classes),
        bound_byte_per_s=bound_byte_per_s,
        count=np.ones(classes),
    )


def _numbered(link: Ints) -> tuple[Ints, Ints]:
    """`np.unique` with inverse of whole numbers that are not much larger than they are many."""
    present = np.bincount(link) > 0
    if present.all():
        return np.arange(len(present)), link
    return np.flatnonzero(present), (np.cumsum(present) - 1)[link]


def _distinct(values: Colours, few: int = 24) -> tuple[Ints, Ints]:
    """The first place of each distinct value, and which each value is; quicker than sorting where there are few."""
    which = np.full(len(values), -1)
    first: list[int] = []
    while len(first) < few:
        place = int(np.argmax(which < 0))
        if which[place] >= 0:
            return np.array(first, np.int64), which
        which[values == values[place]] = len(first)
        first.append(place)
    _, index, inverse = np.unique(values, return_index=True, return_inverse=True)
    return index, inverse.reshape(-1)
