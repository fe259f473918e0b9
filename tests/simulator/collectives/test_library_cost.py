"""What libraries take for collectives: laws over all collectives, ways of joining chips, libraries and constants."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest

from simulator.collectives.exchange import COLLECTIVES, UP_KINDS, Exchanges, Wires
from simulator.collectives.library_constants import library_constants
from simulator.collectives.library_cost import CHOICES, LIMITS, RING_ONLY, SPECS, chosen, exchange_cost, exchange_s
from simulator.collectives.library_point_to_point import CHANNEL_BYTE, SMALL_BYTE, channel_count
from simulator.collectives.library_reduce import out_rate, ring, tree
from simulator.kernels.kernel_constants import KernelConstants
from simulator.kernels.optable import Floats

REDUCING = ("all_reduce", "all_gather", "reduce_scatter")
LIBRARIES = (
    "nccl", "xla+nccl", "nccl-in-framework", "rccl", "xla+rccl", "nccl-2.0-mpi", "nccl-2.0-single", "baidu-ring",
    "mpi-osu", "mlsl", "mpi", "other",
)  # fmt: skip
UNUSED = 1e18
SIZES = np.exp2(np.arange(0.0, 36.0, 0.45))
#: One of each kind that the model tells apart.
KINDS_OF_LIBRARY = ("nccl", "rccl", "nccl-2.0-mpi", "mlsl")
#: Link, chips of a domain and of a host, nominal rate of a chip in a group of m [B/s], by way of joining.
DOMAINS: dict[str, tuple[str, int, int, Callable[[int], float]]] = {
    "switch": ("nvlink4", 8, 8, lambda m: 450e9), "rack": ("nvlink5", 72, 4, lambda m: 900e9),
    "pairs": ("xgmi3", 8, 8, lambda m: 64e9 * max(m - 1, 1)),
    "cube_mesh": ("nvlink2", 8, 8, lambda m: 25e9 * min(m, 6)),
    "pcie_tree": ("pcie3-x16", 8, 8, lambda m: 15.75e9), "torus": ("tpu-ici-v4", 4, 4, lambda m: 270e9),
    "none": ("", 1, 1, lambda m: UNUSED),
}  # fmt: skip


def wires(kind: str = "switch", library: str = "nccl", ranks: int = 8, members: int = 0, **changes: object) -> Wires:
    """Wires of a group of so many ranks, of which so many are in a domain (0: as many as fit)."""
    link, chips, host, rate = DOMAINS[kind]
    inside = members or min(ranks, chips)
    up, several = rate(inside) if inside > 1 else UNUSED, ranks > inside
    given = {
        "ranks": ranks, "domain_ranks": inside, "host_ranks": min(host, inside), "up_kind": kind, "up_link": link,
        "up_byte_per_s": up, "pair_byte_per_s": 64e9 if kind == "pairs" and inside > 1 else up,
        "out_link": "infiniband" if several else "", "out_byte_per_s": 50e9 * inside if several else UNUSED,
        "library": library,
        "in_switch": kind in ("switch", "rack") and library.endswith("nccl") and inside >= 5,
    }  # fmt: skip
    return Wires(**(given | changes))  # type: ignore[arg-type]


def places(kind: str, library: str) -> list[Wires]:
    """Groups inside one domain, over several, with one member in each, uneven ones, and alone."""
    chips = DOMAINS[kind][1]
    shapes = {(n, min(n, chips)) for n in (1, 2, 3, 4, 8, 12, 18, 64, 72, 144, 1000)}
    shapes |= {(2, 1), (300, 1), (24, min(3, chips))}
    return [wires(kind, library, ranks=n, members=m) for n, m in sorted(shapes)]


def exactly(values: Mapping[str, float]) -> KernelConstants:
    """Constants that have these values everywhere."""
    return KernelConstants(
        specs={
            name: replace(spec, prior=values[name], low=values[name], high=values[name]) for name, spec in SPECS.items()
        }
    )


def drawn(seed: int) -> KernelConstants:
    """Every constant somewhere in its range; no share of a wire is above all of it."""
    draw = np.random.default_rng(seed)
    values = {n: math.exp(draw.uniform(math.log(s.low), math.log(s.high))) for n, s in SPECS.items()}
    return exactly(values | {"tree_share": min(values["tree_share"], 1.0)})


CONSTANTS = {
    "shipped": library_constants(), "priors": KernelConstants(specs=SPECS),
    "least": exactly({n: s.low for n, s in SPECS.items()}),
    "most": exactly({n: s.high for n, s in SPECS.items()} | {"tree_share": 1.0}),
    "drawn 1": drawn(1), "drawn 2": drawn(2),
}  # fmt: skip


def table(collective: str, kind: str, libraries: tuple[str, ...] = KINDS_OF_LIBRARY, algorithm: str = "") -> Exchanges:
    """Every place and library of a kind, with every size."""
    return spread([(w, collective, algorithm) for library in libraries for w in places(kind, library)])


def spread(cases: list[tuple[Wires, str, str]]) -> Exchanges:
    """Every case with every size; rows of a case stand together."""
    row, message = np.repeat(np.arange(len(cases)), len(SIZES)), np.tile(SIZES, len(cases))
    return Exchanges(distinct=tuple(cases), row=row, message_byte=message)


def seconds(x: Exchanges, constants: KernelConstants) -> Floats:
    """(cases, sizes)."""
    return exchange_s(x, constants.rows(x)).reshape(-1, len(SIZES))


def fixed(name: str, value: float) -> KernelConstants:
    """The priors, but for one constant that has this value everywhere."""
    return KernelConstants(specs={**SPECS, name: replace(SPECS[name], prior=value, low=value, high=value)})


def changed(x: Exchanges, name: str, factor: float) -> Exchanges:
    """The same on wires of which one field is so many times as large."""
    return replace(x, distinct=tuple((replace(w, **{name: getattr(w, name) * factor}), c, a) for w, c, a in x.distinct))


def one(w: Wires, collective: str, message_byte: float, algorithm: str = "", constants: str = "priors") -> float:
    x = Exchanges.of([(w, collective, algorithm)], [message_byte])
    return float(exchange_s(x, CONSTANTS[constants].rows(x))[0])


def word(w: Wires, collective: str, message_byte: float, algorithm: str = "") -> str:
    x = Exchanges.of([(w, collective, algorithm)], [message_byte])
    return chosen(x, CONSTANTS["priors"].rows(x))[0]


every_kind = pytest.mark.parametrize("kind", UP_KINDS)
every_collective = pytest.mark.parametrize("collective", COLLECTIVES)
every_constant = pytest.mark.parametrize("constants", CONSTANTS)


@every_collective
@every_kind
def test_one_rank_and_empty_messages_take_no_time_and_all_else_takes_some(collective: str, kind: str) -> None:
    x = table(collective, kind, LIBRARIES)
    time, ranks = exchange_s(x, CONSTANTS["shipped"].rows(x)), x.number("ranks")
    assert np.array_equal(time > 0.0, ranks > 1.0)
    assert np.all(time[ranks > 1.0] >= 3e-6)
    nothing = replace(x, message_byte=np.zeros(x.rows))
    assert not exchange_s(nothing, CONSTANTS["shipped"].rows(nothing)).any()


def least_s(w: Wires, collective: str, message_byte: float) -> float:
    """The bytes that the algorithms move over the nominal rates, whichever algorithm needs least."""
    n, m, up, out = w.ranks, w.domain_ranks, w.up_byte_per_s, w.out_byte_per_s
    if n == 1:
        return 0.0
    domains = math.ceil(n / m)
    part = (n - 1) / n * message_byte
    if collective == "permute":
        return max(message_byte / w.pair_byte_per_s, m * message_byte / out if domains > 1 else 0.0)
    if collective == "all_to_all":
        return max(part / up, m * (1 - m / n) * message_byte / out if domains > 1 else 0.0)
    slowest = min(up, out) if domains > 1 else up
    if collective != "all_reduce":
        return part / slowest
    ways = [2 * part / slowest]
    leaves = 0.0 if domains == 1 else (1 if domains == 2 else 2) * message_byte / out
    if w.library not in RING_ONLY:
        ways.append(max(2 * message_byte / up, leaves))
    if w.in_switch:
        ways.append(max((1 + 1 / m) * message_byte / up, leaves))
    return min(ways)


@every_constant
@every_collective
@every_kind
def test_nothing_is_faster_than_its_bytes_on_the_nominal_wires(collective: str, kind: str, constants: str) -> None:
    x = table(collective, kind)
    time = seconds(x, CONSTANTS[constants])
    bound = [[least_s(w, collective, size) for size in SIZES] for w, _, _ in x.distinct]
    assert np.all(time >= np.array(bound) * (1.0 - 1e-12))


@every_constant
@pytest.mark.parametrize("collective", REDUCING)
@every_kind
def test_more_bytes_never_take_less_time_on_rings_trees_and_switches(
    collective: str, kind: str, constants: str
) -> None:
    x = table(collective, kind)
    assert np.all(np.diff(seconds(x, CONSTANTS[constants]), axis=1) >= 0.0)


@every_constant
@pytest.mark.parametrize("collective", ["all_to_all", "permute"])
@every_kind
def test_sends_get_faster_only_where_the_library_changes_protocol_or_adds_channels(
    collective: str, kind: str, constants: str
) -> None:
    x = table(collective, kind)
    ranks = np.array([w.ranks for w, _, _ in x.distinct])
    whole = np.tile(SIZES, (len(ranks), 1))
    each = whole / ranks[:, None] if collective == "all_to_all" else whole
    peers = np.broadcast_to(ranks[:, None] if collective == "all_to_all" else 1.0, each.shape)
    channels = channel_count(each, np.broadcast_to(ranks[:, None], each.shape), peers)
    # More channels above 16 MiB, or past the 512 KiB of the small-message protocol: nowhere else.
    steps = (np.diff(channels, axis=1) > 0.0) | ((each[:, :-1] <= SMALL_BYTE) & (each[:, 1:] > SMALL_BYTE))
    falls = np.diff(seconds(x, CONSTANTS[constants]), axis=1) < 0.0
    assert not np.any(falls & ~steps)
    assert np.all((each[:, 1:] > SMALL_BYTE)[falls])
    # And only in libraries that send on channels.
    without = [w.library not in ("nccl", "xla+nccl", "nccl-in-framework") for w, _, _ in x.distinct]
    assert not falls[without].any()


def test_sends_do_get_faster_where_nvidias_library_adds_channels() -> None:
    def of(ranks: int, kind: str, collective: str) -> list[float]:
        """Bytes to a peer, in MiB, at which a message of a hundredth more takes less time."""
        w, found = wires(kind, ranks=ranks), []
        peers = ranks if collective == "all_to_all" else 1
        for mib in (0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512):
            if one(w, collective, peers * mib * 2**20 * 1.01) < one(w, collective, peers * mib * 2**20):
                found.append(mib)
        return found

    assert of(8, "switch", "all_to_all") == [0.5]
    assert of(72, "rack", "all_to_all")[:3] == [0.5, 16, 32]
    assert of(8, "switch", "permute")[:3] == [0.5, 64, 128]
    # Ranks that are started as single sends, and chips behind a tree, feel no channels.
    assert of(4, "switch", "all_to_all") == of(8, "pcie_tree", "permute") == []


@every_constant
@every_collective
@every_kind
@pytest.mark.parametrize("name", ["up_byte_per_s", "pair_byte_per_s", "out_byte_per_s"])
def test_faster_wires_never_take_more_time(name: str, kind: str, collective: str, constants: str) -> None:
    x = table(collective, kind)
    base = seconds(x, CONSTANTS[constants])
    for factor in (1.01, 2.0, 50.0):
        assert np.all(seconds(changed(x, name, factor), CONSTANTS[constants]) <= base * (1.0 + 1e-12))


@pytest.mark.parametrize("name", SPECS)
@every_kind
def test_better_constants_never_take_more_time(name: str, kind: str) -> None:
    better = SPECS[name].unit == "B/s" or name.endswith("_share")
    for collective in COLLECTIVES:
        x = table(collective, kind, ("nccl", "rccl", "mlsl"))
        low, high = (seconds(x, fixed(name, value)) for value in (SPECS[name].low, SPECS[name].high))
        assert np.all((high <= low * (1.0 + 1e-12)) if better else (low <= high * (1.0 + 1e-12))), collective


@pytest.mark.parametrize("name", SPECS)
def test_every_constant_moves_some_time(name: str) -> None:
    # A constant that moves nothing in any place could not be fitted on anything.
    def total(value: float) -> float:
        cases = [
            (w, c, "") for kind in UP_KINDS for lib in ("nccl", "mlsl") for w in places(kind, lib) for c in COLLECTIVES
        ]
        return float(np.sum(np.log(np.maximum(seconds(spread(cases), fixed(name, value)), 1e-9))))

    assert total(SPECS[name].low) != total(SPECS[name].high)


@every_kind
@pytest.mark.parametrize("collective", COLLECTIVES)
def test_more_network_cards_never_take_more_time_and_help_what_leaves_a_domain(kind: str, collective: str) -> None:
    chips = DOMAINS[kind][1]
    several = [wires(kind, "other", ranks=2 * chips, out_byte_per_s=cards * 12.5e9) for cards in (1, 2, 4, 8)]
    times = [one(w, collective, 2**30) for w in several]
    assert times == sorted(times, reverse=True)
    assert times[0] > times[1]
    alone = [one(wires(kind, "other", ranks=chips, out_byte_per_s=rate), collective, 2**30) for rate in (1e9, 2e9)]
    assert alone[0] == alone[1]


@pytest.mark.parametrize("bulk", [True, False])
@every_kind
def test_an_all_reduce_on_a_ring_is_a_reduce_scatter_and_an_all_gather(kind: str, bulk: bool) -> None:
    both = {}
    for collective in REDUCING:
        x = table(collective, kind, ("nccl",))
        v = CONSTANTS["priors"].rows(x) | {
            name: np.zeros(x.rows) for name in ("copy_reduce", "copy_gather", "copy_scatter")
        }
        both[collective] = ring(x, v, bulk=bulk), v["fast_base_s"] + bulk * v["bulk_base_s"]
    whole, base = both["all_reduce"]
    for part in ("inside_s", "outside_s"):
        halves = getattr(both["all_gather"][0], part) + getattr(both["reduce_scatter"][0], part)
        assert getattr(whole, part) == pytest.approx(halves, rel=1e-12)
    for half in ("all_gather", "reduce_scatter"):
        assert whole.latency_s - base == pytest.approx(2.0 * (both[half][0].latency_s - base), rel=1e-9)


@pytest.mark.parametrize(
    ("ranks", "members", "inside", "outside"), [(8, 8, 14, 0), (16, 8, 28, 4), (24, 8, 42, 6), (4, 1, 0, 8)]
)
def test_a_ring_takes_a_step_between_every_two_neighbours(ranks: int, members: int, inside: int, outside: int) -> None:
    x = Exchanges.of([(wires(ranks=ranks, members=members), "all_reduce", "ring")], [1.0])
    v = {name: np.zeros(1) for name in SPECS} | {name: np.ones(1) for name in SPECS if name.endswith("_share")}
    assert ring(x, v | {"bulk_step_s": np.ones(1)}, bulk=True).latency_s == inside
    assert ring(x, v | {"fast_step_s": np.ones(1)}, bulk=False).latency_s == inside
    assert ring(x, v | {"out_step_s": np.ones(1)}, bulk=True).latency_s == outside


def test_a_tree_is_a_chain_in_a_host_and_a_tree_over_hosts_and_domains() -> None:
    x = Exchanges.of([(wires("rack", ranks=r), "all_reduce", "") for r in (4, 8, 72, 144, 576)], [1.0] * 5)
    v = {name: np.zeros(5) for name in SPECS} | {name: np.ones(5) for name in SPECS if name.endswith("_share")}

    def steps(name: str) -> list[float]:
        return [float(s) for s in tree(x, v | {name: np.ones(5)}, bulk=False).latency_s]

    assert steps("fast_step_s") == [6, 6, 6, 6, 6]
    assert steps("tree_step_s") == [0, 1, 5, 5, 5]
    assert steps("out_step_s") == [0, 0, 0, 2, 6]
    assert steps("tree_base_s") == [0, 1, 1, 1, 1]


@pytest.mark.parametrize("constants", ["shipped", "priors", "least"])
@every_kind
@every_collective
def test_one_member_in_a_domain_never_sees_the_wires_inside(kind: str, collective: str, constants: str) -> None:
    for library in KINDS_OF_LIBRARY:
        cases = [(wires(kind, library, ranks=n, members=1), collective, "") for n in (2, 16, 300)]
        fast = seconds(spread(cases), CONSTANTS[constants])
        free = seconds(
            changed(changed(spread(cases), "up_byte_per_s", 1e6), "pair_byte_per_s", 1e6), CONSTANTS[constants]
        )
        # 1e18 B/s stand for wires that are not there: nothing of them is left in the time but what rounding leaves.
        assert free == pytest.approx(fast, rel=1e-3)


@pytest.mark.parametrize("library", LIBRARIES)
def test_libraries_without_trees_never_run_one_and_the_others_do(library: str) -> None:
    words = set()
    for kind in UP_KINDS:
        x = table("all_reduce", kind, (library,))
        words |= set(chosen(x, CONSTANTS["priors"].rows(x)))
    assert any(w.startswith("tree") for w in words) == (library not in RING_ONLY)
    assert any(w.startswith("ring") for w in words)
    assert ("reduction in the switches" in words) == library.endswith("nccl")


@pytest.mark.parametrize(
    ("algorithm", "legal"),
    [
        ("ring", {"ring, large-message protocol", "ring, small-message protocol"}),
        ("tree", {"tree, large-message protocol", "tree, small-message protocol"}),
        ("nvls", {"reduction in the switches"}), ("nvls_tree", {"reduction in the switches"}),
    ],
)  # fmt: skip
@every_kind
def test_a_forced_algorithm_runs_and_is_never_faster_than_the_librarys_choice(
    algorithm: str, legal: set[str], kind: str
) -> None:
    libraries = tuple(name for name in LIBRARIES if name not in RING_ONLY)
    x = table("all_reduce", kind, libraries, algorithm)
    assert set(chosen(x, CONSTANTS["shipped"].rows(x))) <= legal
    free = replace(x, distinct=tuple((w, c, "") for w, c, _ in x.distinct))
    forced, best = seconds(x, CONSTANTS["shipped"]), seconds(free, CONSTANTS["shipped"])
    able = np.array([algorithm in ("ring", "tree") or w.in_switch for w, _, _ in x.distinct])
    assert np.all(forced[able] >= best[able])


@pytest.mark.parametrize("algorithm", ["tree", "nvls", "nvls_tree"])
@pytest.mark.parametrize("collective", [c for c in COLLECTIVES if c != "all_reduce"])
def test_what_can_only_be_forced_on_an_all_reduce_changes_nothing_else(algorithm: str, collective: str) -> None:
    # Trees and the switches' reductions exist for all-reduce: other collectives stay with what they have.
    for kind in UP_KINDS:
        x = table(collective, kind, ("nccl",), algorithm)
        free = replace(x, distinct=tuple((w, c, "") for w, c, _ in x.distinct))
        assert np.array_equal(seconds(x, CONSTANTS["shipped"]), seconds(free, CONSTANTS["shipped"]))


@pytest.mark.parametrize(
    ("place", "collective", "message_byte", "expected"),
    [
        ({}, "all_reduce", 8 * 2**30, "reduction in the switches"),
        ({"in_switch": False}, "all_reduce", 8 * 2**30, "ring, large-message protocol"),
        ({"in_switch": False}, "all_reduce", 2**30, "ring, large-message protocol"),
        ({}, "all_gather", 2**10, "ring, small-message protocol"),
        ({}, "all_gather", 2**32, "ring, large-message protocol"),
        ({}, "reduce_scatter", 2**32, "ring, large-message protocol"),
        ({}, "all_to_all", 2**20, "sends"), ({}, "permute", 2**20, "sends"),
        ({"ranks": 1024, "in_switch": False}, "all_reduce", 2**10, "tree, small-message protocol"),
    ],
)  # fmt: skip
def test_the_choice_is_said_in_words(
    place: dict[str, object], collective: str, message_byte: float, expected: str
) -> None:
    assert expected in CHOICES
    assert word(wires(**place), collective, message_byte) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("place", "collective", "message_byte", "expected"),
    [
        ({}, "all_reduce", 8.0, "latency"), ({}, "all_gather", 8.0, "latency"), ({}, "permute", 8.0, "latency"),
        ({}, "all_to_all", 8.0, "latency"), ({}, "all_reduce", 2**33, "links of a chip"),
        ({"ranks": 64, "out_byte_per_s": 2e11}, "all_gather", 2**33, "network cards"),
        ({"ranks": 64, "out_byte_per_s": 1e10}, "all_reduce", 2**33, "network cards"),
        ({"ranks": 64, "out_byte_per_s": 1e10}, "all_to_all", 2**33, "network cards"),
        ({"kind": "rack", "ranks": 18}, "all_to_all", 18 * 2**20, "channels of the library"),
        ({"kind": "pcie_tree"}, "all_to_all", 2**33, "links of a chip"),
        ({"ranks": 16, "members": 1}, "all_reduce", 2**33, "network cards"),
    ],
)  # fmt: skip
def test_what_binds_is_named(place: dict[str, object], collective: str, message_byte: float, expected: str) -> None:
    x = Exchanges.of([(wires(**place), collective, "")], [message_byte])  # type: ignore[arg-type]
    assert LIMITS[exchange_cost(x, CONSTANTS["priors"].rows(x)).limit[0]] == expected


@pytest.mark.parametrize("constants", ["shipped", "drawn 1"])
def test_a_table_of_collectives_costs_what_each_costs_alone(constants: str) -> None:
    draw = np.random.default_rng(5)
    cases = [
        (w, collective, "")
        for kind in UP_KINDS
        for w in places(kind, "nccl") + places(kind, "mlsl")
        for collective in COLLECTIVES
    ]
    picked = [cases[i] for i in draw.integers(0, len(cases), 400)]
    message = np.exp2(draw.uniform(0.0, 35.0, 400))
    x = Exchanges.of(picked, message.tolist())
    together = exchange_cost(x, CONSTANTS[constants].rows(x))
    for i, case in enumerate(picked):
        x = Exchanges.of([case], [message[i]])
        alone = exchange_cost(x, CONSTANTS[constants].rows(x))
        assert (alone.seconds[0], alone.choice[0], alone.limit[0]) == pytest.approx(
            (together.seconds[i], together.choice[i], together.limit[i]), rel=1e-14
        )


MIB = 2**20


def test_eighteen_and_seventy_two_ranks_leave_channels_idle() -> None:
    # An all-to-all of 16 MiB to every peer in a rack: 16 and 64 ranks move more bytes a second than 18 and 72.
    def rate(ranks: int) -> float:
        return (ranks - 1) * 16 * MIB / one(wires("rack", ranks=ranks), "all_to_all", ranks * 16 * MIB)

    assert rate(16) > 1.2 * rate(18)
    assert rate(64) > 1.05 * rate(72)
    assert CHANNEL_BYTE == 16 * MIB


def test_messages_that_an_mpi_library_pins_anew_take_longer() -> None:
    pinned = [one(wires("none", "mlsl", ranks=16), "all_reduce", size) for size in (2.0**27, 2.0**27 + 1)]
    kept = [one(wires("none", "nccl", ranks=16), "all_reduce", size) for size in (2.0**27, 2.0**27 + 1)]
    assert pinned[1] - pinned[0] == pytest.approx(SPECS["register_s"].prior, rel=1e-3)
    assert kept[1] - kept[0] < 1e-6


@pytest.mark.parametrize(("axes", "side"), [(1, 64), (2, 8), (3, 4)])
@pytest.mark.parametrize("bulk", [False, True])
def test_a_ring_on_a_torus_steps_along_one_axis_after_the_other(axes: int, side: int, bulk: bool) -> None:
    w = wires("torus", ranks=64, members=64, axes=axes)
    for collective, passes in (("all_gather", 1), ("reduce_scatter", 1), ("all_reduce", 2)):
        x = Exchanges.of([(w, collective, "")], [1e6])
        v = KernelConstants(specs=SPECS).rows(x)
        step = v["fast_step_s"] + bulk * v["bulk_step_s"]
        start = v["fast_base_s"] + bulk * v["bulk_base_s"]
        path = ring(x, v, bulk=bulk)
        assert path.latency_s - start == pytest.approx(passes * axes * (side - 1) * step, rel=1e-9)
        # The message is cut over all axes: its volume is that of one ring at the rate of all links.
        flat = ring(Exchanges.of([(wires("torus", ranks=64, members=64), collective, "")], [1e6]), v, bulk=bulk)
        assert path.inside_s == pytest.approx(flat.inside_s, rel=1e-12)


@pytest.mark.parametrize("link", ["infiniband", "omni-path", "efa"])
def test_networks_are_more_crowded_up_to_as_many_domains_as_were_measured_and_not_beyond(link: str) -> None:
    domains = (8, 16, 32, 36, 37, 512, 4096)
    groups = Exchanges.of(
        [(wires("none", ranks=n, out_link=link), "all_reduce", "") for n in domains], [1e9] * len(domains)
    )  # fmt: skip
    rate = out_rate(groups, library_constants().rows(groups))
    assert np.all(np.diff(rate[:4]) < 0)
    assert np.all(rate[3:] == rate[3])
