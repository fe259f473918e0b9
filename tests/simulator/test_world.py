"""Programs of the user's own: what a SimPy process finds in a world, alone and in company."""

import pytest

from simulator.cluster import system
from simulator.collective_curve import scale_collective
from simulator.errors import InputError
from simulator.events.sharing import SharingError
from simulator.hosts import host_of
from simulator.outcome.storage import FileSystem, StorageError
from simulator.world import World

DGX = system("dgx-a100").cluster
SELENE = system("selene").cluster
TICK_S = 1e-12


def world(servers=2, **options):
    return World.of(SELENE, servers=servers, **options)


def wait_for(w, *events):
    def process():
        yield w.env.all_of(events)

    return w.run(process())


def test_computing_takes_its_time_and_two_on_one_chip_twice_that():
    w = world()
    assert wait_for(w, w.compute(0.25)) == 0.25
    w = world()
    assert wait_for(w, w.compute(0.25, 3), w.compute(0.25, 4)) == 0.25
    w = world()
    assert wait_for(w, w.compute(0.25, 3), w.compute(0.25, 3)) == 0.5


def test_a_message_takes_its_latency_and_its_bytes_over_the_rate():
    w = world()
    assert wait_for(w, w.send(0, 1, 3e9)) == pytest.approx(SELENE.up_latency_s + 3e9 / SELENE.up_byte_per_s[2])
    w = world()
    card = SELENE.out_byte_per_s / SELENE.network_cards
    assert wait_for(w, w.send(0, 8, 1e9)) == pytest.approx(SELENE.out_latency_s + 1e9 / card)
    w = world()
    assert wait_for(w, w.send(0, 0, 1e9)) == 0


@pytest.mark.parametrize("messages", [1, 4, 8, 16, 24])
def test_messages_between_two_servers_share_the_cards_and_carry_every_byte(messages):
    w = world()
    cards = SELENE.network_cards
    sent = [w.send(i % 8, 8 + i % 8, 1e9) for i in range(messages)]
    alone = 1e9 * cards / SELENE.out_byte_per_s
    assert wait_for(w, *sent) == pytest.approx(SELENE.out_latency_s + alone * max(1, messages / cards), rel=1e-9)
    assert w.site.cards_out[0].served == pytest.approx(messages * 1e9)
    assert w.site.cards_in[1].served == pytest.approx(messages * 1e9)


@pytest.mark.parametrize("chips", [8, 16, 64])
@pytest.mark.parametrize("collective", ["all_reduce", "all_gather", "all_to_all"])
def test_a_collective_costs_what_the_curve_of_collectives_says(chips, collective):
    w = world(servers=8)
    group = w.group(range(chips))
    point = scale_collective(collective, system="selene", message_byte=[2**26], ranks=[chips]).lines[0].points[0]
    assert group.seconds(collective, 2.0**26) == pytest.approx(point.seconds)
    assert wait_for(w, *[group.join(collective, 2.0**26) for _ in range(chips)]) == pytest.approx(point.seconds)


def test_a_collective_begins_when_the_last_member_has_come():
    w = world()
    group = w.group(range(16))
    ended = []

    def member(rank):
        yield w.compute(0.001 * rank)
        yield group.all_reduce(1e8)
        ended.append(w.now_s)
        yield group.barrier()

    assert w.run(*map(member, range(16))) == pytest.approx(0.015 + group.seconds("all_reduce", 1e8))
    assert len(set(ended)) == 1


def test_collectives_that_meet_on_the_cards_slow_each_other():
    w = world()
    groups = [w.group(range(16)), w.group(range(16))]
    alone = groups[0].seconds("all_reduce", 1e9)
    together = wait_for(w, *[g.all_reduce(1e9) for g in groups for _ in range(16)])
    assert alone < together <= 2 * alone * (1 + 1e-9)


@pytest.mark.parametrize(("collective", "each"), [("all_reduce", 1.0), ("all_gather", 0.5), ("all_to_all", 4.0)])
def test_a_collective_carries_the_least_that_must_cross_between_servers(collective, each):
    w = world()
    group = w.group(range(16))
    wait_for(w, *[group.join(collective, 1e9) for _ in range(16)])
    assert w.site.cards_out[0].served == pytest.approx(each * 1e9)
    assert w.site.cards_in[1].served == pytest.approx(each * 1e9)


def test_input_and_checkpoint_traffic_meets_messages_on_the_cards():
    fast = FileSystem(read_byte_per_s=1e12, write_byte_per_s=1e12)

    def seconds(writes):
        w = world(file_system=fast)
        group = w.group(range(16))
        return wait_for(w, *[group.all_reduce(4e9) for _ in range(16)], *[w.site.write(0, 1e10) for _ in range(writes)])

    assert seconds(0) < seconds(1) < seconds(4)


def test_a_host_has_the_cores_and_links_of_its_server():
    host = host_of(SELENE, memory_byte=1e12)
    assert host.cores == 128
    assert host.card_byte_per_s == SELENE.out_byte_per_s
    assert host.memory_byte == 1e12
    assert 8 * 20e9 < host.copy_byte_per_s < 8 * 32e9


def test_a_program_of_plain_simpy_runs_beside():
    w = world()
    seen = []

    def clock():
        while True:
            yield w.wait(0.1)
            seen.append(w.now_s)

    def worker():
        yield w.compute(0.35, 0)
        return "done"

    w.env.process(clock())
    assert w.run(worker()) == 0.35
    assert seen == pytest.approx([0.1, 0.2, 0.3])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: World.of(DGX, servers=0), InputError, "0 servers"),
        (lambda: World.of(DGX, servers=10**6), InputError, "legal: 1 to"),
        (lambda: world().send(0, 99, 1.0), InputError, "rank 99; legal: 0 to 15"),
        (lambda: world().compute(0.1, -1), InputError, "rank -1"),
        (lambda: world().compute(-0.1, 0), SharingError, "duration"),
        (lambda: world().group([0]), InputError, "at least two"),
        (lambda: world().group([0, 1, 3]), InputError, "equally far apart"),
        (lambda: world().group([0, 1]).join("all_sum", 1.0), InputError, "one of all_reduce"),
        (lambda: world().site.read(0, 1.0), StorageError, "disk_read_byte_per_s"),
        (lambda: world().site.write(0, 1.0), StorageError, "no file system"),
        (lambda: host_of(system("cori-knl").cluster), StorageError, "no link to its host"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(call, error, words):
    with pytest.raises(error, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_members_that_call_different_collectives_are_told():
    group = world().group(range(4))
    group.all_reduce(1e6)
    with pytest.raises(InputError, match="members call the same"):
        group.all_reduce(2e6)
