"""Steps beside input and checkpoints: the events against the closed forms, laws, and nothing lost."""

from dataclasses import replace

import numpy as np
import pytest

from simulator.events.run_steps import RunTimes, run_steps
from simulator.outcome.checkpoint import Checkpoints, checkpoint_times, slowed_step_s, stall_s
from simulator.outcome.input import InputWork, fed_step_s, input_times
from simulator.outcome.storage import FileSystem, Host, StorageError

HOST = Host(
    cores=40, copy_byte_per_s=40e9, card_byte_per_s=50e9, memory_byte=512e9, disk_read_byte_per_s=2e9,
    disk_write_byte_per_s=1e9,
)  # fmt: skip
SHARED = FileSystem(read_byte_per_s=100e9, write_byte_per_s=50e9, client_byte_per_s=5e9)
WORK = InputWork(stored_byte=100e3, prepared_byte=600e3, core_s=5e-3, batch=400, dataset_samples=10**9)
TICK_S = 1e-12


def steady_s(times: RunTimes) -> float:
    return float(times.step_s[len(times.step_s) // 2])


@pytest.mark.parametrize("prefetch", range(6))
@pytest.mark.parametrize("step_s", [0.0, 0.03, 0.06, 0.2])
@pytest.mark.parametrize("slow", ["disk", "cores", "link"])
def test_constant_times_give_the_closed_form_to_the_tick(prefetch, step_s, slow):
    host = {
        "disk": replace(HOST, disk_read_byte_per_s=0.5e9),
        "cores": HOST,
        "link": replace(HOST, copy_byte_per_s=3e9),
    }[slow]
    work = replace(WORK, prefetch=prefetch)
    run = run_steps(step_s, 60, host=host, input=work)
    want = fed_step_s(step_s, input_times(work, host), prefetch)
    # With few places two steps may share a cycle; their mean is the period.
    assert run.step_s[30:60].mean() == pytest.approx(want, abs=TICK_S)


@pytest.mark.parametrize("servers", [1, 4, 20, 32, 200])
def test_a_file_system_that_all_share_gives_the_closed_form(servers):
    run = run_steps(0.01, 40, host=HOST, file_system=SHARED, input=replace(WORK, core_s=0.0), servers=servers)
    want = fed_step_s(0.01, input_times(replace(WORK, core_s=0.0), HOST, SHARED, servers=servers), 2)
    assert steady_s(run) == pytest.approx(want, rel=1e-9)


def test_one_server_that_stands_for_all_is_all_of_them():
    for servers in (1, 3, 24):
        folded = run_steps(0.01, 20, host=HOST, file_system=SHARED, input=WORK, servers=servers)
        each = run_steps(0.01, 20, host=HOST, file_system=SHARED, input=WORK, servers=servers, spread=1e-13)
        assert folded.step_s == pytest.approx(each.step_s, abs=40 * TICK_S)


def test_the_second_epoch_does_not_read_what_is_cached():
    slow = replace(HOST, disk_read_byte_per_s=0.2e9)
    run = run_steps(0.06, 40, host=slow, input=replace(WORK, dataset_samples=20 * WORK.batch))
    assert run.step_s[10] == pytest.approx(input_times(WORK, slow).read_s)
    assert run.step_s[-1] == pytest.approx(0.06)


@pytest.mark.parametrize("seed", range(5))
def test_with_spread_a_run_is_never_faster_and_more_places_heal_it(seed):
    work = replace(WORK, core_s=4e-3)  # 0.04 s a batch, under the step
    runs = [
        run_steps(0.05, 120, host=HOST, input=replace(work, prefetch=k), spread=0.7, seed=seed)
        for k in (1, 2, 3, 4, 8, 16, 32)
    ]
    totals = [run.step_s.sum() for run in runs]
    assert totals == sorted(totals, reverse=True)
    assert totals[0] > 1.05 * totals[-1]
    # From the moment the first batch is there no step is shorter than its training.
    assert all((run.step_s - run.input_s >= 0.05 - TICK_S).all() for run in runs)
    assert runs[0].input_share > runs[-1].input_share


def test_the_slowest_of_many_servers_sets_the_pace():
    means = [
        run_steps(0.05, 60, host=HOST, input=replace(WORK, core_s=4e-3), servers=n, spread=0.5).step_s.mean()
        for n in (1, 4, 16)
    ]
    assert means == sorted(means)
    assert means[2] > means[0]


@pytest.mark.parametrize("mode", ["blocking", "asynchronous"])
@pytest.mark.parametrize("writers", ["all_ranks", "one_replica"])
@pytest.mark.parametrize("servers", [1, 8, 64])
def test_a_checkpoint_stalls_training_as_long_as_the_closed_form_says(mode, writers, servers):
    plan = Checkpoints(total_byte=5e11 * min(servers, 8) / 8, every=5, mode=mode, writers=writers, replicas=4)
    times = checkpoint_times(plan, "file_system", HOST, SHARED, servers=servers)
    run = run_steps(1.0, 20, host=HOST, file_system=SHARED, checkpoints=plan, servers=servers)
    stalls = run.checkpoint_s[4::5]
    assert stalls[0] == pytest.approx(stall_s(times, mode), rel=1e-9)
    assert stalls[1:] == pytest.approx([stall_s(times, mode, interval_s=5.0)] * 3, rel=1e-9)
    assert run.checkpoints == 4
    assert run.written_byte == pytest.approx(4 * plan.total_byte)
    assert run.tail_s == pytest.approx(times.write_s if mode == "asynchronous" else 0.0)


def test_levels_are_written_in_turn():
    plan = Checkpoints(total_byte=4e11, every=2, levels=(("memory", 1), ("partner", 2), ("file_system", 4)))
    run = run_steps(1.0, 16, host=HOST, file_system=SHARED, checkpoints=plan, servers=8)
    want = [
        stall_s(checkpoint_times(plan, level, HOST, SHARED, servers=8), "blocking")
        for level in ("memory", "partner", "memory", "file_system") * 2
    ]
    assert run.checkpoint_s[1::2] == pytest.approx(want)


def test_steps_beside_a_write_over_the_same_cards_are_slower_by_the_closed_form():
    narrow = replace(HOST, card_byte_per_s=10e9)
    plan = Checkpoints(total_byte=4e11, every=10, mode="asynchronous")
    run = run_steps(1.0, 20, host=narrow, file_system=SHARED, checkpoints=plan, servers=1, card_share=0.9)
    # 5 of 10 GB/s go to the write; training gets the other half for the 0.9 that it wants.
    assert run.train_s[10] == pytest.approx(slowed_step_s(1.0, 0.9, 0.5))
    assert run.train_s[0] == 1.0
    apart = replace(SHARED, over_cards=False)
    free = run_steps(1.0, 20, host=narrow, file_system=apart, checkpoints=plan, servers=1, card_share=0.9)
    assert (free.train_s == 1.0).all()


def test_parts_add_up_to_the_steps_and_the_steps_to_the_run():
    plan = Checkpoints(total_byte=1e11, every=3)
    run = run_steps(
        np.linspace(0.01, 0.1, 30), host=HOST, file_system=SHARED, input=WORK, checkpoints=plan, servers=3, spread=0.4
    )
    assert run.step_s == pytest.approx(run.input_s + run.train_s + run.checkpoint_s, abs=TICK_S)
    assert min(run.input_s.min(), run.checkpoint_s.min()) >= 0
    assert run.total_s == pytest.approx(run.step_s.sum() + run.tail_s)
    assert run.percentile_s(50) <= run.percentile_s(95) <= run.step_s.max()
    assert 0 < run.input_share < 1
    assert 0 < run.checkpoint_share < 1


def test_without_input_and_checkpoints_a_step_is_a_step():
    assert (run_steps(0.123456789012, 5, host=HOST, servers=7).step_s == 0.123456789012).all()


def test_the_same_seed_gives_the_same_run_and_another_does_not():
    def run(seed):
        return run_steps(0.05, 30, host=HOST, input=WORK, spread=0.5, servers=3, seed=seed).step_s

    assert (run(1) == run(1)).all()
    assert (run(1) != run(2)).any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 0}, "0 steps"),
        ({"servers": 0}, "0 servers"),
        ({"card_share": 1.5}, "card_share 1.5"),
        ({"steps": 10**7}, "at most"),
        ({"checkpoints": Checkpoints(total_byte=1.0, every=1)}, "nothing to write to"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(options, words):
    with pytest.raises(StorageError, match=words) as caught:
        run_steps(0.1, **{"steps": 3, "host": HOST, **options})
    assert "\n" not in str(caught.value)
