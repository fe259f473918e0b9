"""What decides between layouts: stages cut by cost, accumulation, exchanges in halves, a host that runs ahead."""

from dataclasses import replace

import numpy as np
import pytest

from simulator.cluster import system
from simulator.constants import Constants, key_of
from simulator.lowering import Context, lower, repeats_by_cost, stage_repeats
from simulator.parallelism import Parallelism
from simulator.partition import accumulation_byte
from simulator.pricing import price
from simulator.stack import stack, stack_ids
from simulator.traffic import traffic_of
from workloads.catalog import model
from workloads.optimizer import optimizer
from workloads.precision import recipe

BF16 = recipe("bf16_mixed")


def context(stack_id="nanotron", **changes):
    return Context(
        cluster=system("selene").cluster, stack=replace(stack(stack_id), **changes), recipe=BF16,
        optimizer=optimizer("adam"),
    )  # fmt: skip


def lowered(used, **layout):
    return lower(model("llama3-8b"), used, [Parallelism(**({"global_batch": 64} | layout))])


@pytest.mark.parametrize(
    ("blocks", "head", "pp", "expected"),
    [
        # The block that oversteps a stage's part stays on it: 11 of 16 with a head worth four, then 5 and the head.
        (16, 4.0, 2, (11, 0, 5)),
        (16, 4.0, 4, (6, 5, 0)),
        # A Llama 3 8B on eight stages: 5 4 4 5 4 4 4 2 and the head.
        (32, 2.207, 8, (5, 4, 2)),
        (32, 0.0, 8, (5, 4, 3)),
        (16, 4.0, 1, (16, 0, 0)),
    ],
)
def test_stages_filled_by_cost_hold_what_is_worked_out_by_hand(blocks, head, pp, expected):
    found = repeats_by_cost(np.array([1, blocks, 1]), np.array([0.0, 1.0, head]), np.array([pp]))
    assert tuple(found[0, :, 1]) == expected
    assert found[0, 0, 0] == 1
    assert found[0, 0 if pp == 1 else 2, 2] == 1


@pytest.mark.parametrize("pp", [2, 4, 8, 16])
@pytest.mark.parametrize("head", [0.5, 2.2, 4.0])
def test_a_cut_by_cost_is_never_slower_than_an_even_one(pp, head):
    repeats, cost = np.array([1, 32, 1]), np.array([0.0, 1.0, head])
    pace = [
        (cut(*arguments)[0] @ cost).max()
        for cut, arguments in (
            (repeats_by_cost, (repeats, cost, np.array([pp]))), (stage_repeats, (repeats, np.array([pp]))),
        )
    ]  # fmt: skip
    assert pace[0] <= pace[1] + 1.0


def test_accumulating_reads_and_writes_the_stored_gradient_and_that_of_a_pass():
    plain = stack("nanotron")
    assert accumulation_byte(replace(plain, gradient_byte=0.0, pass_gradient_byte=0.0), BF16) == 4.0
    assert accumulation_byte(replace(plain, gradient_byte=4.0, pass_gradient_byte=0.0), BF16) == 8.0
    assert accumulation_byte(replace(plain, gradient_byte=4.0, pass_gradient_byte=2.0), BF16) == 12.0
    assert accumulation_byte(plain, recipe("fp32")) == 8.0


@pytest.mark.parametrize("name", stack_ids())
def test_no_stack_accumulates_for_free(name):
    assert accumulation_byte(stack(name), BF16) >= 4.0


def test_sequence_parallel_sums_are_a_scatter_and_a_gather_and_count_the_steps_of_both_rings_outside_a_server():
    used = context()
    whole, parted = (traffic_of(lowered(used, tp=16, sequence_parallel=word)) for word in (False, True))
    assert np.all(parted.tensor_forward.seconds[whole.tensor_forward.seconds > 0] > 0)
    assert whole.tensor_forward.steps.tolist() == [0.0]
    assert parted.tensor_forward.steps.tolist() == [2 * 15.0]
    inside = traffic_of(lowered(used, tp=8, sequence_parallel=True))
    assert inside.tensor_forward.steps.tolist() == [0.0]


def test_every_step_of_a_ring_between_servers_adds_its_own_time():
    used = context()
    low = lowered(used, tp=16, sequence_parallel=True)
    key = key_of("step_s", used.cluster.out_fabric)
    few, many = (price(low, Constants(values={key: value})) for value in (1e-6, 11e-6))
    calls = low.forward_calls[low.shape]
    assert many.forward_tensor_s - few.forward_tensor_s == pytest.approx(calls * 30 * 10e-6)


def test_the_host_runs_ahead_while_the_device_exchanges():
    # So many calls that the host is the pace: exchanges that it hides under add nothing to a pass.
    used = context("megatron-lm-2022", host_s_per_launch=4e-3, tensor_overlap=False)
    totals = []
    for scale in (0.25, 0.5):
        own = Constants(values={key_of("exchange_scale", used.stack.id): scale})
        low = lowered(used, tp=4, sequence_parallel=True)
        priced = price(low, own)
        totals.append(np.sum((priced.forward_s + priced.forward_tensor_s) * low.repeats[low.shape]))
        assert np.all(priced.forward_tensor_s[low.forward_calls[low.shape] > 0] > 0)
    assert totals[1] == pytest.approx(totals[0], rel=1e-3)
