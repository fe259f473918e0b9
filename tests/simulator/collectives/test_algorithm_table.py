"""The table of algorithms, and one clear line for every question that does not fit."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.collectives.algorithms import ALGORITHMS, COLLECTIVES, algorithm, algorithms_for
from simulator.collectives.rounds import CollectiveError

PAIRS = [(name, collective) for name, one in ALGORITHMS.items() for collective in one.collectives]


def named(pairs):
    return [f"{name}-{collective}" for name, collective in pairs]


def test_every_collective_has_an_algorithm_on_any_number_of_ranks():
    assert set(COLLECTIVES) == {
        "point_to_point", "permute", "broadcast", "reduce", "scatter", "gather", "all_reduce", "reduce_scatter",
        "all_gather", "all_to_all", "halo_exchange", "barrier",
    }  # fmt: skip
    for collective in COLLECTIVES:
        for n in range(1, 65):
            assert algorithms_for(collective, n)
            assert all(algorithm(name, collective, n) is ALGORITHMS[name] for name in algorithms_for(collective, n))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rign", "all_reduce", 4), "algorithm is 'rign'; one of .* Did you mean 'ring'?"),
        (("halving-doubling", "all_reduce", 4), "Did you mean 'halving_doubling'?"),
        (("ring", "allreduce", 4), "collective is 'allreduce'; one of .* Did you mean 'all_reduce'?"),
        (("ring", "all_to_all", 4), "algorithm 'ring' runs .*; all_to_all on 4 ranks: bruck, pairwise"),
        (("recursive_doubling", "all_gather", 6), "needs a power of two for all_gather; .* 6 ranks: ring, .*bruck"),
        (("ring", "all_reduce", 0), "ranks is 0; a whole number, at least 1"),
        (("ring", "all_reduce", 2.5), "ranks is 2.5; a whole number"),
    ],
)
def test_a_question_that_does_not_fit_gets_one_clear_line(arguments, message):
    with pytest.raises(CollectiveError, match=message) as error:
        algorithm(*arguments)
    assert "\n" not in str(error.value)


WIRE = {"ranks": 4, "message_byte": 8, "latency_s": 0.0, "byte_per_s": 1.0}


@pytest.mark.parametrize(("name", "collective"), PAIRS, ids=named(PAIRS))
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"ranks": 0}, "ranks is 0; a whole number, at least 1"),
        ({"ranks": 2.5}, "ranks is 2.5; a whole number"),
        ({"ranks": np.nan}, "ranks is nan"),
        ({"message_byte": -1}, "message_byte is -1; a finite number, at least 0"),
        ({"message_byte": np.array([4, np.inf])}, "message_byte is inf"),
        ({"latency_s": -1e-6}, "latency_s is -1e-06"),
        ({"byte_per_s": 0.0}, "byte_per_s is 0; above 0"),
    ],
)
def test_every_closed_form_refuses_what_cannot_be(name, collective, wrong, message, option_sets):
    one = ALGORITHMS[name]
    with pytest.raises(CollectiveError, match=message):
        one.seconds(collective, **(WIRE | wrong), **option_sets(one, collective, 4)[0])


@pytest.mark.parametrize(("name", "collective"), PAIRS, ids=named(PAIRS))
def test_every_algorithm_refuses_other_collectives_and_half_ranks(name, collective, option_sets):
    one = ALGORITHMS[name]
    options = option_sets(one, collective, 4)[0]
    with pytest.raises(CollectiveError, match="no 'all_sum'; it runs"):
        one.rounds("all_sum", 4, 8, **options)
    with pytest.raises(CollectiveError, match="no 'all_sum'; it runs"):
        one.seconds("all_sum", **WIRE, **options)
    with pytest.raises(CollectiveError, match="ranks is 0; a whole number, at least 1"):
        one.rounds(collective, 0, 8, **options)
    with pytest.raises(CollectiveError, match=r"message_byte is 0.5; a whole number of bytes"):
        one.rounds(collective, 4, 0.5, **options)
    assert set(one.needs) <= set(one.options) <= set(option_sets(one, collective, 4)[0]) | {"chunks"}


@pytest.mark.parametrize(
    ("name", "collective", "options", "message"),
    [
        ("chain", "broadcast", {"chunks": 0}, "chunks is 0; a whole number, at least 1"),
        ("double_binary_tree", "all_reduce", {"chunks": 1.5}, "chunks is 1.5"),
        ("binomial", "reduce", {"root": 4}, "root is 4; a rank from 0 to 3"),
        (
            "two_level",
            "all_reduce",
            {"ranks_per_server": 3},
            "ranks is 4 with 3 ranks_per_server; a multiple, such as 3",
        ),
        (
            "two_level",
            "all_reduce",
            {"ranks_per_server": 2, "across": "tree"},
            "across is 'tree'; for all_reduce one of ring",
        ),
        ("torus", "all_reduce", {"dims": (2, 3)}, "dims 2x3 hold 6 ranks, asked for 4"),
        ("torus", "all_reduce", {"dims": ()}, r"dims \(\) hold 1 ranks"),
        ("halo", "halo_exchange", {"grid": (2, 3), "cells": (4, 1)}, r"grid \(2, 3\) over cells \(4, 1\) for 4 ranks"),
        (
            "halo",
            "halo_exchange",
            {"grid": (4, 1), "cells": (4, 2), "width": 2},
            "width is 2, but some rank has 1 layers",
        ),
        ("halo", "halo_exchange", {"grid": (2, 2), "cells": (3, 3)}, "message_byte is 8 for 9 cells"),
        ("direct", "point_to_point", {"target": 4}, "target is 4; a rank from 0 to 3"),
    ],
)
def test_options_that_do_not_fit_get_one_clear_line(name, collective, options, message):
    with pytest.raises(CollectiveError, match=message):
        ALGORITHMS[name].rounds(collective, 4, 8, **options)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("two_level", {"ranks_per_server": 3}, "ranks is 4; a multiple of ranks_per_server"),
        ("torus", {"dims": (2, 3)}, "ranks is 4; the product of dims"),
        ("torus", {"dims": ()}, "dims is empty; at least one size"),
        ("recursive_doubling", {"ranks": 6}, "ranks is 6; the all-gather needs a power of two"),
    ],
)
def test_closed_forms_refuse_options_that_do_not_fit(name, options, message):
    collective = "all_gather" if name == "recursive_doubling" else "all_reduce"
    with pytest.raises(CollectiveError, match=message):
        ALGORITHMS[name].seconds(collective, **(WIRE | options))
