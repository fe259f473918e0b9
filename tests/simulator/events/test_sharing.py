"""Works share resources: exact alone, fair in company, nothing lost, the same as two other ways of computing it."""

import random
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from simpy import Environment

from simulator.events.filling import fill
from simulator.events.sharing import FULL_SPEED, PARTS, Sharing, SharingError
from simulator.flows import Sharing as Flows
from simulator.flows import max_min

US = 10**6


def ends(works, capacity=None, derate=()):
    """(start, duration, {resource: demand}, keywords) of each work -> when each ended, and the sharing."""
    env = Environment()
    sharing = Sharing(env)
    resources = {name: sharing.resource(name, size) for name, size in (capacity or {"wire": 1.0}).items()}
    ended = [None] * len(works)
    order = []

    def one(i, start, duration, demands, options):
        yield env.timeout(start)
        ended[i] = yield sharing.run(duration, {resources[n]: a for n, a in demands.items()}, **options)
        assert ended[i] == env.now
        order.append(i)

    for i, (start, duration, demands, *options) in enumerate(works):
        env.process(one(i, start, duration, demands, options[0] if options else {}))
    for at, name, share in derate:
        env.timeout(at).callbacks.append(lambda _, name=name, share=share: sharing.derate(resources[name], share))
    env.run()
    return ended, sharing, order


def random_works(seed, works=12, resources=4, grid=1):
    chance = random.Random(seed)
    names = [f"r{i}" for i in range(resources)]
    return [
        (
            grid * chance.randrange(0, 400),
            grid * chance.randrange(1, 300),
            {name: chance.choice((0.1, 0.25, 0.5, 0.75, 1.0)) for name in chance.sample(names, chance.randint(1, 3))},
            {"weight": chance.choice((1.0, 1.0, 2.0)), "priority": chance.choice((0, 0, 1)), "floor": 0.0},
        )
        for _ in range(works)
    ], dict.fromkeys(names, 1.0)


@pytest.mark.parametrize("duration", [0, 1, 7, 10**12, 123_456_789_012_345])
@pytest.mark.parametrize("demand", [0.0, 0.3, 1.0])
def test_a_work_alone_ends_to_the_tick(duration, demand):
    assert ends([(5, duration, {"wire": demand})])[0] == [5 + duration]


def test_shares_that_add_up_to_all_slow_nobody():
    works = [(0, 10**12 + i, {"wire": share}) for i, share in enumerate((0.1, 0.2, 0.7))]
    works += [(2 * 10**12, 999, {"wire": 0.1})] * 10
    assert ends(works)[0] == [start + duration for start, duration, _ in works]


def test_two_alike_take_twice_as_long_and_three_three_times():
    assert ends([(0, 500, {"wire": 1.0})] * 2)[0] == [1000, 1000]
    # A third is not a whole number of parts: the last tick is rounded up.
    assert ends([(0, 500, {"wire": 1.0})] * 3)[0] == [1501] * 3


def test_one_that_comes_later_slows_the_first_and_gets_its_place_when_it_is_gone():
    assert ends([(0, 1000, {"wire": 1.0}), (500, 1000, {"wire": 1.0})])[0] == [1500, 2000]


def test_a_small_want_is_served_whole_and_the_large_one_gets_the_rest():
    # 0.2 of the wire is below half of it.
    assert ends([(0, 1000, {"wire": 1.0}), (0, 1000, {"wire": 0.2})])[0] == [1200, 1000]


def test_weight_two_gets_twice_as_much():
    ended, _, _ = ends([(0, 600, {"wire": 1.0}, {"weight": 2.0}), (0, 600, {"wire": 1.0})])
    assert ended == [pytest.approx(900, abs=1), pytest.approx(1200, abs=1)]


def test_the_first_class_takes_what_it_wants_and_the_second_gets_the_rest():
    # A collective takes a quarter of the processors for as long as it runs: compute runs at three quarters.
    ended, _, _ = ends([(0, 400, {"wire": 0.25}), (0, 1000, {"wire": 1.0}, {"priority": 1})])
    assert ended == [400, 1100]


