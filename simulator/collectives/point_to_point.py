"""One rank sends to one other."""

from __future__ import annotations

import numpy as np

from ..kernels.optable import Floats
from .fabric import Fabric


def send_s(*, message_byte: Floats, distance: Floats, fabric: Fabric) -> Floats:
    """Time to send ``message_byte`` to the rank ``distance`` ranks away, while every rank of the server does the same.

    .. math:: t = t_{call} + \\alpha + M / \\beta

    Inside a server beta is the chip's own links; across servers every chip has its share of the cards. Shapes
    broadcast; returns [s]. Leaves out: the receiver being late.
    """
    outside = distance >= fabric.chips_per_server
    rate = np.where(outside, fabric.out_byte_per_s / fabric.chips_per_server, fabric.up_byte_per_s)
    latency = np.where(outside, fabric.out_latency_s, fabric.up_latency_s)
    return np.asarray(np.where(message_byte > 0, fabric.call_s + latency + message_byte / rate, 0.0))
