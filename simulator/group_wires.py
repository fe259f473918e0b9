"""The wires under a group of ranks of a cluster: what `collectives.library_cost` needs to know of a placement."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import hwmodels.catalog as hardware

from .cluster import Cluster, ClusterError
from .collectives.exchange import Wires
from .collectives.switch_rules import SINCE_YEAR, reduces_in_network, reduces_in_switch
from .stack import Stack

#: Words under which constants of the wires between domains are kept, by how the name of a fabric begins.
_OUT_WORDS: Final = (
    ("efa", "efa"), ("infiniband-fdr", "infiniband-fdr"), ("infiniband-edr", "infiniband-edr"),
    ("infiniband-hdr", "infiniband-hdr"), ("infiniband-ndr", "infiniband-ndr"), ("infiniband-xdr", "infiniband-xdr"),
    ("omni-path", "omni-path"), ("slingshot", "slingshot"), ("ethernet", "ethernet"), ("roce", "ethernet"),
)  # fmt: skip

#: How a group's members are joined, by the last word of the fabric's name.
_KINDS: Final = {"switch": "switch", "mesh": "cube_mesh", "tree": "pcie_tree", "host": "pcie_tree", "torus": "torus"}

#: Chips on one tray of a rack whose chips are one domain.
_TRAY_CHIPS: Final = 4

#: Rate of wires that no byte of a group passes.
_UNUSED_BYTE_PER_S: Final = 1e18


def out_word(fabric: str) -> str:
    """The word under which constants of the wires between domains are kept: "efa-200g" -> "efa"."""
    return next((word for start, word in _OUT_WORDS if fabric.startswith(start)), fabric)


#: Generations of InfiniBand, by what one card carries in one direction at most [B/s].
_GENERATIONS: Final = ((8e9, "fdr"), (16e9, "edr"), (32e9, "hdr"), (64e9, "ndr"), (math.inf, "xdr"))


def generation_word(family: str, card_byte_per_s: float) -> str:
    """The same word, from a family of links and the rate of one card: ("infiniband", 25e9) -> "infiniband-hdr"."""
    if family != "infiniband":
        return family
    return f"infiniband-{next(word for most, word in _GENERATIONS if card_byte_per_s <= most)}"


def up_kind(cluster: Cluster) -> str:
    """How the chips of a server are joined, as `collectives.exchange.UP_KINDS` has it."""
    kind = _KINDS.get(cluster.up_fabric.rsplit("-", 1)[-1], "none")
    if kind != "switch":
        return kind
    if cluster.server.endswith("nvl72"):
        return "rack"
    return "switch" if cluster.up_fabric.startswith("nvlink") else "pairs"


#: NVIDIA's library has trees since release 2.4.
_TREES_SINCE: Final = 2019


def library_of(stack: Stack, cluster: Cluster) -> str:
    """The communication library that a stack calls on the chips of a cluster, as `collectives.exchange` names it."""
    maker = cluster.chip.vendor.lower()
    if maker == "nvidia":
        library = "nccl" if stack.year >= _TREES_SINCE else "nccl-2.0-mpi"
    else:
        library = {"amd": "rccl"}.get(maker, "other")
    return f"xla+{library}" if stack.framework == "JAX" and library in ("nccl", "rccl") else library


@lru_cache(maxsize=65536)
def wires_of(
    cluster: Cluster, *, ranks: int, stride: int = 1, library: str = "other", year: int = 9999, cards: int = 0
) -> Wires:
    """The wires of one of the groups of ``ranks`` ranks, neighbours ``stride`` ranks apart, that all run at once.

    Ranks fill servers in order. All groups of the kind share a server's network cards: a group with fewer members in a
    server than cards cannot drive all of them, and its neighbours drive theirs meanwhile. ``cards`` limits how many
    network cards of a server the software uses (0: all); ``library`` is the communication library, of ``year``.

    Raises
    ------
    ClusterError
        Where the group is larger than the system.
    """
    where = f"Cluster {cluster.id!r}: a group of {ranks} ranks, {stride} apart"
    if ranks < 1 or stride < 1:
        raise ClusterError(f"{where}; at least 1 each.")
    if (ranks - 1) * stride >= cluster.max_chips:
        raise ClusterError(f"{where}, does not fit; it has {cluster.max_chips} chips.")
    chips, kind = cluster.chips_per_server, up_kind(cluster)
    # A slice of a torus is one domain, whichever host its chips sit on.
    slice_of_torus = kind == "torus" and cluster.out_fabric == "ici"
    inside = ranks if slice_of_torus else max(1, min(chips // stride, ranks))
    # A mesh is wired for whole servers; members of interleaved groups see the links of all. One member of each server
    # has nobody to send to inside.
    whole = stride > 1 or slice_of_torus
    up = cluster.up_byte_per_s[chips if whole else inside] if inside > 1 else _UNUSED_BYTE_PER_S
    links = max(hardware.server(cluster.server).scale_up_links_per_chip, 1) if kind == "torus" else 1
    pair = up
    if kind == "cube_mesh" and inside > 1:
        pair = cluster.up_byte_per_s[2]
    elif kind == "torus" and inside > 1:
        pair = up / links
    elif kind == "pairs" and inside > 1:
        pair = cluster.up_byte_per_s[chips] / (chips - 1)
        up = pair * max(inside - 1, 1)
    sharing = max(1, min(stride, chips))
    available = min(cards or cluster.network_cards, cluster.network_cards)
    # Servers with more cards than chips give each chip several.
    each = max(1.0, cluster.network_cards / chips)
    used = min(available, max(1.0, sharing * inside * each))
    out = cluster.out_byte_per_s * used / cluster.network_cards / sharing
    link = cluster.up_fabric.rsplit("-", 1)[0]
    reduces = year >= SINCE_YEAR and reduces_in_switch(
        library=library, link=link, kind=kind, chips=chips, members=inside
    )
    out_link = out_word(cluster.out_fabric) if math.ceil(ranks / inside) > 1 else ""
    return Wires(
        ranks=ranks, domain_ranks=inside, host_ranks=min(_TRAY_CHIPS if kind == "rack" else chips, inside),
        up_kind=kind,
        up_link="" if kind == "none" else link, up_byte_per_s=max(up, 1e6), pair_byte_per_s=max(pair, 1e6),
        out_link=out_link, out_byte_per_s=max(out, 1e6), library=library, in_switch=reduces,
        in_network=reduces_in_network(out_link=out_link, in_switch=reduces, domain_chips=chips),
        axes=max(links // 2, 1),
    )  # fmt: skip
