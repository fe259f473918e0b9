"""Pipelines of networks whose layers are not alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simulator.analytic import batch, step_times
from simulator.calibration_data import load
from simulator.cluster import system
from simulator.composition import bound
from simulator.events import simulate
from simulator.lowering import Context, join, lower
from simulator.parallelism import Parallelism
from simulator.stack import stack
from simulator.staging import is_one_run, single_layers, staged
from workloads.catalog import model
from workloads.optimizer import optimizer
from workloads.precision import recipe


def context() -> Context:
    return Context(
        cluster=system("dgx1-v100").cluster, stack=stack("pytorch-2018"), recipe=recipe("fp16_mixed"),
        optimizer=optimizer("momentum"),
    )  # fmt: skip


def strategies(*stages: int) -> list[Parallelism]:
    return [Parallelism(pp=pp, global_batch=64, micro_batch=8) for pp in stages]


@pytest.mark.parametrize("name", ["gpt3-175b", "bert-large", "llama-3-8b", "deepseek-v3-671b"])
def test_runs_of_like_blocks_are_cut_evenly(name: str) -> None:
    workload = model(name)
    assert is_one_run(workload)
    lowered = lower(workload, context(), strategies(4))
    assert staged(workload, lowered) is lowered


@pytest.mark.parametrize("name", ["vgg16", "resnet152", "inception-v3", "t5-11b", "alexnet"])
def test_other_networks_are_cut_by_cost_and_nothing_is_lost(name: str) -> None:
    workload = model(name)
    assert not is_one_run(workload)
    lowered = staged(workload, lower(workload, context(), strategies(1, 2, 4)))
    assert sorted(lowered.stage_layers) == [1, 2]
    for layers in lowered.stage_layers.values():
        assert layers.reshape(-1, layers.shape[-1]).sum(axis=0).tolist() == [layer.repeat for layer in workload.layers]
        assert np.all(layers.sum(axis=(1, 2)) >= 1)


@pytest.mark.parametrize("name", ["vgg16", "resnet152"])
def test_balance_beats_the_even_cut_and_the_engines_agree(name: str) -> None:
    workload, constants = model(name), load().constants
    even = lower(workload, context(), strategies(4))
    cut = staged(workload, even)
    before, after = (step_times(batch(low, constants)).total_ps[0] for low in (even, cut))
    assert after < 0.8 * before
    spec = batch(cut, constants).spec(0)
    assert bound(spec).total_ps == after == simulate(spec).total_ps


def test_stages_keep_their_strategy_when_jobs_are_joined() -> None:
    vgg, bert = model("vgg16"), model("bert-large")
    first = lower(bert, context(), strategies(1, 2))
    both = join([first, staged(vgg, lower(vgg, context(), strategies(2, 4)))])
    assert sorted(both.stage_layers) == [2, 3]
    constants = load().constants
    alone = step_times(batch(staged(vgg, lower(vgg, context(), strategies(4))), constants)).total_ps[0]
    assert step_times(batch(both, constants)).total_ps[3] == alone


def test_more_stages_than_layers_are_refused() -> None:
    workload = model("alexnet")
    many = single_layers(workload) + 1
    lowered = lower(workload, context(), strategies(2))
    with pytest.raises(ValueError, match="every chunk holds one"):
        staged(workload, replace(lowered, pp=np.array([many])))
