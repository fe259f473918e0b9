"""Training steps, timed one by one: the median after warm-up, with quartiles."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from ..probe.timing import Timing, timing_of

#: Steps before any is timed, and the fewest that are.
WARM_STEPS: Final = 6
FEWEST_STEPS: Final = 5
_MOST_STEPS: Final = 200


def step_of(module: Any, inputs: tuple[Any, ...], optimizer: Any) -> Callable[[], None]:
    """One step of training as everybody writes it."""

    def step() -> None:
        optimizer.zero_grad()
        module(*inputs).backward()
        optimizer.step()

    return step


def timed_steps(
    step: Callable[[], None], *, seconds: float, now: Callable[[], float] = time.perf_counter,
    agree: Callable[[bool], bool] = bool,
) -> Timing:  # fmt: skip
    """Steps one by one, until the seconds are spent; ranks ``agree`` whether another follows."""
    for _ in range(WARM_STEPS):
        step()
    samples: list[float] = []
    begin = now()
    while agree(len(samples) < FEWEST_STEPS or (now() - begin < seconds and len(samples) < _MOST_STEPS)):
        start = now()
        step()
        samples.append(now() - start)
    return timing_of(samples, 1)
