"""Run one mode of training event by event, on SimPy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from simulator.events.modes import asynchronous, gossip, groups, hogwild, stale_synchronous, synchronous
from simulator.events.modes.result import BATCHES, ModeRun, result_of
from simulator.events.modes.stage import Stage
from simulator.modes.job import ModeJob, check_updates

_STARTS: Final[Mapping[str, Callable[[Stage], None]]] = {
    "synchronous": synchronous.start,
    "asynchronous": asynchronous.start,
    "stale-synchronous": stale_synchronous.start,
    "hogwild": hogwild.start,
    "elastic-averaging": asynchronous.start,
    "gossip": gossip.start,
    "groups": groups.start,
    "local-sgd": synchronous.start,
}
#: Cycles of all workers that are left out before counting, at least; and the share of a run.
_WARM_UP_CYCLES: Final = 20
_WARM_UP_SHARE: Final = 0.1


def run_mode(job: ModeJob, *, updates: int = 4000, seed: int = 0) -> ModeRun:
    """Run workers until they have made so many updates beyond a warm-up of a tenth of them or 20 of each worker.

    Ports of servers take messages whole, in the order in which they come (a server handles one request after the
    other); simultaneous ones in the order of workers. Were a port shared evenly, workers of equal speed that start
    together would stay together for ever, each as slow as if it waited for all. The number of updates is rounded up
    to whole cycles of all workers in 20 batches. Durations are drawn from a stream of each worker's own, so that the
    same seed gives the same run, and one more worker leaves the draws of the others as they were.

    Where two ports are held nearly equally long and both are overloaded, the queue settles before the slower one only
    after d / (d - d') cycles; until then the other sets a pace that much too fast.

    Leaves out: what staleness does to learning; failures; compute slowed by communication.

    Raises
    ------
    ModeError
        Where the mode or the number of updates cannot be.
    """
    check_updates(updates)
    cycle = {"synchronous": 1, "local-sgd": 1, "groups": job.groups}.get(job.mode, job.workers)
    counted = -(-updates // (BATCHES * cycle)) * BATCHES * cycle
    warm_up = max(-(-int(_WARM_UP_SHARE * counted) // cycle), _WARM_UP_CYCLES) * cycle
    stage = Stage(job, counted + warm_up, warm_up, seed)
    _STARTS[job.mode](stage)
    stage.env.run(until=stage.record.over)
    return result_of(job, stage.record, seed)
