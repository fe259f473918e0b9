"""Steps under misfortune: folded beside unfolded, and laws over all distributions."""

from collections import Counter

import numpy as np
import pytest

from simulator.events.engine import simulate
from simulator.events.misfortune.delays import PieceDelays
from simulator.events.misfortune.distribution import run_many
from simulator.events.misfortune.job import engine_run, run_misfortune, unfolded_run
from simulator.events.misfortune.laws import FAMILIES, MisfortuneError, law_of
from simulator.events.misfortune.patterns import Misfortune, Stragglers
from simulator.events.misfortune.pieces import Jitter
from simulator.events.misfortune.replicas import replica_law
from simulator.events.misfortune.steps import step_distribution
from simulator.events.misfortune.streams import Streams
from simulator.events.roles import Differences, Grid, find_roles
from simulator.events.world import Surroundings
from simulator.stepspec import BlockSpec, StageSpec, StepSpec

ALONE = Grid(stages=1)


def step(stages=1, mode="after", blocks=4, micro_batches=2, tensor_ps=100_000, schedule="1f1b"):
    block = BlockSpec(
        name="block", repeat=blocks, forward_ps=1_000_000, backward_ps=2_000_000, forward_tensor_ps=tensor_ps,
        backward_tensor_ps=tensor_ps, reduce_ps=300_000 if mode == "backward" else 0,
    )  # fmt: skip
    stage = StageSpec(
        name="stage", chunks=((block,),), reduce_after_ps=2_000_000 if mode == "after" else 0, optimizer_ps=500_000
    )
    return StepSpec(
        stages=(stage,) * stages, micro_batches=micro_batches, gradient_mode=mode, send_ps=50_000, schedule=schedule
    )


def misfortune(name="lognormal", spread=0.1, probability=0.0, factor=1.3, slow_chips=None):
    return Misfortune(
        jitter=Jitter(kernel=law_of(name, spread)),
        stragglers=Stragglers(probability=probability, factor=factor), slow_chips=slow_chips or {},
    )  # fmt: skip


def folded(spec, grid, what, repetitions=400, seed=1):
    return step_distribution(engine_run(spec, grid), grid, what, repetitions=repetitions, seed=seed)


def unfolded(spec, grid, what, repetitions=60, seed=2):
    """Every rank a process of its own, every piece of every rank a draw of its own."""
    run = unfolded_run(spec, grid)

    def one(_, streams):
        hit = streams.of("hit").random(grid.ranks) < what.stragglers.probability
        slow = [
            what.slow_chips.get(r, what.stragglers.factor if hit[r] else 1.0) for r in range(grid.ranks)
        ]  # fmt: skip
        return run(PieceDelays(what.jitter, ALONE, streams, lambda r: (slow[r],) if slow[r] > 1 else ()))

    return run_many(one, repetitions, seed)


def overlap(a, b, name):
    (low_a, high_a), (low_b, high_b) = a.intervals[name], b.intervals[name]
    return low_a <= high_b and low_b <= high_a


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_folded_steps_are_distributed_as_unfolded_ones(name):
    spec, grid, what = step(blocks=2, micro_batches=1), Grid(stages=1, replicas=8, inner=2), misfortune(name)
    a, b = folded(spec, grid, what), unfolded(spec, grid, what)
    assert overlap(a, b, "median")
    assert overlap(a, b, "mean")
    assert a.quantile_s(0.9) == pytest.approx(b.quantile_s(0.9), rel=0.02)


@pytest.mark.parametrize("mode", ["after", "backward"])
@pytest.mark.parametrize("schedule", ["1f1b", "gpipe"])
def test_folded_pipelines_are_distributed_as_unfolded_ones(mode, schedule):
    spec, grid = step(stages=2, mode=mode, blocks=2, schedule=schedule), Grid(stages=2, replicas=8)
    what = misfortune("gamma", 0.2)
    a, b = folded(spec, grid, what, repetitions=150), unfolded(spec, grid, what)
    assert a.method == "replicas"
    assert overlap(a, b, "median")
    assert overlap(a, b, "mean")


@pytest.mark.parametrize("stages", [1, 2])
def test_stragglers_and_slow_chips_are_the_same_folded_and_unfolded(stages):
    spec, grid = step(stages=stages, blocks=2, micro_batches=1), Grid(stages=stages, replicas=6, inner=2)
    what = misfortune("weibull", 0.1, probability=0.03, slow_chips={5: 1.15})
    a, b = folded(spec, grid, what, repetitions=200), unfolded(spec, grid, what, repetitions=80)
    assert overlap(a, b, "median")
    assert overlap(a, b, "mean")


@pytest.mark.parametrize("mode", ["none", "after", "backward"])
@pytest.mark.parametrize("stages", [1, 3])
def test_without_spread_a_step_is_that_without_misfortune_to_the_tick(mode, stages):
    spec, grid = step(stages=stages, mode=mode), Grid(stages=stages, replicas=4, inner=2)
    found = folded(spec, grid, Misfortune())
    assert found.seconds == (simulate(spec).total_s,)
    assert found.ended == "certain"


