"""The wires a collective runs on, as arrays, and the groups that run on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..kernels.optable import Floats


@dataclass(frozen=True, kw_only=True)
class Fabric:
    """Sustained rates of a cluster's two tiers; every field broadcasts against the groups' arrays.

    ``up_byte_per_s`` is what one chip moves to its neighbours inside a server, one direction, when all its links are in
    use [B/s]; ``out_byte_per_s`` what all network cards of one server move together, one direction [B/s].
    ``up_latency_s`` and ``out_latency_s`` are per hop, ``call_s`` is what one call costs inside a framework before its
    first byte moves [s].
    ``chips_per_server`` is how many chips share the cards.
    """

    up_byte_per_s: Floats
    out_byte_per_s: Floats
    up_latency_s: Floats
    out_latency_s: Floats
    call_s: Floats
    chips_per_server: Floats
    network_cards: Floats


@dataclass(frozen=True, kw_only=True)
class Group:
    """Ranks that communicate: how many, and how far apart two neighbours of the group sit (in ranks).

    Ranks fill servers in order. All groups of the same kind run at once, so that the network cards of a server are
    shared by every group with a member there.
    """

    ranks: Floats
    stride: Floats

    def per_server(self, fabric: Fabric) -> Floats:
        """Members of one group inside one server, at least 1."""
        inside = np.floor(fabric.chips_per_server / self.stride)
        return np.asarray(np.clip(inside, 1.0, np.maximum(self.ranks, 1.0)))

    def servers(self, fabric: Fabric) -> Floats:
        """Servers that one group spans."""
        return np.asarray(np.ceil(self.ranks / self.per_server(fabric)))

    def sharing(self, fabric: Fabric) -> Floats:
        """Groups of this kind that use one server's network cards at once."""
        return np.asarray(np.maximum(1.0, np.minimum(self.stride, fabric.chips_per_server)))
