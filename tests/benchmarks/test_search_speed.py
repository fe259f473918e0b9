"""How fast a search is: partition, memory and closed form of many strategies, against one strategy at a time.

Not part of the tests: ``python -m pytest tests/benchmarks -q -s``. The bound is a ratio of two things that ran on the
same machine a moment apart; the seconds that are printed are this machine's.
"""

import time

import numpy as np

from simulator.analytic import batch, step_times
from simulator.calibration_data import load_constants
from simulator.composition import bound
from simulator.lowering import lower, lower_columns
from simulator.memory import memory_byte
from simulator.parallelism import columns_of
from simulator.planner import resolve
from simulator.query import PlanQuery
from simulator.search import legal
from workloads.catalog import model

STRATEGIES = 20_000
SAMPLE = 60
CHIPS = 16_384
BATCHES = (122_880, 49_152, 16_384)


def seconds(work, repeat=1):
    """CPU time of the quickest of some runs, and the last result."""
    best, result = float("inf"), None
    for _ in range(repeat):
        begin = time.process_time()
        result = work()
        best = min(best, time.process_time() - begin)
    return best, result


def searched(jobs):
    """Every strategy of the jobs, cut to so many in all."""
    found, left = [], STRATEGIES
    for job in jobs:
        context = job.context
        all_of_it = legal(job.workload, context.cluster, context.stack, job.chips, job.query.global_batch)
        found.append(all_of_it.take(np.arange(min(len(all_of_it), left))))
        left -= len(found[-1])
    return found


def priced(job, columns, constants):
    """Memory and step time of strategies, from counts to picoseconds."""
    memory = memory_byte(job.workload, job.context, columns)
    return memory, step_times(batch(lower_columns(job.workload, job.context, columns), constants))


def test_twenty_thousand_strategies_of_gpt3_on_sixteen_thousand_chips():
    constants = load_constants()
    jobs = [
        resolve(PlanQuery(model="gpt3-175b", system="meta-24k-infiniband", stack="megatron-lm-2022", chips=CHIPS,
                          global_batch=size))
        for size in BATCHES
    ]  # fmt: skip
    legal_s, sets = seconds(lambda: searched(jobs), repeat=3)
    assert sum(map(len, sets)) == STRATEGIES
    # The first run is cold: no placement of a group of ranks has been looked up.
    pairs = list(zip(jobs, sets, strict=True))
    cold_s, results = seconds(lambda: [priced(j, s.columns, constants) for j, s in pairs])
    warm_s, _ = seconds(lambda: [priced(j, s.columns, constants) for j, s in pairs], repeat=3)

    chosen = np.linspace(0, len(sets[0]) - 1, SAMPLE).astype(int)
    job = jobs[0]

    def one_at_a_time():
        values = []
        for index in chosen:
            strategy = sets[0].parallelism(int(index))
            memory = memory_byte(job.workload, job.context, columns_of([strategy])).total_byte[0]
            step = batch(lower(job.workload, job.context, [strategy]), constants).spec(0)
            values.append((bound(step).total_ps, float(memory)))
        return values

    sample_s, values = seconds(one_at_a_time)
    memory, times = results[0]
    assert [value for value, _ in values] == times.total_ps[chosen].tolist()
    assert np.allclose([value for _, value in values], memory.total_byte[chosen], rtol=1e-12)
    ratio = (sample_s / SAMPLE) / ((legal_s + cold_s) / STRATEGIES)
    print(
        f"\n{STRATEGIES:,} strategies: found in {legal_s:.3f} s, memory and closed form in {cold_s:.3f} s cold, "
        f"{warm_s:.3f} s warm, {STRATEGIES / (legal_s + warm_s):,.0f} a second; "
        f"{ratio:,.0f} times as fast a strategy as one at a time"
    )
    assert ratio > 100


def test_a_network_of_hundreds_of_billions_is_built_sooner_than_one_strategy_of_it_is_priced():
    model("gpt3-175b")  # reads the catalogue
    lengths = iter((4096, 6144, 8192))  # of every length once: what was built is kept
    build_s, network = seconds(lambda: model("llama-3.1-405b", seq_len=next(lengths)), repeat=3)
    job = resolve(PlanQuery(model="llama-3.1-405b", system="meta-24k-roce", chips=CHIPS, global_batch=2048))
    constants = load_constants()
    strategy = legal(network, job.context.cluster, job.context.stack, CHIPS, 2048).parallelism(0)
    price_s, _ = seconds(lambda: batch(lower(network, job.context, [strategy]), constants).spec(0), repeat=3)
    print(f"\nLlama-3.1 405B: built in {1000 * build_s:.1f} ms, one strategy priced in {1000 * price_s:.1f} ms")
    assert build_s < 10 * price_s
