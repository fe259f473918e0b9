"""Step times for whole batches of strategies at once.

The equations are those of `composition`, which is their plain, scalar twin; tests hold the two equal to the tick. Here
they run over arrays: axes S (strategies), R (roles of stages: first, middle, last), G (blocks), and in `paths`, where
every rank of a pipeline is followed, P (ranks) and C (chunks of a rank).
"""

from .forward import forward_batch, forward_part, forward_times
from .layers import split_chunks
from .steps import StepBatch, StepTimes, batch
from .times import evaluate, step_times

__all__ = [
    "StepBatch",
    "StepTimes",
    "batch",
    "evaluate",
    "forward_batch",
    "forward_part",
    "forward_times",
    "split_chunks",
    "step_times",
]