def test_a_floor_holds_against_the_first_class():
    works = [(0, 1000, {"wire": 1.0}), (0, 500, {"wire": 1.0}, {"priority": 1, "floor": 0.25})]
    # 0.75 and 0.25 until 1333.3; the second has then done 333.3 of 500.
    ended, _, _ = ends(works)
    assert ended == [pytest.approx(1334, abs=1), pytest.approx(1500, abs=2)]
    assert ends([(0, 1000, {"wire": 1.0}), (0, 500, {"wire": 1.0}, {"priority": 1})])[0] == [1000, 1500]


def test_floors_that_do_not_fit_together_are_cut_alike():
    works = [(0, 100, {"wire": 1.0}, {"floor": 0.8})] * 2
    assert ends(works)[0] == [200, 200]


def test_a_work_that_no_one_else_reaches_is_not_touched():
    works = [(0, 1000, {"a": 1.0}), (10, 1000, {"a": 1.0}), (0, 5000, {"b": 1.0})]
    ended, sharing, _ = ends(works, {"a": 1.0, "b": 1.0})
    assert ended[2] == 5000
    assert sharing.settlements == 2  # the second comes, the first goes


def test_many_that_begin_at_once_are_settled_once():
    _, sharing, _ = ends([(3, 10_000, {"wire": 1.0})] * 50)
    assert sharing.settlements <= 2


def test_works_that_end_together_end_in_the_order_they_began():
    works = [(0, 700, {"wire": 1.0}), *[(0, 350, {"wire": 1.0})] * 6]
    assert ends(works)[2] == [1, 2, 3, 4, 5, 6, 0]
    together = [(i, 1000 - i, {"wire": 0.1}) for i in range(5)]
    assert ends(together)[2] == [0, 1, 2, 3, 4]


def test_a_degraded_wire_slows_and_a_dead_one_stops():
    works = [(0, 1000, {"wire": 1.0})]
    assert ends(works, derate=[(500, "wire", 0.5)])[0] == [1500]
    assert ends(works, derate=[(500, "wire", 0.0), (800, "wire", 1.0)])[0] == [1300]


@pytest.mark.parametrize("seed", range(60))
def test_what_is_done_is_the_integral_of_the_speeds(seed):
    works, capacity = random_works(seed, grid=US)
    env = Environment()
    done = {}
    speeds = {}  # work -> [(since, speed)]

    def watch(now_ps, resource, load):
        assert load <= 1 + 1e-9
        for work in resource.works:
            history = speeds.setdefault(work, [])
            if not history or history[-1][1] != work.speed:
                history.append((now_ps, work.speed))

    sharing = Sharing(env, watch=watch)
    resources = {name: sharing.resource(name, size) for name, size in capacity.items()}

    def one(start, duration, demands, options):
        yield env.timeout(start)
        event = sharing.run(duration, {resources[n]: a for n, a in demands.items()}, **options)
        work = next(w for r in resources.values() for w in r.works if w.done is event)
        speeds.setdefault(work, []).append((start, FULL_SPEED))
        done[work] = (duration, (yield event))

    for work in works:
        env.process(one(*work))
    env.run()
    assert len(done) == len(works)
    for work, (duration, end) in done.items():
        history = [*speeds[work], (end, 0)]
        parts = sum(speed * (b - a) for (a, speed), (b, _) in pairwise(history))
        assert 0 <= parts - duration * FULL_SPEED < FULL_SPEED  # exact, but for the last tick
    for name, resource in resources.items():
        want = sum(int(w[2].get(name, 0) * PARTS) * w[1] for w in works)
        assert resource.served_parts_ps == want
        assert not resource.works
        assert resource.wanted == 0


