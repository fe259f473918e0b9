"""How one call is timed: warmed up, repeated until the median is known, outliers kept."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

#: A sample is as many calls as take this long, so that no clock's resolution shows [s].
SAMPLE_S: Final = 2e-3
#: Samples of one case: at least, at most.
FEWEST, MOST_SAMPLES = 5, 40
#: Standard error of the median at which a case is known well enough, as a share of it.
KNOWN: Final = 0.01
#: Time for one case: warming up, and all of it [s].
WARM_S: Final = 0.02
CASE_S: Final = 0.25
_MOST_CALLS: Final = 10_000


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds of one call: median, quartiles, extremes, and of how many samples of how many calls each."""

    median_s: float
    low_quartile_s: float
    high_quartile_s: float
    least_s: float
    most_s: float
    samples: int
    calls: int

    @property
    def relative_error(self) -> float:
        """Standard error of the median against it, for noise that is near enough normal in the middle."""
        return median_error(self.median_s, self.low_quartile_s, self.high_quartile_s, self.samples)


def median_error(median: float, low: float, high: float, samples: int) -> float:
    """Standard error of a median as a share of it.

    .. math:: e = 1.2533 \\frac{(q_3 - q_1) / 1.349}{\\sqrt{n}\\, m}
    """
    return 1.2533 * (high - low) / 1.349 / (samples**0.5) / median if median > 0 else 0.0


def timing_of(samples: Sequence[float], calls: int) -> Timing:
    """The summary of samples, each the seconds of one call."""
    ordered = sorted(samples)
    quartiles = statistics.quantiles(ordered, n=4, method="inclusive") if len(ordered) > 1 else [ordered[0]] * 3
    return Timing(
        median_s=quartiles[1], low_quartile_s=quartiles[0], high_quartile_s=quartiles[2], least_s=ordered[0],
        most_s=ordered[-1], samples=len(ordered), calls=calls,
    )  # fmt: skip


def measure(
    time_calls: Callable[[int], float], *, now: Callable[[], float], case_s: float = CASE_S, sample_s: float = SAMPLE_S
) -> Timing:
    """Time a call until its median is known or its time is spent.

    ``time_calls(n)`` runs the call n times and returns the seconds that all took, on the device's own clock; ``now``
    is the clock that the time spent is counted on.
    """
    begin = now()
    once = time_calls(1)
    while now() - begin < min(WARM_S, case_s / 4):
        once = time_calls(1)
    calls = 1
    # A first look at how long a call takes in company: a single one pays for waking what runs it.
    while once * calls < sample_s and calls < _MOST_CALLS:
        calls = min(max(2 * calls, round(sample_s / max(once, 1e-9))), _MOST_CALLS)
        once = time_calls(calls) / calls
        if now() - begin > case_s / 2:
            break
    samples: list[float] = []
    while len(samples) < MOST_SAMPLES:
        samples.append(time_calls(calls) / calls)
        if now() - begin > case_s and len(samples) >= (FEWEST if once < case_s else 1):
            break
        if len(samples) >= FEWEST and timing_of(samples, calls).relative_error < KNOWN:
            break
    return timing_of(samples, calls)