@pytest.mark.parametrize("rank", [0, 5, 15])
@pytest.mark.parametrize("mode", ["after", "backward"])
def test_a_slow_chip_alone_is_that_of_the_engine_to_the_tick(rank, mode):
    spec, grid = step(stages=2, mode=mode), Grid(stages=2, replicas=4, inner=2)
    roles = find_roles(grid, Differences(compute={rank: 1.5}))
    engine = simulate(spec, Surroundings(roles=roles)).total_s
    # The update of a stage is that of its slowest rank in both.
    found = folded(spec, grid, Misfortune(slow_chips={rank: 1.5}))
    assert found.seconds == (engine,)


@pytest.mark.parametrize("name", sorted(FAMILIES))
@pytest.mark.parametrize("stages", [1, 2])
def test_the_mean_step_is_never_below_the_step_without_jitter(name, stages):
    spec, grid = step(stages=stages, blocks=2), Grid(stages=stages, replicas=16, inner=2)
    assert folded(spec, grid, misfortune(name, 0.1), repetitions=60).mean_s > simulate(spec).total_s


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_more_replicas_never_make_the_median_step_shorter(name):
    spec, what = step(blocks=2), misfortune(name, 0.1)
    medians = [folded(spec, Grid(stages=1, replicas=n), what, 200).figure_s("median") for n in (1, 8, 64, 8192)]
    assert np.all(np.diff(medians) > 0)


def test_stragglers_alone_slow_a_step_as_often_as_one_of_the_ranks_is_one():
    spec, grid = step(), Grid(stages=1, replicas=16, inner=2)
    found = folded(spec, grid, misfortune(spread=0.0, probability=0.02), repetitions=600)
    slow = np.mean(np.array(found.seconds) > simulate(spec).total_s * 1.01)
    assert slow == pytest.approx(1 - 0.98**32, abs=5 * np.sqrt(0.25 / 600))


def test_a_straggler_that_always_comes_slows_every_step_of_every_grid():
    for stages in (1, 2):
        spec, grid = step(stages=stages), Grid(stages=stages, replicas=4)
        found = folded(spec, grid, misfortune("gamma", 0.01, probability=1.0, factor=2.0), repetitions=30)
        assert min(found.seconds) > 1.5 * simulate(spec).total_s


def test_how_many_stragglers_a_struck_replica_has_follows_the_binomial_law_without_0():
    grid, what = Grid(stages=2, inner=3), misfortune(probability=0.3)
    stream = Streams(seed=1).of("struck")
    counts = Counter(sum(map(len, what.with_stragglers(grid, ((), ()), stream))) for _ in range(20_000))
    weights = np.array([1.0, 6, 15, 20, 15, 6, 1]) * 0.3 ** np.arange(7) * 0.7 ** np.arange(6, -1, -1)
    expected = 20_000 * weights / (1 - weights[0])
    assert counts[0] == 0
    for k in range(1, 6):
        assert counts[k] == pytest.approx(expected[k], abs=5 * np.sqrt(expected[k]))


def test_the_same_seed_gives_the_same_steps_and_another_one_others():
    spec, grid, what = step(blocks=2), Grid(stages=1, replicas=8), misfortune(probability=0.05)
    a, b, c = (folded(spec, grid, what, repetitions=20, seed=seed) for seed in (3, 3, 4))
    assert a.seconds == b.seconds != c.seconds


def test_the_slowest_of_many_pipelines_is_that_of_a_law_fitted_to_few():
    spec, what = step(stages=2, blocks=1, micro_batches=2), misfortune("gamma", 0.2)
    grid, seed = Grid(stages=2), Streams(seed=9)
    run = engine_run(spec, grid)
    single = np.array([run(PieceDelays(what.jitter, grid, seed.within(i))) for i in range(1792)])
    law = replica_law(single[:256])
    for replicas in (16, 64, 256):
        slowest = single.reshape(-1, replicas).max(axis=1)
        middle = float(law.isf(np.array([1 - 0.5 ** (1 / replicas)]))[0])
        assert middle == pytest.approx(np.median(slowest), rel=0.03)


def test_a_rank_that_is_not_there_is_refused():
    with pytest.raises(MisfortuneError, match="legal: 0 to 7"):
        run_misfortune(step(), Grid(stages=1, replicas=8), Misfortune(slow_chips={8: 1.5}))


def test_too_few_repetitions_for_a_fitted_law_are_refused():
    with pytest.raises(MisfortuneError, match="at least 20"):
        folded(step(stages=2), Grid(stages=2, replicas=2), misfortune(), repetitions=5)


def test_a_law_of_one_replica_needs_steps():
    with pytest.raises(MisfortuneError, match="at least 1"):
        replica_law([])
    with pytest.raises(MisfortuneError, match="at least 20"):
        replica_law([1.0, 2.0])
    assert replica_law([2.0]).isf(np.array([1e-9])).tolist() == [2.0]


@pytest.mark.parametrize("stages", [1, 2])
def test_an_interrupt_leaves_what_was_found(stages):
    spec, grid = step(stages=stages, blocks=1), Grid(stages=stages, replicas=4)

    def interrupt(done, _):
        if done == 30:
            raise KeyboardInterrupt

    found = step_distribution(engine_run(spec, grid), grid, misfortune(), repetitions=100, seed=1, progress=interrupt)
    assert (found.ended, found.asked) == ("interrupted", 100)
    assert found.simulated == 30
    assert found.mean_s > 0


def test_an_interrupt_before_the_first_step_is_one():
    def interrupt(_delays):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        step_distribution(interrupt, Grid(stages=1), misfortune(), repetitions=100, seed=1)
