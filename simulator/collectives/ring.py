"""The flat ring, for one uniform link: the textbook formula the hierarchical cost must fall back to."""

from __future__ import annotations


def ring_all_reduce_s(*, message_byte: float, ranks: int, bandwidth_byte_per_s: float, latency_s: float) -> float:
    """Time of a ring all-reduce when every rank talks at once.

    .. math:: t = 2 (n-1) \\left(\\alpha + \\frac{M}{n \\beta}\\right)

    Parameters
    ----------
    message_byte
        Size of the buffer on each rank. [B]
    ranks
        Ranks in the ring; one rank has nothing to exchange.
    bandwidth_byte_per_s, latency_s
        Of the slowest link on the ring, one direction. [B/s], [s]

    Notes
    -----
    Leaves out: the reduction arithmetic, protocol overhead, contention with other traffic.

    Raises
    ------
    ValueError
        If ``ranks < 1``.

    References
    ----------
    .. [1] Patarasuk and Yuan, Bandwidth optimal all-reduce algorithms for clusters of workstations, 2009.

    Examples
    --------
    >>> ring_all_reduce_s(message_byte=8e9, ranks=2, bandwidth_byte_per_s=4e9, latency_s=0.0)
    2.0
    """
    if ranks < 1:
        raise ValueError(f"ring_all_reduce_s: ranks is {ranks}; at least 1.")
    return 2.0 * (ranks - 1) * (latency_s + message_byte / ranks / bandwidth_byte_per_s)
