"""What workers of lowered strategies exchange with parameter servers: bytes, seconds, what the servers hold.

Servers are processes on the first hosts of the job, in the hosts' memory; a replica is one worker. Parameters and the
optimizer's state are cut evenly over the servers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .kernels.optable import Floats
from .lowering import Lowered
from .modes.servers import PortTimes, port_times
from .traffic import Groups, Messages, gradient_byte_of, gradient_share

#: A message so small that it takes the latency alone, and one so large that it takes the rate alone [B].
SMALL_BYTE, LARGE_BYTE = 1.0, 2.0**30


@dataclass(frozen=True, kw_only=True)
class ServerExchange:
    """The exchange of one update of one worker; shape (S,) each. ``server_byte``: what one server's host keeps [B]."""

    workers: Floats
    servers: Floats
    push_byte: Floats
    pull_byte: Floats
    server_byte: Floats
    times: PortTimes


def hosts_of(lowered: Lowered) -> Floats:
    """Hosts that the chips of each strategy fill; (S,)."""
    chips = np.array([c.cluster.chips_per_server for c in lowered.contexts])[lowered.context]
    return np.asarray(np.ceil(lowered.tp * lowered.cp * lowered.pp * lowered.dp / chips))


def between_hosts(lowered: Lowered) -> Groups:
    """Every chip of a host sends to its like on the next one, all at once; (S,)."""
    context = lowered.context
    chips = np.array([c.cluster.chips_per_server for c in lowered.contexts])[context]
    several = hosts_of(lowered) > 1
    return Groups(
        contexts=lowered.contexts, context=context, ranks=np.where(several, 2, 1), stride=np.where(several, chips, 1)
    )


def messages_between_hosts(lowered: Lowered) -> tuple[Messages, Messages]:
    """A message that takes the latency alone, and a large one, of every chip of a host at once."""
    group, one = between_hosts(lowered), np.ones(lowered.strategies)
    return group.cost("permute", SMALL_BYTE * one), group.cost("permute", LARGE_BYTE * one)


def server_exchange(
    lowered: Lowered, *, small_s: Floats, large_s: Floats, host_link_byte_per_s: Floats, update_byte_per_s: Floats
) -> ServerExchange:
    r"""Pushes and pulls of every strategy, (S,) [s], [B].

    The cards of a host carry :math:`\beta = c M / (t(M) - t(0))`, with t the time in which each of its c chips sends M
    bytes (``large_s``, ``small_s``, of `messages_between_hosts`). A push holds the gradients of a replica as they are
    sent, a pull its parameters as they are stored. ``host_link_byte_per_s``: a chip's link to its host, 0 where none is
    on record; ``update_byte_per_s``: what the optimizer's words of one host are updated at.

    Leaves out: gradients of neighbours on one host added up before they are sent; what tensor-parallel ranks hold twice
    is sent twice; exchange under the backward pass.
    """
    contexts, context = lowered.contexts, lowered.context
    chips = np.array([c.cluster.chips_per_server for c in contexts], dtype=float)[context]
    stored, gradient, words, kept = (
        np.array([value(c) for c in contexts], dtype=float)[context]
        for value in (
            lambda c: c.recipe.storage_byte,
            lambda c: gradient_byte_of(c.stack, c.recipe),
            lambda c: c.optimizer.read_write_words_per_parameter,
            lambda c: 4.0 + c.recipe.state_byte * c.optimizer.state_per_parameter,
        )
    )
    rank = np.einsum("srg,sg->s", lowered.repeat * (lowered.role_stages > 0)[:, :, None], lowered.held_parameters)
    trained = rank * np.where(lowered.frozen, 0.01, 1.0)
    push = trained * gradient * gradient_share(lowered, gradient[:, None])[:, 0]
    pull = trained * stored
    tp = lowered.tp.astype(float)
    hosts = hosts_of(lowered)
    servers = np.where(lowered.parameter_servers > 0, lowered.parameter_servers, hosts).astype(float)
    several = hosts > 1
    rate = np.divide(chips * LARGE_BYTE, large_s - small_s, out=np.full(len(chips), 1e18), where=several)
    lane = np.divide(1.0, host_link_byte_per_s, out=np.zeros(len(chips)), where=host_link_byte_per_s > 0)
    workers = lowered.dp.astype(float)
    times = port_times(
        workers=workers, push_byte=tp * push, pull_byte=tp * pull, servers=servers,
        workers_per_host=np.where(several, np.minimum(chips / tp, workers), workers), host_byte_per_s=rate,
        latency_s=small_s, update_s=tp * trained * 4.0 * words / (servers * update_byte_per_s * chips),
        push_lane_s=push * lane, pull_lane_s=pull * lane,
    )  # fmt: skip
    return ServerExchange(
        workers=workers, servers=servers, push_byte=tp * push, pull_byte=tp * pull,
        server_byte=tp * rank * kept / servers, times=times,
    )  # fmt: skip
