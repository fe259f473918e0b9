"""What a collective runs on: wires that cannot be, cases told apart once, constants looked up under the right names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simulator.collectives.exchange import ALGORITHMS, COLLECTIVES, LEVELS, UP_KINDS, Exchanges, Wires
from simulator.collectives.library_specs import SPECS
from simulator.kernels.kernel_constants import EXCHANGE_LEVELS

SERVER = Wires(
    ranks=8, domain_ranks=8, host_ranks=8, up_kind="switch", up_link="nvlink4", up_byte_per_s=450e9,
    pair_byte_per_s=450e9, out_link="", out_byte_per_s=1e18, library="nccl",
)  # fmt: skip
SERVERS = replace(SERVER, ranks=20, out_link="efa", out_byte_per_s=400e9, library="xla+nccl", in_switch=True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"up_kind": "mesh"}, "up_kind 'mesh'; one of switch, rack, pairs"),
        ({"ranks": 0, "domain_ranks": 0}, "0 ranks, 0 of them in a domain"),
        ({"domain_ranks": 0}, "8 ranks, 0 of them in a domain"),
        ({"domain_ranks": 9}, "8 ranks, 9 of them in a domain"),
        ({"host_ranks": 0}, "0 on a host; at least 1 each"),
        ({"up_byte_per_s": 0.0}, "rates are above 0"),
        ({"pair_byte_per_s": -1.0}, "rates are above 0"),
        ({"out_byte_per_s": 0.0}, "rates are above 0"),
        ({"up_byte_per_s": float("nan")}, "rates are above 0"),
    ],
)
def test_wires_that_cannot_be_are_refused_in_one_line(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words) as refused:
        replace(SERVER, **changes)  # type: ignore[arg-type]
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", [kind for kind in UP_KINDS if kind != "rack"])
def test_the_word_of_a_fabric_names_its_link_and_how_it_joins(kind: str) -> None:
    assert replace(SERVER, up_kind=kind).fabric == f"nvlink4-{kind}"
    assert replace(SERVER, up_kind=kind, up_link="").fabric == "none"


@pytest.mark.parametrize(
    ("collective", "algorithm"), [("all_reduced", ""), ("broadcast", "ring"), ("permute", "collnet")]
)
def test_an_unknown_collective_or_algorithm_is_refused(collective: str, algorithm: str) -> None:
    with pytest.raises(ValueError, match=f"'{collective}' by '{algorithm}'; see COLLECTIVES and ALGORITHMS"):
        Exchanges.of([(SERVER, collective, algorithm)], [1.0])


def test_equal_cases_are_kept_once_in_order_of_first_appearance() -> None:
    first, second, third = (SERVER, "all_reduce", ""), (SERVERS, "all_reduce", ""), (SERVER, "all_reduce", "ring")
    x = Exchanges.of([second, first, second, third, first, (replace(SERVER), "all_reduce", "")], [1, 2, 3, 4, 5, 6])
    assert x.distinct == (second, first, third)
    assert x.row.tolist() == [0, 1, 0, 2, 1, 1]
    assert x.message_byte.tolist() == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert x.message_byte.dtype == np.float64
    assert x.rows == 6


def test_no_exchanges_at_all_are_no_rows() -> None:
    x = Exchanges.of([], [])
    assert (x.rows, x.distinct) == (0, ())


def test_fields_are_gathered_to_rows() -> None:
    x = Exchanges.of(
        [(SERVERS, "all_reduce", "tree"), (SERVER, "permute", ""), (SERVERS, "all_reduce", "tree")], [1, 2, 3]
    )
    assert x.number("ranks").tolist() == [20.0, 8.0, 20.0]
    assert x.number("out_byte_per_s").tolist() == [400e9, 1e18, 400e9]
    assert x.holds("collective", "permute", "all_to_all").tolist() == [False, True, False]
    assert x.holds("algorithm", "tree").tolist() == [True, False, True]
    assert x.holds("library", "nccl").tolist() == [False, True, False]
    assert x.holds("in_switch", "True").tolist() == [True, False, True]


@pytest.mark.parametrize(("ranks", "members", "domains"), [(1, 1, 1), (8, 8, 1), (9, 8, 2), (20, 8, 3), (16, 1, 16)])
def test_a_group_spans_as_many_domains_as_its_members_fill(ranks: int, members: int, domains: int) -> None:
    wires = replace(SERVER, ranks=ranks, domain_ranks=members)
    assert Exchanges.of([(wires, "all_reduce", "")], [1.0]).domains.tolist() == [float(domains)]


def test_constants_are_looked_up_under_the_names_of_each_level() -> None:
    x = Exchanges.of([(SERVERS, "all_gather", ""), (SERVER, "permute", "")], [1.0, 1.0])
    assert {level: x.owners(level) for level in LEVELS} == {
        "link": ("nvlink4", "nvlink4"), "fabric": ("nvlink4-switch", "nvlink4-switch"), "out": ("efa", ""),
        "library": ("xla+nccl", "nccl"), "collective": ("all_gather", "permute"),
    }  # fmt: skip


@pytest.mark.parametrize("name", SPECS)
def test_a_constant_varies_on_known_levels_only(name: str) -> None:
    assert set(SPECS[name].levels) <= set(LEVELS) == set(EXCHANGE_LEVELS)
    assert (SPECS[name].unit == "s") == name.endswith("_s") or SPECS[name].unit == "B/s"


def test_words_of_collectives_and_algorithms_are_told_apart() -> None:
    assert len(set(COLLECTIVES)) == len(COLLECTIVES)
    assert len(set(ALGORITHMS)) == len(ALGORITHMS)
    assert "" in ALGORITHMS
