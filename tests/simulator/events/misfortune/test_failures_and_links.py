"""Failures in mid-step and degraded links, beside closed forms and by hand."""

import numpy as np
import pytest

from simulator.events.engine import simulate
from simulator.events.misfortune.failures import Failures, committed_s, expected_committed_s
from simulator.events.misfortune.laws import MisfortuneError
from simulator.events.misfortune.links import AXES, Degraded, degraded
from simulator.events.misfortune.streams import Streams
from simulator.stepspec import BlockSpec, StageSpec, StepSpec


def failing(mtbf_s=100.0, chips=1, **more):
    return Failures(mtbf_s={"chip": mtbf_s}, parts={"chip": chips}, **more)


@pytest.mark.parametrize(
    "failures",
    [
        failing(), failing(restart_s=3.0), failing(restart_s=3.0, checkpoint_steps=5), failing(mtbf_s=2000.0, chips=40),
        failing(restart_s=3.0, elastic=True, replicas=4),
    ],
)  # fmt: skip
def test_the_mean_of_drawn_steps_with_failures_is_the_closed_form(failures):
    drawn = committed_s(np.full(200_000, 10.0), failures, Streams(seed=1).of("failures"))
    assert drawn.mean() == pytest.approx(expected_committed_s(10.0, failures), abs=5 * drawn.std() / np.sqrt(200_000))
    assert drawn.min() == 10.0


def test_with_a_checkpoint_at_every_step_the_mean_is_dalys():
    failures = failing(restart_s=7.0)
    assert expected_committed_s(10.0, failures) == pytest.approx(np.expm1(0.1) * (100.0 + 7.0))


@pytest.mark.parametrize("elastic", [False, True])
def test_what_never_fails_takes_what_it_takes(elastic):
    failures = Failures(elastic=elastic, replicas=2)
    assert expected_committed_s(10.0, failures) == 10.0
    assert committed_s(np.full(3, 10.0), failures, Streams(seed=1).of("f")).tolist() == [10.0] * 3


def test_more_parts_longer_restarts_and_rarer_checkpoints_cost_more():
    base = expected_committed_s(10.0, failing(mtbf_s=5000.0))
    assert expected_committed_s(10.0, failing(mtbf_s=5000.0, chips=2)) > base
    assert expected_committed_s(10.0, failing(mtbf_s=5000.0, restart_s=1.0)) > base
    assert expected_committed_s(10.0, failing(mtbf_s=5000.0, checkpoint_steps=2)) > base


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"mtbf_s": 0.0}, "above 0"),
        ({"restart_s": -1.0}, "at least 0"),
        ({"checkpoint_steps": 0}, "at least 1"),
        ({"elastic": True}, "2 or more, or not elastic"),
    ],
)
def test_failures_that_cannot_be_are_refused(given, says):
    with pytest.raises(MisfortuneError, match=says):
        failing(**given)


def test_failures_that_no_step_survives_are_refused_and_not_waited_for():
    with pytest.raises(MisfortuneError, match="hardly ever pass"):
        committed_s(np.array([10.0]), failing(checkpoint_steps=1000), Streams(seed=1).of("f"))
    with pytest.raises(MisfortuneError, match="rarer failures"):
        expected_committed_s(10.0, failing(checkpoint_steps=1000))


def step(stages=2):
    block = BlockSpec(
        name="block", repeat=3, forward_ps=100, backward_ps=200, forward_tensor_ps=10, backward_tensor_ps=20
    )
    stage = StageSpec(name="s", chunks=((block,),), reduce_after_ps=1000, optimizer_ps=5, update_gather_ps=50)
    return StepSpec(stages=(stage,) * stages, micro_batches=4, gradient_mode="after", send_ps=7)


def test_a_degraded_link_multiplies_what_crosses_it_and_nothing_else():
    hurt = degraded(step(), [Degraded(axis="data", factor=2.0, stage=1), Degraded(axis="pipeline", factor=3.0)])
    assert hurt.stages[0] == step().stages[0]
    assert (hurt.stages[1].reduce_after_ps, hurt.stages[1].update_gather_ps) == (2000, 100)
    assert hurt.stages[1].chunks == step().stages[1].chunks
    assert hurt.send_ps == 21


@pytest.mark.parametrize("axis", AXES)
def test_a_degraded_link_makes_the_step_longer_and_a_sound_one_leaves_it(axis):
    calm = simulate(step()).total_ps
    assert simulate(degraded(step(), [Degraded(axis=axis, factor=2.0)])).total_ps > calm
    assert degraded(step(), [Degraded(axis=axis, factor=1.0)]) == step()
    twice = [Degraded(axis=axis, factor=2.0), Degraded(axis=axis, factor=1.5)]
    assert degraded(step(), twice) == degraded(step(), twice[:1])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"axis": "network", "factor": 2.0}, "legal: tensor, data, pipeline"),
        ({"axis": "data", "factor": 0.5}, "legal: 1 or more"),
        ({"axis": "pipeline", "factor": 2.0, "stage": 1}, "without a stage"),
    ],
)
def test_a_link_that_cannot_be_is_refused(given, says):
    with pytest.raises(MisfortuneError, match=says):
        Degraded(**given)


def test_a_stage_that_is_not_there_is_refused():
    with pytest.raises(MisfortuneError, match="legal: 0 to 1"):
        degraded(step(), [Degraded(axis="data", factor=2.0, stage=2)])
