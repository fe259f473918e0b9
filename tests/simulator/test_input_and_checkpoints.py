"""The closed forms of input and checkpoints: limits, laws, and a page cache replayed read by read."""

import random
from collections import OrderedDict
from dataclasses import replace

import pytest

from simulator.outcome.checkpoint import (
    LEVELS,
    Checkpoints,
    checkpoint_byte,
    checkpoint_times,
    slowed_step_s,
    stall_s,
)
from simulator.outcome.input import (
    IMAGE_CORE_S,
    IMAGENET_BYTE,
    InputWork,
    fed_step_s,
    hit_share,
    input_times,
    lru_hits,
)
from simulator.outcome.storage import FileSystem, Host, StorageError

HOST = Host(
    cores=40, copy_byte_per_s=40e9, card_byte_per_s=50e9, memory_byte=512e9, disk_read_byte_per_s=2e9,
    disk_write_byte_per_s=1e9,
)  # fmt: skip
SHARED = FileSystem(read_byte_per_s=100e9, write_byte_per_s=50e9, client_byte_per_s=5e9)
IMAGES = InputWork(
    stored_byte=IMAGENET_BYTE / 1_281_167, prepared_byte=224 * 224 * 3 * 4.0, core_s=IMAGE_CORE_S, batch=512,
    dataset_samples=1_281_167,
)  # fmt: skip


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.8, 0.95, 1.0])
def test_a_page_cache_replayed_read_by_read_hits_as_often_as_the_formula_says(share):
    chance = random.Random(1)
    samples = 2000
    order = list(range(samples))
    cache, hits = OrderedDict(), 0
    for epoch in range(9):
        chance.shuffle(order)
        for sample in order:
            if sample in cache:
                cache.move_to_end(sample)
                hits += epoch > 0
                continue
            cache[sample] = None
            if len(cache) > share * samples:
                cache.popitem(last=False)
    assert hits / (8 * samples) == pytest.approx(lru_hits(share), abs=0.01)


def test_the_first_epoch_reads_everything_and_a_cache_that_holds_all_reads_nothing_later():
    assert hit_share(IMAGES, HOST, 1, epoch=1) == 0
    assert hit_share(IMAGES, HOST, 1, epoch=2) == 1
    assert input_times(IMAGES, HOST, epoch=1).read_s > 0
    assert input_times(IMAGES, HOST, epoch=2).read_s == 0


def test_a_pinned_cache_never_hits_less_than_one_that_drops_the_oldest():
    for gigabyte in (10, 50, 100, 200, 400):
        small = replace(HOST, memory_byte=gigabyte * 1e9)
        lru = hit_share(IMAGES, small, 1, epoch=2)
        pinned = hit_share(replace(IMAGES, cache="pinned"), small, 1, epoch=2)
        assert 0 <= lru <= pinned <= 1


def test_a_share_of_its_own_fits_into_the_memory_of_many_servers():
    small = replace(HOST, memory_byte=80e9)
    whole = hit_share(IMAGES, small, 4, epoch=2)
    shard = hit_share(replace(IMAGES, sharded=True), small, 4, epoch=2)
    assert whole < 0.1
    assert shard == 1


def test_more_servers_wait_longer_for_a_file_system_that_is_full_and_not_before():
    reads = [input_times(IMAGES, HOST, SHARED, servers=n).read_s for n in (1, 10, 20, 40, 400)]
    assert reads[0] == reads[1] == reads[2]  # 20 clients of 5 GB/s fill it
    assert reads[3] == pytest.approx(2 * reads[2])
    assert reads[4] == pytest.approx(20 * reads[2])


def test_the_rate_is_that_of_the_slowest_stage():
    times = input_times(IMAGES, HOST)
    assert times.binds == "host cores"
    assert IMAGES.batch / fed_step_s(0.0, times, 8) == pytest.approx(40 / IMAGE_CORE_S)
    assert input_times(IMAGES, replace(HOST, disk_read_byte_per_s=1e8)).binds == "storage"
    assert input_times(IMAGES, replace(HOST, copy_byte_per_s=1e9)).binds == "host link"


def test_more_places_never_slow_a_step_and_none_is_the_sum():
    times = input_times(IMAGES, HOST)
    periods = [fed_step_s(0.05, times, k) for k in range(6)]
    assert periods == sorted(periods, reverse=True)
    assert periods[0] == pytest.approx(0.05 + sum(times.stages_s))
    assert periods[-1] == max(times.stages_s)


