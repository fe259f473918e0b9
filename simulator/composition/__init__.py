"""The step time one strategy at a time, in exact integers.

The plain twin of the array engine: the same equations, written to be read and checked against by hand. Nothing
contends, so that no run of a schedule takes less; the word for its result is "bound".
"""

from simulator.composition.bound import bound, in_closed_form
from simulator.composition.chains import last_passes_done_ps
from simulator.composition.exchange import exposed_reduce_ps
from simulator.composition.passes import Pipeline
from simulator.composition.path import RankTimes, RanTask, ran_tasks, rank_times
from simulator.composition.sharded import sharded_passes_ps

__all__ = [
    "Pipeline", "RanTask", "RankTimes", "bound", "exposed_reduce_ps", "in_closed_form", "last_passes_done_ps",
    "ran_tasks", "rank_times", "sharded_passes_ps",
]  # fmt: skip
