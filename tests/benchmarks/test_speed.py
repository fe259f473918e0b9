"""How fast the program is, against something that ran on the same machine a moment before or after.

Not part of the tests: ``python -m pytest tests/benchmarks -q -s``. Every figure is a ratio, so that a slow or busy
machine changes none; bounds are loose, and what is printed is the result.
"""

import os
import resource
import subprocess
import sys
import time

import pytest
import simpy

from simulator.analytic import batch
from simulator.calibration_data import load_constants
from simulator.events import simulate
from simulator.kernel_calibration import load_kernels
from simulator.kernels.settings import Settings
from simulator.lowering import lower
from simulator.planner import resolve
from simulator.query import PlanQuery
from simulator.search import legal
from simulator.validation.kernel_rows import resolve_kernel
from simulator.validation.kernel_selection import shipped_kernels
from simulator.validation.kernel_suites import FAMILIES
from simulator.validation.kernel_suites.family import RowError

STRATEGIES = 20_000
SAMPLE = 60


def seconds(work, repeat=1):
    """CPU time of the quickest of some runs, and the last result."""
    best, result = float("inf"), None
    for _ in range(repeat):
        begin = time.process_time()
        result = work()
        best = min(best, time.process_time() - begin)
    return best, result


def waits_only(stages, waits):
    """The smallest SimPy program that does the same waits: every stage one process, one wait for each pass."""
    env = simpy.Environment()

    def stage():
        for _ in range(waits):
            yield env.timeout(7)

    for _ in range(stages):
        env.process(stage())
    env.run()
    return env.now


@pytest.mark.parametrize(("pp", "virtual_stages"), [(16, 1), (8, 12)])
def test_events_against_the_smallest_simpy_program(pp, virtual_stages):
    pins = (("tp", 8), ("pp", pp), ("micro_batch", 1), ("virtual_stages", virtual_stages), ("recompute", "full"))
    job = resolve(PlanQuery(model="gpt3-175b", system="selene", chips=1024, global_batch=1536, fixed=pins))
    found = legal(job.workload, job.context.cluster, job.context.stack, 1024, 1536, dict(pins))
    spec = batch(lower(job.workload, job.context, [found.parallelism(0)]), load_constants()).spec(0)
    waits = 2 * spec.micro_batches * spec.virtual_stages
    events_s, _ = seconds(lambda: simulate(spec), repeat=3)
    smallest_s, _ = seconds(lambda: waits_only(len(spec.stages), waits), repeat=3)
    ratio = events_s / smallest_s
    print(f"\n{len(spec.stages) * waits:,} passes, {spec.schedule}: {ratio:.2f} times the smallest program")
    assert ratio < 6


def cpu_of(*command):
    """CPU time of the quickest of five runs of a program [s]."""
    best = float("inf")
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""})
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return best


def test_help_against_importing_click():
    # The program's first page may cost little more than the library that prints it: nothing heavy is imported for it.
    help_s = cpu_of(sys.executable, "-c", "from simulator.cli import main; main()", "--help")
    click_s = cpu_of(sys.executable, "-c", "import click")
    print(f"\ntrainyard --help: {help_s / click_s:.2f} times the CPU time of `import click`")
    assert help_s < 2.5 * click_s


@pytest.mark.parametrize("family", FAMILIES)
def test_many_kernels_at_once_against_one_at_a_time(family):
    entry, constants = FAMILIES[family], load_kernels().constants[family]
    rows, jobs = [], []
    for row in shipped_kernels():
        try:
            job = resolve_kernel(row, FAMILIES)
        except RowError:
            continue
        if job.family == family:
            rows.append(row)
            jobs.append(job.settings[0])
    many = (rows * (4096 // len(rows) + 1))[:4096]
    settings = Settings.of((jobs * (4096 // len(jobs) + 1))[:4096])
    shapes, values = entry.read(many), constants.rows(settings)
    together, _ = seconds(lambda: entry.observed_s(shapes, settings, values), repeat=7)
    single = Settings.of(jobs[:1])
    one_shape, one_value = entry.read(rows[:1]), constants.rows(single)
    alone, _ = seconds(lambda: [entry.observed_s(one_shape, single, one_value) for _ in range(20)], repeat=3)
    ratio = (alone / 20) / (together / len(many))
    print(f"\n{family}: {len(many) / together:,.0f} kernels a second, {ratio:,.0f} times as many as one at a time")
    assert ratio > 20
