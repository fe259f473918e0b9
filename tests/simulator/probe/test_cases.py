"""Cases are spread evenly over their ranges, in an order whose every prefix is balanced, the same for the same seed."""

import math
from collections import Counter

import pytest

from simulator.probe.case import Draw, Scale
from simulator.probe.run import Plan
from simulator.probe.suites import SUITES

SCALE = Scale(flop=(1e6, 1e10), byte=(1 << 12, 2.0**28))
PRECISIONS = ("fp32", "bf16")


@pytest.mark.parametrize("name", SUITES)
def test_a_seed_gives_the_same_cases_and_another_seed_others(name):
    suite = SUITES[name]
    first = [c.id for c in suite.cases(PRECISIONS, "cpu", 0, SCALE)]
    assert first == [c.id for c in suite.cases(PRECISIONS, "cpu", 0, SCALE)]
    assert first != [c.id for c in suite.cases(PRECISIONS, "cpu", 1, SCALE)]
    assert len(set(first)) == len(first) > 10


def kind(case):
    s = case.shape
    word = next((s[key] for key in ("layout", "kind", "op", "rule", "pass") if key in s), "")
    return case.precision, f"{word} causal" if s.get("causal") else word


@pytest.mark.parametrize("name", SUITES)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_round_of_a_suite_has_each_of_its_strata_as_often_as_it_is_meant(name, device):
    suite = SUITES[name]
    strata = suite.strata(PRECISIONS, device)
    made = [
        suite.case(*strata[i % len(strata)], Draw(index=i // len(strata), seed=0, stratum=i % len(strata)), SCALE)
        for i in range(3 * len(strata))
    ]
    for done in range(1, 4):
        assert Counter(map(kind, made[: done * len(strata)])) == Counter(strata * done)


@pytest.mark.parametrize("name", SUITES)
def test_work_and_bytes_of_a_case_are_finite_and_within_what_a_call_may_take(name):
    for case in SUITES[name].cases(PRECISIONS, "cuda", 3, SCALE):
        assert 0.0 <= case.flop <= 40.0 * SCALE.flop[1]
        assert 0.0 <= case.byte <= 40.0 * SCALE.byte[1]
        assert all(type(v) in (int, str) for v in case.shape.values())
        assert all(v >= 0 for v in case.shape.values() if type(v) is int)


@pytest.mark.parametrize("axis", range(5))
@pytest.mark.parametrize("seed", [0, 7])
def test_a_prefix_covers_an_axis_more_evenly_than_chance_would(axis, seed):
    for length in (32, 128):
        shares = sorted(Draw(index=i, seed=seed, stratum=2).share(axis) for i in range(length))
        assert all(0.0 <= s < 1.0 for s in shares)
        # Largest distance from the even distribution; of independent draws it has a mean of 0.87 / sqrt(n).
        assert max(abs(s - (i + 0.5) / length) for i, s in enumerate(shares)) < 0.87 / math.sqrt(length)


def test_tf32_is_a_way_to_multiply_and_no_precision_of_anything_else():
    words = ("fp32", "tf32", "bf16")
    assert {"tf32"} <= {p for p, _ in SUITES["gemm"].strata(words, "cuda")}
    for name in ("vector", "attention", "embedding", "optimizer", "memory"):
        assert "tf32" not in {p for p, _ in SUITES[name].strata(words, "cuda")}


def test_the_first_round_has_a_case_of_every_suite_and_none_is_left_out_or_twice():
    plan = Plan(cases={n: tuple(s.cases(PRECISIONS, "cpu", 0, SCALE)) for n, s in SUITES.items()})
    order = list(plan.in_turn())
    assert [c.suite for c in order[: len(SUITES)]] == list(SUITES)
    assert sorted(c.id for c in order) == sorted(c.id for cases in plan.cases.values() for c in cases)


def test_a_product_counts_two_operations_for_every_multiply_add():
    for case in SUITES["gemm"].cases(("fp32",), "cpu", 0, SCALE):
        s = case.shape
        assert case.flop == 2.0 * s["batch"] * s["m"] * s["n"] * s["k"]
        assert case.byte == 4.0 * s["batch"] * (s["m"] * s["k"] + s["k"] * s["n"] + s["m"] * s["n"])


def test_overlap_times_the_same_shapes_together_and_apart():
    shapes = {}
    for case in SUITES["overlap"].cases(("fp32",), "cpu", 0, SCALE):
        shapes.setdefault(case.shape["kind"], []).append((case.shape["side"], case.shape["elements"]))
    assert shapes["together"] == shapes["product"] == shapes["copy"]
