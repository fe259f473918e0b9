"""Sends between ranks, and the all-to-all made of them, as NVIDIA's library schedules them on channels.

A channel is a block of the chip that moves bytes to one peer. There are 32; each peer gets a power of two of them, no
more than fit. Up to 512 KiB to a peer go in the small-message protocol; above, a peer gets one channel for every 16 MiB
more. So the rate of a single send grows in steps with its size, and 18 or 72 ranks leave channels idle that 16 or 64
ranks use. Other libraries are bound by their wires alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from ..kernels.optable import Floats
from .exchange import Exchanges

#: Channels of one chip, and bytes to a peer up to which the small-message protocol serves them, and that one channel
#: takes before the peer gets another (32 steps of 512 KiB).
CHANNELS: Final = 32.0
SMALL_BYTE: Final = 524_288.0
CHANNEL_BYTE: Final = 16_777_216.0
#: All-to-alls of so few ranks are started as single sends.
FEW_RANKS: Final = 4.0
#: Peers that start together.
PEERS_AT_ONCE: Final = 16.0
#: How sharply the slower of channels and wires decides, and how latency and transfer of small messages overlap.
_SHARP: Final = 24.0
OVERLAP: Final = 2.5


def overlapped(a: Floats, b: Floats) -> Floats:
    """Two things that run under one another: :math:`(a^p + b^p)^{1/p}` with p = 2.5, a little more than the longer."""
    return np.asarray((a**OVERLAP + b**OVERLAP) ** (1.0 / OVERLAP))


def slower(a: Floats, b: Floats) -> Floats:
    """The slower of two rates; where both are alike a little below either: :math:`(a^{-p} + b^{-p})^{-1/p}`, p = 24."""
    least = np.minimum(a, b)
    return np.asarray(least * (1.0 + (least / np.maximum(a, b)) ** _SHARP) ** (-1.0 / _SHARP))


def channel_count(message_byte: Floats, ranks: Floats, peers: Floats) -> Floats:
    """Channels that move bytes at any time.

    :math:`c = 2^{\\lfloor \\log_2 (32 / n) \\rfloor}` to each peer (at least 1), more for large messages; all peers
    together at most 32, in :math:`\\lceil p c / 32 \\rceil` rounds.
    """
    least = np.exp2(np.floor(np.log2(np.maximum(CHANNELS / ranks, 1.0))))
    wanted = np.exp2(np.ceil(np.log2(np.maximum(message_byte / CHANNEL_BYTE, 1.0))))
    each = np.where(message_byte <= SMALL_BYTE, least, np.clip(wanted, least, CHANNELS))
    total = each * peers
    return np.asarray(np.where(total <= CHANNELS, total, total / np.ceil(total / CHANNELS)))


@dataclass(frozen=True, kw_only=True)
class Sends:
    """Seconds of sends, and of their parts: to start, over wires, over cards, by channels; shape (rows,) each."""

    seconds: Floats
    latency_s: Floats
    inside_s: Floats
    outside_s: Floats
    channels_s: Floats


def point_to_point(x: Exchanges, v: Mapping[str, Floats]) -> Sends:
    """Sends ("permute") and all-to-alls.

    .. math:: t = t_0 + t_{peers} \\oplus V / \\min(c r, \\beta) + \\sqrt{\\rho V / \\beta}

    with V the message of a send, :math:`((n-1)/n + \\gamma / n) M` of an all-to-all (:math:`\\gamma`: copying one's own
    share), c channels of rate r, and :math:`\\oplus` the overlap of small messages, a sum for large ones. Over several
    domains an all-to-all takes no less than the bytes that leave a domain through its cards. Leaves out: uneven
    messages, and a bidirectional exchange's second set of channels.
    """
    ranks, message = x.number("ranks"), x.message_byte
    send = x.holds("collective", "permute")
    channelled = x.holds("library", "nccl", "xla+nccl", "nccl-in-framework")
    direct = ~send & (ranks <= FEW_RANKS)
    each, peers = np.where(send, message, message / ranks), np.where(send, 1.0, ranks)
    small = each <= SMALL_BYTE
    rate = channel_count(each, ranks, peers) * np.where(
        small, v["small_channel_byte_per_s"], v["large_channel_byte_per_s"]
    )
    rate = np.where(channelled & ~direct, rate, 1e18)
    wire = np.where(
        send, v["pair_share"] * x.number("pair_byte_per_s"), v["exchange_share"] * x.number("up_byte_per_s")
    )
    limit = slower(rate, wire)
    volume = np.where(send, message, message * ((ranks - 1.0) + v["copy_exchange"]) / ranks)
    base = np.where(direct | (~send & ~channelled), v["direct_base_s"], v["send_base_s"])
    # A library without channels starts its peers one after the other.
    free = np.where(channelled, PEERS_AT_ONCE, 2.0)
    more = np.where(send, 0.0, v["peer_s"] * np.maximum(peers - free, 0.0))
    time = np.where(small, overlapped(more, volume / limit), more + volume / limit)
    time = time + np.where(send, 0.0, np.sqrt(v["ramp_s"] * volume / wire))
    members, domains = x.number("domain_ranks"), x.domains
    outside = np.where(send, message * members, message * members * np.maximum(1.0 - members / ranks, 0.0)) / (
        x.number("out_byte_per_s") * v["out_share"]
    )
    outside = np.where(domains > 1.0, outside, 0.0)
    step = np.where(domains > 1.0, v["out_step_s"], 0.0)
    return Sends(
        seconds=np.asarray(base + np.maximum(time, outside) + step), latency_s=np.asarray(base + more + step),
        inside_s=np.asarray(volume / wire), outside_s=np.asarray(outside), channels_s=np.asarray(volume / rate),
    )  # fmt: skip
