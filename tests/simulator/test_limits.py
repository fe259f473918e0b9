"""Laws that hold for every chip, every stack and every layout: limits, monotony, scaling."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from simulator.analytic import StepTimes, batch, evaluate, step_times
from simulator.cluster import Cluster, system, system_ids
from simulator.collectives.library_specs import SPECS as LIBRARY_SPECS
from simulator.constants import SPECS, Constants, key_of
from simulator.defaults import software
from simulator.kernels.kernel_constants import KernelConstants
from simulator.kernels.optable import LOSSES, REPLAY
from simulator.lowering import Context, Lowered, lower
from simulator.parallelism import Parallelism
from simulator.stack import stack_ids
from simulator.stepspec import PARTS, PICOSECONDS_PER_SECOND
from simulator.utilisation import utilisation
from workloads.catalog import model
from workloads.transformer import bert, transformer
from workloads.workload import Workload

MODELS = {
    "gpt": transformer(name="gpt small", layers=8, hidden=1024, heads=16, vocab=51200, seq_len=1024),
    "llama": transformer(
        name="llama small", layers=8, hidden=1024, heads=16, kv_heads=4, ffn=2816, vocab=32000, seq_len=2048,
        activation="swiglu", norm="rmsnorm", positions="rotary", tied_embeddings=False, biases=False, dropout=False,
    ),
    "bert": bert(name="bert small", layers=8, hidden=768, heads=16, seq_len=128),
    "resnet": model("ResNet-50"),
}  # fmt: skip

LAYOUTS = tuple(
    Parallelism(global_batch=64, **layout)
    for layout in (
        {}, {"micro_batch": 8}, {"dp": 4}, {"dp": 16, "micro_batch": 2}, {"dp": 8, "sharding": "zero1"},
        {"dp": 8, "sharding": "zero2", "micro_batch": 4}, {"dp": 32, "sharding": "zero3", "recompute": "full"},
        {"tp": 4, "dp": 2, "micro_batch": 4}, {"tp": 2, "cp": 2, "dp": 4},
        {"tp": 4, "cp": 8, "dp": 2, "recompute": "full"},
        {"tp": 8, "pp": 2, "sequence_parallel": True}, {"pp": 4, "dp": 4, "micro_batch": 2},
        {"tp": 8, "pp": 3, "dp": 2, "recompute": "selective"}, {"pp": 8, "schedule": "gpipe", "micro_batch": 2},
        {"tp": 2, "pp": 2, "dp": 2, "schedule": "interleaved", "virtual_stages": 2, "recompute": "selective"},
        {"tp": 8, "pp": 4, "dp": 2, "sharding": "zero1", "schedule": "interleaved", "virtual_stages": 2},
    )
)  # fmt: skip


#: A library that starts at once and loses nothing on its wires: shares and rates of channels, nothing of all else.
INSTANT = KernelConstants(
    specs={
        name: replace(spec, prior=value, low=value, high=value)
        for name, spec in LIBRARY_SPECS.items()
        for value in [1.0 if name.endswith("_share") else 1e30 if spec.unit == "B/s" else 1e-300]
    }
)


@pytest.fixture
def instant_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.traffic.library_constants", lambda: INSTANT)


def layouts(workload: Workload, cluster: Cluster) -> list[Parallelism]:
    """Those that the system has the chips for; convolutional networks are cut by data only."""
    return [
        s for s in LAYOUTS if s.chips <= cluster.max_chips and (workload.family != "convnet" or s.chips == s.dp)
    ]  # fmt: skip


def context(workload: Workload, cluster: Cluster, stack_id: str = "") -> Context:
    used = software(workload, cluster.chip, stack_id=stack_id)
    return Context(cluster=cluster, stack=used.stack, recipe=used.recipe, optimizer=used.optimizer)


def captured(asked: Context) -> Context:
    """The same without a host that could be late, nor stalls that follow from it."""
    stack = replace(asked.stack, graph_capture=True, pipelined_call_host_s=0.0, pipeline_stall_s=0.0)
    return replace(asked, stack=stack)


def cases() -> Iterator[tuple[str, str]]:
    """Every stack once and every system with its usual stack; the models in turn."""
    systems, names = system_ids(), list(MODELS)
    for turn, stack_id in enumerate(stack_ids()):
        yield systems[turn % len(systems)], stack_id
    for name in systems:
        for _ in names:
            yield name, ""


CASES = [(*case, list(MODELS)[turn % len(MODELS)]) for turn, case in enumerate(cases())]


@pytest.mark.parametrize(("system_id", "stack_id", "name"), CASES)
def test_every_step_is_as_long_as_its_parts_and_none_is_negative(system_id: str, stack_id: str, name: str) -> None:
    workload = MODELS[name]
    used = context(workload, system(system_id).cluster, stack_id)
    times = evaluate(lower(workload, used, layouts(workload, used.cluster)), Constants())
    parts = [getattr(times, f"{part}_ps") for part in PARTS]
    assert all(np.all(part >= 0) for part in parts)
    assert np.array_equal(times.total_ps, np.sum(parts, axis=0))
    assert np.all(times.compute_ps > 0)
    assert times[0].total_ps == times.total_ps[0]


@pytest.mark.usefixtures("instant_library")
@pytest.mark.parametrize(("system_id", "stack_id", "name"), CASES)
def test_one_chip_communicates_nothing_and_perfect_wires_leave_nothing_to_wait_for(
    system_id: str, stack_id: str, name: str
) -> None:
    workload, cluster = MODELS[name], system(system_id).cluster
    perfect = replace(
        cluster, up_byte_per_s=tuple(1e30 for _ in cluster.up_byte_per_s), out_byte_per_s=1e30
    )  # fmt: skip
    used = captured(context(workload, perfect, stack_id))
    free = Constants(values={"call_s": 0.0, key_of("step_s", perfect.out_fabric): 0.0})
    times = evaluate(lower(workload, used, layouts(workload, used.cluster)), free)
    for part in ("tensor", "pipeline", "data"):
        # A tenth of the least latency of anything: wires that no byte of a group passes are 1e18 B/s, not endless.
        assert np.all(getattr(times, f"{part}_ps") < 1e-7 * PICOSECONDS_PER_SECOND), part
    alone = lower(workload, context(workload, cluster, stack_id), [Parallelism(global_batch=8, micro_batch=8)])
    waits = evaluate(alone, Constants())
    for part in ("tensor", "pipeline", "data", "bubble"):
        assert not getattr(waits, f"{part}_ps").any(), part


@pytest.mark.parametrize(("system_id", "stack_id", "name"), CASES)
def test_no_step_is_shorter_than_its_chips_at_their_peak(system_id: str, stack_id: str, name: str) -> None:
    workload = MODELS[name]
    used = context(workload, system(system_id).cluster, stack_id)
    lowered = lower(workload, used, layouts(workload, used.cluster))
    times = evaluate(lowered, Constants())
    peak = used.cluster.chip.peak(used.recipe.matmul)
    # Winograd's algorithm does 3 x 3 convolutions with fewer products than are counted.
    executed = lowered.table.flop + np.minimum(lowered.table.lost[:, LOSSES.index("algorithm")], 0.0)
    counted = np.where(lowered.table.phase == REPLAY, 0.0, executed)
    per_shape = np.zeros((len(lowered.shape_context), len(workload.layers)))
    np.add.at(per_shape, (lowered.table.shape, lowered.table.block), counted)
    stage = np.einsum("srg,sg->sr", lowered.repeat.astype(float), per_shape[lowered.shape])
    assert np.all(times.total_s * peak >= lowered.micro_batches * np.max(stage, axis=1))
    if workload.family == "transformer":
        for index, layout in enumerate(layouts(workload, used.cluster)):
            used_share = utilisation(
                workload, global_batch=64, step_s=float(times.total_s[index]), peak_flop_per_s=peak,
                chips=layout.chips, recompute=layout.recompute, fused=used.stack.attention == "fused",
            )  # fmt: skip
            assert 0.0 < used_share.mfu <= used_share.hfu < 1.0


@pytest.mark.parametrize("name", MODELS)
def test_endless_rates_leave_the_ramps_of_the_kernels(name: str) -> None:
    workload, cluster = MODELS[name], system("selene").cluster
    chip = replace(
        cluster.chip, peak_flop_per_s=dict.fromkeys(cluster.chip.peak_flop_per_s, 1e30),
        memory_bandwidth_byte_per_s=1e30, clock_hz=1e30, tdp_w=1e30,
    )  # fmt: skip
    used = captured(context(workload, replace(cluster, chip=chip)))
    lowered = lower(workload, used, [Parallelism(global_batch=4, micro_batch=4)])
    times = evaluate(lowered, Constants())
    table = lowered.table
    launches = np.sum((table.launches * lowered.repeats[0][table.block])[table.phase != REPLAY])
    assert times.total_s[0] == pytest.approx(launches * SPECS["kernel_ramp_s"].prior)


@pytest.mark.usefixtures("instant_library")
@pytest.mark.parametrize(("system_id", "stack_id", "name"), CASES[::3])
def test_twice_the_work_at_twice_the_rates_takes_as_long(system_id: str, stack_id: str, name: str) -> None:
    workload, cluster = MODELS[name], system(system_id).cluster
    used = captured(context(workload, cluster, stack_id))
    instant = Constants(values={"call_s": 0.0, "kernel_ramp_s": 0.0, key_of("step_s", cluster.out_fabric): 0.0})
    lowered = lower(workload, used, layouts(workload, used.cluster))
    chip = used.cluster.chip
    faster = replace(
        used.cluster,
        chip=replace(
            chip,
            peak_flop_per_s={word: 2.0 * peak for word, peak in chip.peak_flop_per_s.items()},
            memory_bandwidth_byte_per_s=2.0 * chip.memory_bandwidth_byte_per_s,
        ),
        up_byte_per_s=tuple(2.0 * rate for rate in used.cluster.up_byte_per_s),
        out_byte_per_s=2.0 * used.cluster.out_byte_per_s,
    )
    table = lowered.table
    names = ("forward_byte", "backward_byte", "context_byte", "boundary_byte", "parameters", "shared_parameters")
    doubled = replace(
        lowered,
        contexts=(replace(used, cluster=faster, stack=replace(used.stack, bucket_byte=2.0 * used.stack.bucket_byte)),),
        table=replace(table, work=2.0 * table.work, lost=2.0 * table.lost, byte=2.0 * table.byte),
        **{field: 2.0 * getattr(lowered, field) for field in names},
    )
    in_flight = {"elements_per_clock": 2.0 * instant.get("elements_per_clock")}
    twice = replace(instant, values={**instant.values, **in_flight})
    assert np.array_equal(evaluate(doubled, twice).total_ps, evaluate(lowered, instant).total_ps)


#: Rates that a perturbation may raise (times: divide): of the chip, of the wires, of the constants.
RATES = (
    "peak_flop_per_s", "memory_bandwidth_byte_per_s", "up_byte_per_s", "out_byte_per_s", "call_s", "wire_scale",
    "step_s", "exchange_scale", "attention_fraction", "attention_backward_fraction", "plain_conv_fraction",
    "matrix_fraction", "plain_fraction", "conv_fraction", "memory_fraction",
)  # fmt: skip
#: Constants that are times.
TIMES = ("call_s", "step_s", "wire_scale", "exchange_scale")


def with_more(used: Context, rate: str, factor: float) -> tuple[Context, Constants]:
    """The context and constants with one rate times `factor`."""
    cluster, chip = used.cluster, used.cluster.chip
    if rate in SPECS:
        scope = SPECS[rate].scope
        owner = {"fabric": cluster.up_fabric, "stack": used.stack.id, "chip": chip.architecture}.get(scope)
        key = rate if scope == "global" else f"{scope}:{owner}:{rate}"
        return used, Constants(values={key: SPECS[rate].prior * (1.0 / factor if rate in TIMES else factor)})
    if rate == "peak_flop_per_s":
        chip = replace(chip, peak_flop_per_s={word: peak * factor for word, peak in chip.peak_flop_per_s.items()})
    elif rate == "memory_bandwidth_byte_per_s":
        chip = replace(chip, memory_bandwidth_byte_per_s=chip.memory_bandwidth_byte_per_s * factor)
    elif rate == "up_byte_per_s":
        cluster = replace(cluster, up_byte_per_s=tuple(value * factor for value in cluster.up_byte_per_s))
    else:
        assert rate == "out_byte_per_s"
        cluster = replace(cluster, out_byte_per_s=cluster.out_byte_per_s * factor)
    return replace(used, cluster=replace(cluster, chip=chip)), Constants()


def perturbed(*, seed: int, times: int, with_host: bool) -> Iterator[tuple[str, str, Lowered, StepTimes, StepTimes]]:
    """(what was raised, on what, the job, its step times before and after)."""
    chance = random.Random(seed)
    for _ in range(times // 10):
        system_id, stack_id, name = chance.choice(CASES)
        workload = MODELS[name]
        used = context(workload, system(system_id).cluster, stack_id)
        used = used if with_host else captured(used)
        lowered = lower(workload, used, layouts(workload, used.cluster))
        before = evaluate(lowered, Constants())
        for _ in range(10):
            rate, factor = chance.choice(RATES), chance.uniform(1.0, 4.0)
            changed, constants = with_more(used, rate, factor)
            after = evaluate(replace(lowered, contexts=(changed,)), constants)
            yield f"{rate} x {factor:.2f}", f"{name} on {system_id} with {stack_id}", lowered, before, after


def test_more_of_any_rate_never_slows_a_step() -> None:
    checked = 0
    for what, where, lowered, before, after in perturbed(seed=20, times=250, with_host=False):
        # A duration is rounded to a picosecond once and then taken as often as there are blocks and micro-batches.
        rounded = 20 * lowered.micro_batches * np.max(lowered.repeats)
        slower = np.flatnonzero(after.total_ps > before.total_ps + rounded)
        assert not len(slower), f"{what} slows {where}: strategy {slower[0]}"
        checked += 1
    assert checked == 250


def test_more_of_any_rate_slows_a_step_by_a_seventh_at_most_where_the_host_is_late() -> None:
    # The host's lateness is spread over all blocks of a pass by their device time: where one block gets faster the
    # others are given more of it, and those may be the stage that sets the pace.
    for what, where, _, before, after in perturbed(seed=21, times=100, with_host=True):
        assert np.all(after.total_ps <= before.total_ps * 1.15), f"{what} slows {where}"


@pytest.mark.parametrize("name", ["gpt", "resnet"])
def test_more_chips_of_the_same_kind_take_longer_for_the_same_work_each(name: str) -> None:
    workload = MODELS[name]
    used = context(workload, system("selene").cluster)
    weak = [Parallelism(dp=dp, micro_batch=4, global_batch=4 * dp) for dp in (1, 2, 4, 8, 16, 64, 256)]
    step = evaluate(lower(workload, used, weak), Constants()).total_ps
    assert np.all(np.diff(step) >= 0)


def test_a_batch_of_steps_is_priced_once_and_composed_as_evaluate_does() -> None:
    workload = MODELS["gpt"]
    used = context(workload, system("selene").cluster)
    lowered = lower(workload, used, layouts(workload, used.cluster))
    assert np.array_equal(step_times(batch(lowered, Constants())).total_ps, evaluate(lowered, Constants()).total_ps)