@pytest.mark.parametrize(
    ("cores", "synthetic", "measured", "within"),
    [
        # TensorFlow's benchmark page, AlexNet: the two hosts that the constant is taken from.
        (40, 10_509, 7_105, 0.20),
        (16, 4_640, 4_056, 0.20),
        # lambda-tensorflow-benchmark, TensorFlow 2.3, AlexNet on 4 and 8 A100, two EPYC 7742 assumed.
        (128, 46_848, 27_632, 0.10),
        (128, 93_466, 28_653, 0.10),
        # The same host feeds a network that asks for less: ResNet-50 on 8 A100.
        (128, 7_932, 8_030, 0.10),
    ],
)
def test_measured_hosts_feed_what_their_cores_allow(cores, synthetic, measured, within):
    host = replace(HOST, cores=cores, disk_read_byte_per_s=20e9, copy_byte_per_s=100e9)
    step_s = IMAGES.batch / synthetic
    rate = IMAGES.batch / fed_step_s(step_s, input_times(IMAGES, host), 8)
    assert rate == pytest.approx(measured, rel=within)
    assert rate <= synthetic


def test_nothing_to_read_from_is_refused():
    with pytest.raises(StorageError, match="nothing to read from"):
        input_times(IMAGES, replace(HOST, disk_read_byte_per_s=0.0))


def test_a_checkpoint_of_adam_with_16_bit_weights_is_14_bytes_a_parameter():
    assert checkpoint_byte(175e9, storage_byte=2, master_byte=4, state_words=2) == 14 * 175e9


def test_bytes_written_are_the_same_whoever_writes():
    for servers in (1, 16, 128):
        for replicas in (1, 4, 16):
            plans = [
                Checkpoints(total_byte=1e12, every=10, writers=w, replicas=replicas)
                for w in ("all_ranks", "one_replica")
            ]
            for plan in plans:
                assert plan.server_byte(servers) * plan.writing_servers(servers) == pytest.approx(1e12)


def test_one_replica_writes_no_faster_than_all():
    for servers in (8, 16, 64, 512):
        alone = Checkpoints(total_byte=1e12, every=1, writers="one_replica", replicas=8)
        shared = replace(alone, writers="all_ranks")
        times = [checkpoint_times(plan, "file_system", HOST, SHARED, servers=servers) for plan in (alone, shared)]
        assert times[0].write_s >= times[1].write_s
        assert times[0].snapshot_s >= times[1].snapshot_s


def test_nearer_levels_are_not_slower_where_their_wires_are_not():
    plan = Checkpoints(total_byte=1e12, every=1)
    writes = [checkpoint_times(plan, level, HOST, SHARED, servers=128).write_s for level in LEVELS]
    assert writes[0] == 0 < writes[1] < min(writes[2:])


def test_asynchronous_stalls_less_until_the_write_does_not_fit_between():
    times = checkpoint_times(Checkpoints(total_byte=1e12, every=1), "file_system", HOST, SHARED, servers=16)
    blocking = stall_s(times, "blocking")
    assert stall_s(times, "asynchronous") == times.snapshot_s
    assert stall_s(times, "asynchronous", interval_s=0.0) == pytest.approx(blocking)
    stalls = [stall_s(times, "asynchronous", interval_s=s) for s in (0, 5, 10, 50)]
    assert stalls == sorted(stalls, reverse=True)


def test_a_level_is_the_farthest_that_is_due():
    plan = Checkpoints(total_byte=1.0, every=1, levels=(("memory", 1), ("disk", 2), ("file_system", 6)))
    assert [plan.level_of(n) for n in range(1, 7)] == ["memory", "disk", "memory", "disk", "memory", "file_system"]


def test_a_write_slows_a_step_only_where_both_do_not_fit():
    assert slowed_step_s(1.0, 0.6, 0.4) == 1.0
    assert slowed_step_s(1.0, 0.9, 0.2) == pytest.approx(0.9 / 0.8)
    assert slowed_step_s(1.0, 1.0, 1.0) == 2.0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: replace(HOST, cores=0), "cores is 0"),
        (lambda: replace(HOST, memory_byte=float("nan")), "memory_byte is nan"),
        (lambda: replace(HOST, cache_share=2.0), "cache_share is 2.0"),
        (lambda: replace(SHARED, read_byte_per_s=-1.0), "read_byte_per_s is -1.0"),
        (lambda: replace(IMAGES, cache="fifo"), "one of lru, pinned"),
        (lambda: replace(IMAGES, batch=0), "batch is 0"),
        (lambda: Checkpoints(total_byte=1.0, every=0), "every is 0"),
        (lambda: Checkpoints(total_byte=1.0, every=1, mode="async"), "one of blocking, asynchronous"),
        (lambda: Checkpoints(total_byte=1.0, every=1, levels=(("tape", 1),)), "memory, partner, disk, file_system"),
        (lambda: Checkpoints(total_byte=1.0, every=1, levels=(("disk", 2),)), "give one of them 1"),
        (
            lambda: checkpoint_times(
                Checkpoints(total_byte=1e15, every=1, mode="asynchronous"), "file_system", HOST, SHARED
            ),
            "do not fit into its host's memory",
        ),
        (lambda: checkpoint_times(Checkpoints(total_byte=1.0, every=1), "file_system", HOST), "nothing to write to"),
        (lambda: lru_hits(1.5), "0 to 1"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(make, words):
    with pytest.raises(StorageError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)
