"""Zero-bubble orders: 1F1B whose weight gradients run apart, later, where a rank would else wait.

Rank ``i`` warms up with ``a`` forward passes more than the last rank. Then each round is a forward pass, a backward
pass for the inputs, and the weight gradient of the micro-batch ``lag`` rounds before; what is left of weight gradients
comes at the end. Ranks update by themselves: the norm of all gradients and the check for overflow follow the update
and undo it in the rare case that they must ("post-validation"), so that a rank's next step begins when its own
passes are done and the pipeline never drains. A step then takes as long as the rank that is longest at it.

=========  ====================  ==========  ===========================================  ====================
word       warm-up of rank i     lag         bubble, in time                              micro-batches held
=========  ====================  ==========  ===========================================  ====================
"zb1p"    ``p - 1 - i``         ``i``       ``(p - 1)(F + B - W)``                       ``p``
"zb2p"    ``2 (p - 1 - i)``     ``2 i``     ``(p - 1)(F + B - 2 W)``                     ``2 p - 1``
=========  ====================  ==========  ===========================================  ====================

References
----------
Qi et al., Zero Bubble Pipeline Parallelism, 2023, arXiv:2401.10241, sections 2 (ZB-H1, ZB-H2) and 4, table 2.
"""

from __future__ import annotations

from collections.abc import Iterator

from simulator.schedules.task import Task


def tasks(warm_up: int, lag: int, micro_batches: int) -> Iterator[Task]:
    """Tasks of one rank in the order it runs them."""
    for micro_batch in range(min(warm_up, micro_batches)):
        yield Task("forward", micro_batch)
    for micro_batch in range(micro_batches):
        if warm_up + micro_batch < micro_batches:
            yield Task("forward", warm_up + micro_batch)
        yield Task("backward_input", micro_batch)
        if micro_batch >= lag:
            yield Task("backward_weight", micro_batch - lag)
    for micro_batch in range(max(0, micro_batches - lag), micro_batches):
        yield Task("backward_weight", micro_batch)
