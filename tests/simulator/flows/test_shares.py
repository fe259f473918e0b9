"""Max-min fair shares: hand-worked cases, laws, the certificate, and refilling against solving again."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.flows import CertificateError, FlowError, Refill, Sharing, Wires, certificate, max_min
from simulator.flows.classes import fold
from topologies import fully_connected

INF = float("inf")


def shares(capacity, routes, **more):
    sharing = Sharing.of(capacity, routes, **more)
    rates = max_min(sharing)
    certificate(sharing, rates)
    return rates


HAND = {
    "one flow takes the narrowest link": (([5, 3, 9], [[0, 1, 2]]), {}, [3]),
    "two halve a link": (([8], [[0], [0]]), {}, [4, 4]),
    "the parking lot": (([6, 6, 6], [[0, 1, 2], [0], [1], [2]]), {}, [3, 3, 3, 3]),
    "what one cannot use the other gets": (([2, 10], [[0, 1], [1]]), {}, [2, 8]),
    "Bertsekas and Gallager, a chain of bottlenecks": (
        ([1, 1, 2], [[0], [0, 1], [1], [1, 2], [2]]),
        {},
        [2 / 3, 1 / 3, 1 / 3, 1 / 3, 5 / 3],
    ),
    "weights 1, 2 and 3": (([12], [[0], [0], [0]]), {"weight": [1, 2, 3]}, [2, 4, 6]),
    "a bound below the fair share": (([12], [[0], [0], [0]]), {"bound_byte_per_s": [1, INF, INF]}, [1, 5.5, 5.5]),
    "a bound and no link": (([1], [[]]), {"bound_byte_per_s": [7]}, [7]),
    "a weighted flow bound elsewhere": (([9, 1], [[0], [0, 1]]), {"weight": [1, 5]}, [8, 1]),
    "three equal flows as one class": (([10], [[0], [0]]), {"count": [3, 1]}, [2.5, 2.5]),
    "a coupled ring of four and a message on one of its links": (
        ([4, 4, 4, 4], [[0, 1, 2, 3], [0]]),
        {},
        [2, 2],
    ),
    "a coupled flow that needs a link twice": (([9], [[0], [0]]), {"factor": [[2], [1]]}, [3, 3]),
    "half a message a way": (([4, 8], [[0, 1], [1]]), {"factor": [[0.5, 0.5], [1]]}, [16 / 3, 16 / 3]),
}


@pytest.mark.parametrize("name", HAND)
def test_hand_worked(name):
    (capacity, routes), more, expected = HAND[name]
    assert shares(capacity, routes, **more) == pytest.approx(expected, rel=1e-12)


def wrong_shares():
    return {
        "overload": ([8], [[0], [0]], {}, [4, 4.001]),
        "a link left idle": ([8], [[0], [0]], {}, [4, 3.9]),
        "unfair": ([8], [[0], [0]], {}, [5, 3]),
        "weights swapped": ([9], [[0], [0]], {"weight": [1, 2]}, [6, 3]),
        "above its bound": ([8], [[0]], {"bound_byte_per_s": [3]}, [4]),
        "proportionally fair, not max-min": ([6, 6], [[0, 1], [0], [1]], {}, [2, 4, 4]),
        "count forgotten": ([8], [[0]], {"count": [2]}, [8]),
        "factor forgotten": ([8], [[0]], {"factor": [[2]]}, [8]),
        "nothing sent": ([8], [[0]], {}, [0]),
        "not a number": ([8], [[0]], {}, [np.nan]),
    }


@pytest.mark.parametrize("name", wrong_shares())
def test_the_certificate_catches_a_wrong_solution(name):
    capacity, routes, more, wrong = wrong_shares()[name]
    sharing = Sharing.of(capacity, routes, **more)
    certificate(sharing, max_min(sharing))
    with pytest.raises(CertificateError):
        certificate(sharing, np.array(wrong, float))


@pytest.mark.parametrize("nudge", [1e-7, -1e-7])
def test_the_certificate_catches_any_single_rate_that_is_off(nudge):
    sharing = random_sharing(np.random.default_rng(3))
    rates = max_min(sharing)
    for flow in range(len(rates)):
        wrong = rates.copy()
        wrong[flow] *= 1 + nudge
        with pytest.raises(CertificateError):
            certificate(sharing, wrong)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"capacity_byte_per_s": [0], "routes": [[0]]}, r"capacity_byte_per_s\[0\] is 0; above 0"),
        ({"capacity_byte_per_s": [INF], "routes": [[0]]}, "is inf; above 0, finite"),
        ({"capacity_byte_per_s": [1], "routes": [[1]]}, "flow 0 uses link 1; 0 to 0"),
        ({"capacity_byte_per_s": [1], "routes": [[]]}, "nothing limits it"),
        ({"capacity_byte_per_s": [1], "routes": [[0, 0]]}, "names a link twice"),
        ({"capacity_byte_per_s": [1], "routes": [[0]], "weight": -1}, r"weight\[0\] is -1"),
        ({"capacity_byte_per_s": [1], "routes": [[0]], "count": [np.nan]}, r"count\[0\] is nan"),
        ({"capacity_byte_per_s": [1], "routes": [[0]], "factor": [[1, 1]]}, "2 factors for 1 links"),
    ],
)
def test_what_no_network_has_is_one_clear_line(arguments, message):
    with pytest.raises(FlowError, match=message) as caught:
        Sharing.of(**arguments)
    assert "\n" not in str(caught.value)


def random_sharing(rng, *, links=None, flows=None, plain=False):
    links = links or int(rng.integers(2, 12))
    flows = flows or int(rng.integers(1, 40))
    routes = [rng.choice(links, int(rng.integers(1, min(links, 5) + 1)), replace=False).tolist() for _ in range(flows)]
    if plain:
        return Sharing.of(rng.integers(1, 5, links), routes)
    return Sharing.of(
        rng.uniform(0.5, 4, links),
        routes,
        factor=[rng.choice([0.5, 1, 2], len(route)).tolist() for route in routes],
        weight=rng.choice([0.5, 1, 1, 3], flows),
        bound_byte_per_s=rng.choice([0.1, 1, INF, INF], flows),
        count=rng.integers(1, 4, flows),
    )


def slow_max_min(sharing):
    """One link at a time, as the books have it: the naive way, kept to compare with."""
    links, flows = len(sharing.capacity_byte_per_s), len(sharing.weight)
    use = np.zeros((links, flows))
    for flow, (a, b) in enumerate(itertools.pairwise(sharing.start)):
        use[sharing.link[a:b], flow] = sharing.factor[a:b] * sharing.count[flow] * sharing.weight[flow]
    level, open_ = np.zeros(flows), np.ones(flows, bool)
    while open_.any():
        left = sharing.capacity_byte_per_s - use[:, ~open_] @ level[~open_]
        demand = use[:, open_].sum(axis=1)
        fair = np.array([c / d if d > 0 else INF for c, d in zip(left, demand, strict=True)])
        bound = np.where(open_, sharing.bound_byte_per_s / sharing.weight, INF)
        if bound.min() <= fair.min():
            freeze = [int(bound.argmin())]
        else:
            freeze = [f for f in np.flatnonzero(open_) if use[fair.argmin(), f] > 0]
        level[freeze] = min(bound.min(), fair.min())
        open_[freeze] = False
    return level * sharing.weight


@pytest.mark.parametrize("seed", range(100))
def test_all_bottlenecks_at_once_equal_one_link_at_a_time(seed):
    sharing = random_sharing(np.random.default_rng(seed), plain=seed % 2 == 0)
    assert max_min(sharing) == pytest.approx(slow_max_min(sharing), rel=1e-10)


seeds = st.integers(0, 2**32 - 1).map(np.random.default_rng)


@settings(deadline=None, max_examples=60)
@given(rng=seeds, scale=st.floats(1e-6, 1e12))
def test_rates_scale_with_capacities_and_bounds(rng, scale):
    sharing = random_sharing(rng)
    scaled = Sharing(
        **vars(sharing)
        | {
            "capacity_byte_per_s": sharing.capacity_byte_per_s * scale,
            "bound_byte_per_s": sharing.bound_byte_per_s * scale,
        }
    )
    assert max_min(scaled) == pytest.approx(max_min(sharing) * scale, rel=1e-9)


@settings(deadline=None, max_examples=60)
@given(rng=seeds, scale=st.floats(1e-6, 1e6))
def test_only_the_ratio_of_weights_matters(rng, scale):
    sharing = random_sharing(rng)
    scaled = Sharing(**vars(sharing) | {"weight": sharing.weight * scale})
    assert max_min(scaled) == pytest.approx(max_min(sharing), rel=1e-9)


@settings(deadline=None, max_examples=60)
@given(rng=seeds)
def test_n_equal_flows_are_one_flow_of_count_n(rng):
    sharing = random_sharing(rng)
    rows = np.repeat(np.arange(len(sharing.weight)), sharing.count.astype(int))
    one_each = Sharing.of(
        sharing.capacity_byte_per_s,
        [sharing.link[sharing.start[f] : sharing.start[f + 1]].tolist() for f in rows],
        factor=[sharing.factor[sharing.start[f] : sharing.start[f + 1]].tolist() for f in rows],
        weight=sharing.weight[rows],
        bound_byte_per_s=sharing.bound_byte_per_s[rows],
    )
    assert max_min(one_each) == pytest.approx(max_min(sharing)[rows], rel=1e-9)


@settings(deadline=None, max_examples=60)
@given(rng=seeds)
def test_an_unused_link_changes_nothing(rng):
    sharing = random_sharing(rng)
    more = Sharing(**vars(sharing) | {"capacity_byte_per_s": np.append(sharing.capacity_byte_per_s, 1e-3)})
    assert (max_min(more) == max_min(sharing)).all()


@pytest.mark.parametrize("seed", range(60))
def test_refilling_equals_solving_again_after_every_change(seed):
    rng = np.random.default_rng(1000 + seed)
    flows = int(rng.integers(1, 80))
    sharing = random_sharing(rng, flows=flows, plain=seed % 3 == 0)
    refill, inside = Refill(sharing), set()
    refilled = {}
    for _ in range(3 * flows):
        outside = [f for f in range(flows) if f not in inside]
        close = rng.choice(sorted(inside), min(len(inside), int(rng.integers(0, 3))), replace=False).tolist()
        open_ = rng.choice(outside, min(len(outside), int(rng.choice([0, 1, 2, 60]))), replace=False).tolist()
        inside = (inside - set(close)) | set(open_)
        changed = refill.change(close=close, open=open_)
        for flow in close:
            refilled.pop(flow, None)
        refilled.update({flow: refill.rate_byte_per_s(flow) for flow in changed})
        assert set(refilled) == inside
        if not inside:
            continue
        refill.audit()
        index = sorted(inside)
        again = max_min(refill._subset(index))
        assert [refilled[f] for f in index] == pytest.approx(again.tolist(), rel=1e-10)


def test_refilling_touches_only_what_a_change_can_influence():
    # 500 pairs of flows, each pair on a link of its own: closing one flow may wake only its neighbour.
    sharing = Sharing.of(np.ones(500), [[i // 2] for i in range(1000)])
    refill = Refill(sharing)
    refill.change(open=range(1000))
    before = refill.offers
    assert list(refill.change(close=[500])) == [501]
    assert refill.offers - before == 1
    assert refill.rate_byte_per_s(501) == 1.0


def test_refilling_certifies_what_it_touches():
    sharing = Sharing.of([1.0, 4.0], [[0, 1], [1], [1]])
    refill = Refill(sharing)
    refill.change(open=range(3))
    refill._offer[0] = 3.0  # a link that promises more than it has
    refill._look(0)
    with pytest.raises(CertificateError):
        refill.audit()
    with pytest.raises(CertificateError):
        refill._certify([0, 1])


def test_flows_of_unlike_size_whose_links_mirror_them_are_not_one_class() -> None:
    wires = Wires.of(fully_connected(3, switched=False), {"scale_up": (1e9, 0.0)})
    routes = wires.routes([0, 1, 2], [1, 2, 0])
    classes = fold(wires.capacity_byte_per_s, routes, np.array([0, 1, 0]), np.full(3, np.inf))
    assert classes.of_flow[0] == classes.of_flow[2] != classes.of_flow[1]
