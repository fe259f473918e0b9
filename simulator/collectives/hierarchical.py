"""Collectives over servers: one ring through all members, its hops inside servers and between them.

A running ring is one coupled flow, so its rate is that of its slowest hop. Inside a server that hop is a chip's links;
between servers all groups with a member in the server share its network cards. Latency grows with the hops of a
ring, or with the depth of a tree where that is less, as libraries choose.
"""

from __future__ import annotations

import numpy as np

from ..kernels.optable import Floats
from .fabric import Fabric, Group


def _transfer_s(message_byte: Floats, group: Group, fabric: Fabric) -> Floats:
    """Seconds to move (n-1)/n of the message once round the ring: one reduce-scatter or one all-gather."""
    n = np.maximum(group.ranks, 1.0)
    volume = (n - 1.0) / n * message_byte
    inside, servers = group.per_server(fabric), group.servers(fabric)
    up = np.where(inside > 1, volume / fabric.up_byte_per_s, 0.0)
    # A group with fewer members in a server than cards cannot drive all cards; its neighbours drive theirs meanwhile.
    cards = np.minimum(fabric.network_cards, np.maximum(1.0, group.sharing(fabric) * inside))
    rate = fabric.out_byte_per_s * cards / fabric.network_cards / group.sharing(fabric)
    out = np.where(servers > 1, volume / rate, 0.0)
    return np.asarray(np.maximum(up, out))


def _latency_s(group: Group, fabric: Fabric) -> Floats:
    """Latency of one phase (reduce-scatter or all-gather): the shorter of a ring's hops and a tree's depth."""
    inside, servers = group.per_server(fabric), group.servers(fabric)
    ring = servers * (inside - 1.0) * fabric.up_latency_s + (servers - 1.0) * fabric.out_latency_s
    tree = (inside - 1.0) * fabric.up_latency_s + np.ceil(np.log2(np.maximum(servers, 1.0))) * fabric.out_latency_s
    return np.asarray(np.minimum(ring, tree))


def all_reduce_s(*, message_byte: Floats, group: Group, fabric: Fabric) -> Floats:
    """Time of an all-reduce of a tensor of ``message_byte`` on each of the group's ranks.

    .. math:: t = t_{call} + 2 t_{latency} + 2 \\frac{n-1}{n} M \\max(1/\\beta_{up}, g/\\beta_{out})

    with g groups sharing a server's cards. Zero for one rank and for an empty message. Shapes broadcast; returns [s].
    Leaves out: protocol switches by size, congestion between servers. Reference: Patarasuk and Yuan 2009 for the
    volume; Sanders et al. 2009 (two-tree) for the depth.
    """
    some = (group.ranks > 1) & (message_byte > 0)
    time = fabric.call_s + 2.0 * (_latency_s(group, fabric) + _transfer_s(message_byte, group, fabric))
    return np.asarray(np.where(some, time, 0.0))


def all_gather_s(*, message_byte: Floats, group: Group, fabric: Fabric) -> Floats:
    """Time of an all-gather (or, the same wires the other way, a reduce-scatter) of a full tensor of ``message_byte``.

    .. math:: t = t_{call} + t_{latency} + \\frac{n-1}{n} M \\max(1/\\beta_{up}, g/\\beta_{out})

    Zero for one rank and for an empty message. Shapes broadcast; returns [s].
    """
    some = (group.ranks > 1) & (message_byte > 0)
    time = fabric.call_s + _latency_s(group, fabric) + _transfer_s(message_byte, group, fabric)
    return np.asarray(np.where(some, time, 0.0))
