"""What a strategy without barriers tells of itself: staleness, updates a second, what its servers carry and keep."""

from __future__ import annotations

import numpy as np

from .constants import Constants
from .modes.servers import mean_staleness
from .plan_report import AsynchronousUpdates
from .pricing import server_exchange_of
from .ranking import Search
from .stepspec import StepTime


def asynchronous_updates(found: Search, place: int, constants: Constants) -> AsynchronousUpdates | None:
    """Of the strategy in that place of the ranking; None where replicas wait for each other.

    Each of W workers makes one update in a step's time T. The servers' busier direction is held W d of it.
    """
    if found.steps is None or found.parallelism(place).updates == "synchronous":
        return None
    step: StepTime = found.step(place)
    exchange = server_exchange_of(found.steps.lowered.take(found.order[place : place + 1]), constants)
    workers = int(exchange.workers[0])
    held_s = workers * float(np.maximum(exchange.times.push_port_s, exchange.times.pull_port_s)[0])
    alone_s = step.total_s - step.part_s("data") + float((exchange.times.push_s + exchange.times.pull_s)[0])
    return AsynchronousUpdates(
        workers=workers, servers=int(exchange.servers[0]), staleness=float(mean_staleness(workers)),
        updates_per_s=workers / step.total_s, server_utilisation=min(held_s / step.total_s, 1.0),
        binds="servers" if held_s > alone_s else "workers", push_byte=float(exchange.push_byte[0]),
        pull_byte=float(exchange.pull_byte[0]), server_byte=float(exchange.server_byte[0]),
    )  # fmt: skip
