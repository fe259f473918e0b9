"""How fast the event engine is, against the smallest SimPy program on the same machine a moment before or after.

Not part of the tests: ``python -m pytest tests/benchmarks/test_events_speed.py -q -s``. A second stands for what the
smallest SimPy program, a process that does nothing but wait, does in it: `WAITS_A_SECOND` on the machine the limits
were set on. What is printed is the result.
"""

import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import simpy

from simulator.analytic import batch
from simulator.calibration_data import load_constants
from simulator.collectives.flat_ring import seconds as ring_s
from simulator.contention import contention_of, grid_of
from simulator.events import Grid, Surroundings, find_roles, simulate
from simulator.lowering import lower
from simulator.planner import resolve
from simulator.query import PlanQuery
from simulator.schedules import SCHEDULES
from simulator.search import legal
from simulator.stepspec import BlockSpec, StageSpec, StepSpec

from .test_speed import seconds, waits_only

WAITS_A_SECOND = 1_000_000


def in_seconds(cpu_s):
    """CPU time as seconds of a machine that does `WAITS_A_SECOND`."""
    waits = 200_000
    smallest_s, _ = seconds(lambda: waits_only(8, waits // 8), repeat=3)
    return cpu_s * waits / smallest_s / WAITS_A_SECOND


@cache
def gpt3(dp=16, pp=8, virtual_stages=1):
    """GPT-3 175B in 96 micro-batches of 1: what is priced, and where it runs."""
    chips, batch_size = 8 * pp * dp, 96 * dp
    pins = (("tp", 8), ("pp", pp), ("micro_batch", 1), ("virtual_stages", virtual_stages), ("recompute", "full"))
    job = resolve(PlanQuery(model="gpt3-175b", system="selene", chips=1024, global_batch=1536, fixed=pins))
    found = legal(job.workload, job.context.cluster, job.context.stack, chips, batch_size, dict(pins))
    lowered = lower(job.workload, job.context, [found.parallelism(0)])
    return lowered, batch(lowered, load_constants(), contention=False).spec(0)


def orders(spec):
    """Every rank's passes in order: (length, what it waits for, what it sets off), worked out beforehand."""
    stages, top = len(spec.stages), len(spec.stages) * spec.virtual_stages - 1
    found = []
    for rank in range(stages):
        passes = []
        for task in SCHEDULES[spec.schedule].order(rank, stages, spec.micro_batches, spec.virtual_stages):
            here = task.chunk * stages + rank
            ahead = 1 if task.kind == "forward" else -1
            source, target = here - ahead, here + ahead
            blocks = spec.stages[rank].chunks[task.chunk]
            work = sum(b.repeat * getattr(b, f"{task.kind}{part}_ps") for b in blocks for part in ("", "_tensor"))
            work += spec.send_ps if 0 <= target <= top else 0
            passes.append(
                (
                    work,
                    (task.kind, task.micro_batch, here) if 0 <= source <= top else None,
                    (task.kind, task.micro_batch, target) if 0 <= target <= top else None,
                )
            )
        found.append(passes)
    return found


def same_waits(passes_of):
    """The smallest SimPy program that does the same waits: an event for each arrival, a timeout for each pass."""
    env, arrived = simpy.Environment(), {}

    def arrival(key):
        if key not in arrived:
            arrived[key] = env.event()
        return arrived[key]

    def rank(passes):
        for work, source, target in passes:
            if source is not None:
                yield arrival(source)
            yield env.timeout(work)
            if target is not None:
                arrival(target).succeed()

    for passes in passes_of:
        env.process(rank(passes))
    env.run()
    return env.now


@pytest.mark.parametrize(("pp", "virtual_stages"), [(8, 1), (16, 1), (8, 12)])
def test_tasks_a_second_within_twice_the_smallest_program_of_the_same_waits(pp, virtual_stages):
    _, spec = gpt3(pp=pp, dp=1024 // 8 // pp, virtual_stages=virtual_stages)
    passes = orders(spec)
    events_s, step = seconds(lambda: simulate(spec), repeat=7)
    smallest_s, end_ps = seconds(lambda: same_waits(passes), repeat=7)
    count = sum(map(len, passes))
    print(f"\n{count:,} passes, {spec.schedule}: {count / events_s:,.0f} a second, {events_s / smallest_s:.2f} times")
    # The two programs do the same: the passes of the step end when the small one's do.
    assert end_ps == step.total_ps - step.fixed_ps - step.data_ps - step.optimizer_ps
    assert events_s < 2.0 * smallest_s


def test_gpt_3_on_1024_chips_layer_by_layer():
    lowered, spec = gpt3()
    around = Surroundings(
        roles=find_roles(grid_of(lowered, 0)), contention=contention_of(lowered, 0, spec, load_constants())
    )
    folded_s, _ = seconds(lambda: simulate(spec, around), repeat=3)
    layers = 2 * spec.micro_batches * sum(b.repeat for stage in spec.stages for b in stage.blocks)
    print(f"\n{layers:,} layer passes: {in_seconds(folded_s):.2f} s")
    assert in_seconds(folded_s) < 1.0


def test_100000_chips_folded():
    _, spec = gpt3()
    around = Surroundings(roles=find_roles(Grid(stages=8, replicas=1563, inner=8)))
    folded_s, _ = seconds(lambda: simulate(spec, around), repeat=3)
    print(f"\n100,032 chips: {in_seconds(folded_s):.3f} s")
    assert in_seconds(folded_s) < 2.0


def test_cost_is_flat_in_chips_when_folded_and_linear_when_not():
    _, spec = gpt3()

    def cost(replicas, unfold):
        grid = Grid(stages=8, replicas=replicas, inner=8)
        return seconds(lambda: simulate(spec, Surroundings(roles=find_roles(grid, unfold=unfold))), repeat=3)[0]

    small, large = cost(1, False), cost(1563, False)
    few, many = cost(1, True), cost(4, True)
    print(f"\nfolded, 1,563 times the chips: {large / small:.2f} times; unfolded, 4 times the chips: {many / few:.2f}")
    assert large < 1.5 * small
    assert 2.0 < many / few < 8.0


def test_1024_ranks_one_by_one():
    program = (
        "import resource, time\n"
        "from tests.benchmarks.test_events_speed import gpt3\n"
        "from simulator.events import Grid, Surroundings, find_roles, simulate\n"
        "_, spec = gpt3()\n"
        "begin = time.process_time()\n"
        "roles = find_roles(Grid(stages=8, replicas=16, inner=8), unfold=True)\n"
        "unfolded = simulate(spec, Surroundings(roles=roles))\n"
        "print(time.process_time() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)\n"
        "assert unfolded == simulate(spec)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2]
    ).stdout.split()
    cpu_s, memory_byte = map(float, said)
    print(f"\n1,024 ranks unfolded: {in_seconds(cpu_s):.1f} s, {memory_byte / 1e9:.2f} GB")
    assert in_seconds(cpu_s) < 90
    assert memory_byte < 2e9


@pytest.mark.parametrize("chips", [8, 16, 32, 64, 128, 256, 512])
def test_a_data_parallel_job_on_a_ring(chips):
    # The job of tests/simulator/events/test_against_a_peer.py; the peer takes 59 s of CPU at 512 chips.
    exchange_s = float(
        ring_s("all_reduce", ranks=chips, message_byte=100_663_296, latency_s=500e-9, byte_per_s=50.0 * 2**30)
    )
    layer = BlockSpec(
        name="layer", repeat=24, forward_ps=2 * 10**9, backward_ps=4 * 10**9, reduce_ps=round(exchange_s * 1e12)
    )
    stage = StageSpec(name="all", chunks=((layer,),), optimizer_ps=10**9)
    spec = StepSpec(stages=(stage,), micro_batches=1, gradient_mode="backward")
    folded_s, step = seconds(lambda: simulate(spec), repeat=5)
    grid = Grid(stages=1, replicas=chips)
    unfolded_s, same = seconds(lambda: simulate(spec, Surroundings(roles=find_roles(grid, unfold=True))))
    assert same == step
    print(
        f"\n{chips} chips: step {step.total_s * 1e3:.3f} ms in {in_seconds(folded_s) * 1e3:.2f} ms, "
        f"every chip by itself in {in_seconds(unfolded_s):.3f} s"
    )
    assert in_seconds(folded_s) < 0.1
