"""All-reduce, all-gather and reduce-scatter as communication libraries run them: rings, trees, switches that reduce.

Every algorithm exists in two protocols. One starts at once and moves flags with the data, so that its latency and its
transfer overlap, at a share of the rate. The other fills pipelines of large chunks: it starts later and sustains more.
The wires are scale-up domains (a server, or a rack of them) joined by network cards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from ..kernels.optable import Floats
from .exchange import Exchanges
from .library_point_to_point import overlapped, slower

#: Rate of wires that no byte of a group passes [B/s].
_UNUSED: Final = 1e18
#: Most scale-up domains that a measured collective ran over.
MOST_DOMAINS_MEASURED: Final = 36.0


@dataclass(frozen=True, kw_only=True)
class Path:
    """One algorithm in one protocol: seconds of every row, and the parts they come from; shape (rows,) each."""

    seconds: Floats
    latency_s: Floats
    inside_s: Floats
    outside_s: Floats


def out_rate(x: Exchanges, v: Mapping[str, Floats]) -> Floats:
    """Sustained rate of one domain's cards together [B/s]; less where a network is crowded.

    .. math:: B = e B_0 \\min(1, (8 / \\min(k, 36))^q)

    with k domains and the crowding exponent q of the kind of network. Collisions of paths stop growing once nearly
    every hop leaves its switch; from how many domains on is not known, so that the loss ends where measurements do.
    """
    crowd = np.minimum(x.domains, MOST_DOMAINS_MEASURED)
    return np.asarray(v["out_share"] * x.number("out_byte_per_s") * np.minimum(1.0, (8.0 / crowd) ** v["crowding"]))


def ring(x: Exchanges, v: Mapping[str, Floats], *, bulk: bool) -> Path:
    """One ring through all ranks, host by host and domain by domain.

    .. math:: t = t_0 + s_{in} \\alpha_{in} + s_{out} \\alpha_{out} \\oplus
              \\left( p \\frac{n-1}{n} + \\frac{\\gamma}{n} \\right) M / \\min(\\beta, B)

    with p passes (2 of an all-reduce, else 1) and p (n-1) steps in one domain, :math:`p d (n^{1/d} - 1)` of them on
    a torus of d dimensions; over k domains p k steps between them and p k (m - 1) inside, with m ranks each. A
    running ring is one coupled flow: every hop runs at the rate of the slowest, a chip's links inside (beta) or all
    cards of a domain (B); where both are alike, a little below either. The protocol for large messages starts
    later; in it the parts add up, and pipelines not yet full cost sqrt(rho T) more.
    Reference: Patarasuk and Yuan 2009.
    """
    ranks, message, domains = x.number("ranks"), x.message_byte, x.domains
    reduce, gather = x.holds("collective", "all_reduce"), x.holds("collective", "all_gather")
    passes = np.where(reduce, 2.0, 1.0)
    alone = domains <= 1.0
    steps_out = np.where(alone, 0.0, passes * domains)
    axes = x.number("axes")
    steps_in = np.where(
        alone, passes * axes * (ranks ** (1.0 / axes) - 1.0), passes * domains * (x.number("domain_ranks") - 1.0)
    )
    inside = v["bulk_share"] * _up_rate(x)
    outside = np.where(alone, _UNUSED, out_rate(x, v))
    volume = passes * (ranks - 1.0) / ranks * message
    latency = v["fast_base_s"] + steps_in * v["fast_step_s"] + steps_out * v["out_step_s"]
    if bulk:
        latency = latency + v["bulk_base_s"] + steps_in * v["bulk_step_s"]
        copy = np.where(reduce, v["copy_reduce"], np.where(gather, v["copy_gather"], v["copy_scatter"]))
        rate = slower(inside, outside)
        own = copy * message / ranks
        time = latency + (volume + own) / rate + np.sqrt(v["ramp_s"] * volume / rate)
        return Path(
            seconds=np.asarray(time), latency_s=np.asarray(latency),
            inside_s=np.asarray((volume + own) / inside), outside_s=np.asarray((volume + own) / outside),
        )  # fmt: skip
    inside_s, outside_s = volume / (v["fast_share"] * inside), volume / (v["fast_share"] * outside)
    return Path(
        seconds=overlapped(latency, volume / (v["fast_share"] * slower(inside, outside))),
        latency_s=np.asarray(latency), inside_s=np.asarray(inside_s), outside_s=np.asarray(outside_s),
    )  # fmt: skip


def _up_rate(x: Exchanges) -> Floats:
    """Nominal rate of one chip inside its domain [B/s]; wires that nobody sends on bind nothing."""
    return np.asarray(np.where(x.number("domain_ranks") > 1.0, x.number("up_byte_per_s"), _UNUSED))


def _levels(count: Floats) -> Floats:
    """Levels of a binary tree over so many."""
    return np.asarray(np.ceil(np.log2(np.maximum(count, 1.0))))


def _tree_out_s(x: Exchanges, v: Mapping[str, Floats]) -> Floats:
    """Seconds in which the busiest domain of a double tree sends: its message once between two, twice between more
    (half up and half down to each of two children in one tree, half up in the other)."""
    volume = x.message_byte * np.where(x.domains == 2.0, 1.0, 2.0)
    return np.asarray(np.where(x.domains > 1.0, volume / out_rate(x, v), 0.0))


def tree(x: Exchanges, v: Mapping[str, Floats], *, bulk: bool) -> Path:
    """All-reduce on two complementary trees, each with half the message: a chain in every host, a tree over hosts.

    .. math:: t = t_0 + 2 (h - 1) \\alpha + l_{in} \\alpha_{tree} + 2 \\lceil \\log_2 k \\rceil \\alpha_{out} \\oplus
              \\max(2 M / \\beta, V_{out} / B)

    with h chips of a host and l levels over the hosts of a domain. Reference: Sanders, Speck and Traeff 2009.
    """
    members = x.number("domain_ranks")
    host = np.minimum(x.number("host_ranks"), members)
    levels = np.where(members > host, _levels(members / host), 0.0)
    several = (levels > 0.0) | (x.domains > 1.0)
    latency = (
        v["fast_base_s"] + np.where(several, v["tree_base_s"], 0.0) + 2.0 * (host - 1.0) * v["fast_step_s"]
        + levels * v["tree_step_s"] + 2.0 * _levels(x.domains) * v["out_step_s"]
    )  # fmt: skip
    inside = 2.0 * x.message_byte / (v["tree_share"] * _up_rate(x))
    outside = _tree_out_s(x, v)
    transfer = np.maximum(inside, outside)
    if bulk:
        latency = latency + v["bulk_base_s"]
        seconds = latency + transfer + np.sqrt(v["ramp_s"] * transfer)
    else:
        inside, outside = inside / v["fast_share"], outside / v["fast_share"]
        seconds = overlapped(latency, transfer / v["fast_share"])
    return Path(seconds=np.asarray(seconds), latency_s=np.asarray(latency), inside_s=inside, outside_s=outside)


def in_switch(x: Exchanges, v: Mapping[str, Floats]) -> Path:
    """All-reduce in the switches of each domain (NVLink SHARP), joined by a tree between domains.

    Each chip reads its share reduced by the switches and writes it back to all, so that every chip sends and receives

    .. math:: V = M (1 + 1 / m)

    with m ranks in a domain: less than a ring's 2 M (m - 1) / m for more than three.
    """
    members = x.number("domain_ranks")
    alone = x.domains <= 1.0
    share = v["switch_share"] * np.where(alone, 1.0, v["switch_tree_share"])
    inside = x.message_byte * (1.0 + 1.0 / members) / (share * _up_rate(x))
    outside = np.where(x.holds("in_network", "True"), 0.5, 1.0) * _tree_out_s(x, v) / v["tree_out_share"]
    transfer = np.maximum(inside, outside)
    latency = v["switch_base_s"] + 2.0 * _levels(x.domains) * v["out_step_s"]
    seconds = latency + transfer + np.sqrt(v["ramp_s"] * transfer)
    return Path(
        seconds=np.asarray(seconds), latency_s=np.asarray(latency), inside_s=np.asarray(inside),
        outside_s=np.asarray(outside),
    )  # fmt: skip