def stepped(works, capacity, dt):
    """The twin: time goes on by dt, and at each step all speeds are worked out anew, from nothing."""
    names = list(capacity)
    left = [float(duration) for _, duration, _, _ in works]
    ended = [None] * len(works)
    now = 0
    while any(e is None for e in ended):
        running = [i for i, w in enumerate(works) if w[0] <= now and ended[i] is None]
        speeds = {}
        room = {n: capacity[n] for n in names}
        for priority in sorted({works[i][3]["priority"] for i in running}):
            members = [i for i in running if works[i][3]["priority"] == priority]
            # The level, by halving: the highest at which one more bit for anybody breaks something, work by work.
            fixed = {}
            while len(fixed) < len(members):
                low, high = 0.0, 1e9
                for _ in range(100):
                    level = (low + high) / 2
                    x = {i: fixed.get(i, min(1.0, level * pace(works[i]))) for i in members}
                    fits = all(
                        sum(works[i][2].get(n, 0) * x[i] for i in members) <= room[n] * (1 + 1e-12) for n in names
                    )
                    low, high = (level, high) if fits else (low, level)
                x = {i: fixed.get(i, min(1.0, low * pace(works[i]))) for i in members}
                load = {n: sum(works[i][2].get(n, 0) * x[i] for i in members) for n in names}
                full = {n for n in names if load[n] >= room[n] - 1e-9}
                new = [i for i in members if i not in fixed and (x[i] >= 1.0 - 1e-9 or full & set(works[i][2]))]
                fixed |= {i: x[i] for i in new}
                assert new
            for i in members:
                speeds[i] = fixed[i]
                for n, a in works[i][2].items():
                    room[n] = max(room[n] - a * fixed[i], 0.0)
        for i in running:
            left[i] -= speeds[i] * dt
            if left[i] <= 1e-6:
                ended[i] = now + dt
        now += dt
    return ended


def pace(work):
    return work[3]["weight"] / max(work[2].values())


@pytest.mark.parametrize("seed", range(8))
def test_events_agree_with_the_clock_that_ticks(seed):
    works, capacity = random_works(seed, works=7)
    ended, _, _ = ends(works, capacity)
    assert ended == pytest.approx(stepped(works, capacity, 1), abs=len(works))


@pytest.mark.parametrize("seed", range(40))
def test_speeds_on_wires_are_those_of_the_flow_solver(seed):
    chance = random.Random(seed)
    wires = [chance.uniform(5, 50) for _ in range(8)]
    routes = [chance.sample(range(8), chance.randint(1, 4)) for _ in range(15)]
    weight = [chance.choice((1.0, 2.0, 3.0)) for _ in routes]
    # A flow's rate alone is that of its narrowest wire.
    alone = [min(wires[i] for i in route) for route in routes]
    want = max_min(Flows.of(wires, routes, weight=weight, bound_byte_per_s=alone))
    got = fill(
        wires,
        [[(i, full) for i in route] for route, full in zip(routes, alone, strict=True)],
        [w / full for w, full in zip(weight, alone, strict=True)],
        [0.0] * len(routes),
    )
    assert np.array(got) * alone == pytest.approx(want, rel=1e-9)


def test_speeds_in_fractions_are_exact_where_they_can_be():
    speeds = fill([1.0, 1.0], [[(0, 1.0)], [(0, 1.0), (1, 1.0)], [(1, 1.0)], [(1, 1.0)]], [1.0] * 4, [0.0] * 4)
    assert [Fraction(s).limit_denominator(100) for s in speeds] == [
        Fraction(2, 3), Fraction(1, 3), Fraction(1, 3), Fraction(1, 3),
    ]  # fmt: skip


def test_more_room_for_all_at_once_is_never_later_in_the_end():
    for seed in range(30):
        works, capacity = random_works(seed)
        more = {name: 2.0 * size for name, size in capacity.items()}
        assert max(ends(works, more)[0]) <= max(ends(works, capacity)[0])


def test_a_process_may_wait_for_a_work_with_others():
    env = Environment()
    sharing = Sharing(env)
    wire = sharing.resource("wire", 10.0)
    both = env.all_of([sharing.run(100, {wire: 10.0}), sharing.run(100, {wire: 5.0})])
    env.run(both)
    assert env.now == 150
    assert wire.served == pytest.approx(1500e-12)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s, r: s.resource("x", 0.0), "capacity is 0.0"),
        (lambda s, r: s.resource("wire", 2.0), "made with 1"),
        (lambda s, r: s.run(-1, {r: 1.0}), "duration is -1"),
        (lambda s, r: s.run(0.5, {r: 1.0}), "duration is 0.5"),
        (lambda s, r: s.run(1, {r: float("nan")}), "demand on"),
        (lambda s, r: s.run(1, {r: 1.0}, weight=0.0), "weight 0.0"),
        (lambda s, r: s.run(1, {r: 1.0}, floor=1.5), "floor 1.5"),
        (lambda s, r: s.derate(r, 2.0), "share is 2.0"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(call, words):
    sharing = Sharing(Environment())
    with pytest.raises(SharingError, match=words) as caught:
        call(sharing, sharing.resource("wire"))
    assert "\n" not in str(caught.value)
