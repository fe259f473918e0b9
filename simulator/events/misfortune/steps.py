"""The distribution of a job's step: simulated as often as asked, folded over replicas whatever their number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from simulator.events.misfortune.delays import Chain, ChainDraws, PieceDelays, Recorder, stage_slow
from simulator.events.misfortune.distribution import CONFIDENCE, QUANTILES, StepDistribution, distribution, run_many
from simulator.events.misfortune.laws import Floats, MisfortuneError, maximum, uniforms
from simulator.events.misfortune.patterns import Misfortune, Pattern
from simulator.events.misfortune.replicas import replica_law
from simulator.events.misfortune.streams import Streams
from simulator.events.roles import Grid
from simulator.events.world import Delays

#: Steps drawn from the fitted laws of replicas; how often these are fitted anew to say how sure the figures are.
DRAWS: Final = 10_000
_REFITS: Final = 100
LEAST_FITTED: Final = 20

Run = Callable[[Delays], float]
Progress = Callable[[int, int], None]


def step_distribution(
    run: Run,
    grid: Grid,
    misfortune: Misfortune,
    *,
    repetitions: int,
    seed: int,
    precision: float | None = None,
    progress: Progress | None = None,
) -> StepDistribution:
    """Step times [s] under misfortune; ``run(delays)`` simulates one step, one rank or group for all alike, in seconds.

    Without a pipeline every repetition is the step of the slowest replica (`ChainDraws`). With one, and more than one
    replica, ``repetitions`` steps of single replicas are simulated, of every kind there is (all ranks well, something
    slow), and the slowest of all is drawn from their laws (`ReplicaLaw`). Where nothing is left to chance one run of
    every kind is all there is to know.

    Raises
    ------
    MisfortuneError
        For a rank that is not there, or fewer repetitions than a law can be fitted to.
    KeyboardInterrupt
        Where an interrupt came before anything could be said; later it leaves what was found.
    """
    if repetitions < 1:
        raise MisfortuneError(f"repetitions is {repetitions}; at least 1.")
    streams, patterns = Streams(seed=seed), misfortune.patterns(grid)
    if misfortune.certain:
        seconds = max(run(_certain(misfortune, grid, pattern)) for pattern in patterns)
        return distribution([seconds], asked=repetitions, ended="certain", simulated=len(patterns))
    if grid.stages == 1:
        recorder = Recorder()
        run(recorder)
        draws = ChainDraws(Chain.of(recorder.pieces), grid, misfortune, streams)
        return run_many(
            lambda repetition, _: run(draws.delays(repetition)),
            repetitions, seed, precision=precision, progress=progress,
        )  # fmt: skip
    if grid.replicas == 1:
        (pattern,) = patterns

        def one(_: int, own: Streams) -> float:
            struck = misfortune.struck(grid, pattern, 1, own.of("struck"))
            now = misfortune.with_stragglers(grid, pattern, own.of("stragglers")) if struck else pattern
            return run(PieceDelays(misfortune.jitter, grid, own, stage_slow(now)))

        return run_many(one, repetitions, seed, precision=precision, progress=progress)
    return _of_pipelines(run, grid, misfortune, repetitions, streams, progress)


def _certain(misfortune: Misfortune, grid: Grid, pattern: Pattern) -> Delays:
    return PieceDelays(misfortune.jitter, grid, Streams(seed=0), stage_slow(pattern))


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """Replicas of one kind: what is always slow in them, and whether a straggler is too."""

    pattern: Pattern
    struck: bool
    seconds: list[float] = field(default_factory=list)


def _of_pipelines(
    run: Run, grid: Grid, misfortune: Misfortune, repetitions: int, streams: Streams, progress: Progress | None
) -> StepDistribution:
    if repetitions < LEAST_FITTED:
        raise MisfortuneError(
            f"repetitions is {repetitions}; at least {LEAST_FITTED} for {grid.replicas} replicas of a pipeline, "
            "whose slowest is drawn from a law fitted to them."
        )
    patterns = misfortune.patterns(grid)
    kinds = [_Kind(pattern=pattern, struck=False) for pattern in patterns]
    if misfortune.stragglers.probability > 0 and misfortune.stragglers.factor > 1:
        kinds += [_Kind(pattern=pattern, struck=True) for pattern in patterns]
    ended = "all"
    try:
        for repetition in range(repetitions):
            for place, kind in enumerate(kinds):
                own = streams.within("replica", place, repetition)
                slow = kind.pattern
                if kind.struck:
                    slow = misfortune.with_stragglers(grid, slow, own.of("stragglers"))
                kind.seconds.append(run(PieceDelays(misfortune.jitter, grid, own, stage_slow(slow))))
            if progress is not None:
                progress(repetition + 1, repetitions)
    except KeyboardInterrupt:
        if min(len(kind.seconds) for kind in kinds) < LEAST_FITTED:
            raise
        ended = "interrupted"
    counts = {
        (kind.pattern, kind.struck): _counts(misfortune, grid, kind, patterns[kind.pattern], streams) for kind in kinds
    }
    u = {(kind.pattern, kind.struck): uniforms(streams.of("slowest", i), DRAWS) for i, kind in enumerate(kinds)}

    def slowest(samples: list[Floats]) -> Floats:
        found = np.zeros(DRAWS)
        for kind, sample in zip(kinds, samples, strict=True):
            key = (kind.pattern, kind.struck)
            there = counts[key] > 0
            if there.any():
                law = replica_law(sample)  # type: ignore[arg-type]
                found[there] = np.maximum(found[there], maximum(law, counts[key][there], u[key][there]))  # type: ignore[arg-type]
        return found

    whole = [np.asarray(kind.seconds) for kind in kinds]
    chooser = streams.of("refits")
    names = ("mean", *QUANTILES)
    found = np.array(
        [
            _figures(slowest([sample[chooser.integers(0, sample.size, sample.size)] for sample in whole]))
            for _ in range(_REFITS)
        ]
    )
    half = (1 - CONFIDENCE) / 2
    low, high = np.quantile(found, half, axis=0), np.quantile(found, 1 - half, axis=0)
    return StepDistribution(
        seconds=tuple(np.sort(slowest(whole)).tolist()),
        asked=repetitions,
        intervals={name: (float(a), float(b)) for name, a, b in zip(names, low, high, strict=True)},
        ended=ended,
        method="replicas",
        simulated=sum(len(kind.seconds) for kind in kinds),
    )


def _figures(seconds: Floats) -> Floats:
    return np.array([seconds.mean(), *np.quantile(seconds, list(QUANTILES.values()))])


def _counts(misfortune: Misfortune, grid: Grid, kind: _Kind, count: int, streams: Streams) -> Floats:
    """How many replicas of a pattern are of a kind, in each drawn step; the same draw for both of its kinds."""
    stream = streams.of("struck", repr(kind.pattern))
    struck = np.array([misfortune.struck(grid, kind.pattern, count, stream) for _ in range(DRAWS)], dtype=float)
    return struck if kind.struck else count - struck
