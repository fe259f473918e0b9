"""Laws of a step's calls: planted constants come back, far bytes cost more, channels are padded to whole vectors."""

import numpy as np
import pytest

from simulator.machine_fit.fitting import fit_law
from simulator.machine_fit.memory_levels import Traffic, beyond_s, byte_s, cycled, kept_share, of_memory
from simulator.machine_fit.neighbour_laws import hindrance_of
from simulator.machine_fit.observations import Observation
from simulator.machine_fit.step_laws import (
    attention_lengths,
    conv_lengths,
    dense_lengths,
    fitted_step_laws,
    recurrent_lengths,
    step_law,
)  # fmt: skip
from simulator.probe.suites import SUITES

from .conftest import SCALE

LEVELS = {
    "near_byte_s": 1e-11, "last_byte_s": 2e-11, "memory_byte_s": 8e-11, "write_scale": 1.5, "near_byte": 1e6,
    "last_byte": 2e7, "call_s": 2e-6,
}  # fmt: skip


def observation(case, seconds):
    return Observation(
        id=case.id, suite=case.suite, precision=case.precision, shape=case.shape, seconds=seconds, flop=case.flop,
        byte=case.byte,
    )  # fmt: skip


def test_a_byte_costs_more_the_longer_ago_it_was_touched_and_far_writes_more_than_reads():
    distance = np.logspace(3, 10, 40)
    read = byte_s(distance, np.zeros(40, bool), LEVELS)
    assert (np.diff(read) >= -1e-18).all()
    assert read[0] == pytest.approx(LEVELS["near_byte_s"], rel=1e-3)
    assert read[-1] == pytest.approx(LEVELS["memory_byte_s"], rel=1e-3)
    assert (byte_s(distance, np.ones(40, bool), LEVELS) >= read).all()


def test_a_cache_holds_half_of_what_was_touched_its_size_ago():
    assert kept_share(np.array([1e6]), 1e6) == pytest.approx(0.5)


def test_what_a_call_touches_in_its_own_caches_costs_nothing_beyond_its_work():
    near = Traffic.of([(1e3, 1e3, False)])
    assert beyond_s(near, LEVELS) == pytest.approx(0.0, abs=1e-12)
    assert beyond_s(Traffic.of([(1e3, 1e9, False)]), LEVELS) == pytest.approx(7e-8, rel=1e-3)


def test_more_sets_of_operands_lie_farther_and_what_is_made_lies_near():
    few, many = (cycled(1e5, 0.0, 1e5, sets) for sets in (1, 64))
    assert many.distance_byte[0] > few.distance_byte[0]
    assert many.distance_byte[2] == few.distance_byte[2]


@pytest.mark.parametrize("kind", SUITES["memory"].strata(("fp32",), "cpu"))
def test_a_case_of_the_memory_suite_touches_the_bytes_it_states(kind):
    case = next(c for c in SUITES["memory"].cases(("fp32",), "cpu", 0, SCALE) if c.shape["kind"] == kind[1])
    assert of_memory(observation(case, 1.0)).byte.sum() == pytest.approx(case.byte)


@pytest.mark.parametrize(("suite", "kind"), [("training", "gelu"), ("layers", "dense fwd"), ("layers", "conv fwd")])
def test_planted_times_predict_rows_that_were_held_out(suite, kind, chip):
    cases = [c for c in SUITES[suite].cases(("fp32",), "cpu", 0, SCALE) if c.shape["kind"] == kind]
    rows = [observation(case, 1.0) for case in cases]
    law = step_law(suite, kind, rows, chip, LEVELS)
    true = {name: np.full(len(rows), spec.prior * 1.7) for name, spec in law.specs.items()}
    noise = np.exp(np.random.default_rng(0).normal(0.0, 0.02, len(rows)))
    seen = [observation(c, float(t)) for c, t in zip(cases, law.seconds(true) * noise, strict=True)]
    fit = fit_law(step_law(suite, kind, seen, chip, LEVELS))
    assert fit.median < 0.04


def test_a_probe_gives_a_law_for_every_kind_of_call_and_too_little_gives_none(record, chip):
    from simulator.machine_fit.observations import of_record

    observations = of_record(record(("memory", "training", "embedding"), 260, ("fp32",)))
    laws = fitted_step_laws(observations, chip)
    assert {kind for suite, kind in laws.fits if suite == "training"} <= {k for _, k in SUITES["training"].strata(
        ("fp32",), "cpu")}  # fmt: skip
    assert ("embedding", "bwd") in laws.fits
    assert fitted_step_laws([], chip) is None


def test_channels_fill_whole_vectors_but_for_those_of_images():
    shape = {
        "conv_n": 2.0, "conv_c": 17.0, "conv_h": 8.0, "conv_w": 8.0, "conv_k": 16.0, "filt_h": 3.0, "filt_w": 3.0,
        "pad_h": 1.0, "pad_w": 1.0, "stride_h": 1.0, "stride_w": 1.0,
    }  # fmt: skip
    assert conv_lengths(shape)["multiply_s"] == 2.0 * 2 * 64 * 32 * 16 * 9
    assert conv_lengths(shape | {"conv_c": 3.0})["multiply_s"] == 2.0 * 2 * 64 * 3 * 16 * 9


def test_causal_attention_works_on_more_than_half_and_less_than_all_pairs():
    shape = {"batch": 1.0, "heads": 1.0, "seq_len": 256.0, "head_dim": 64.0, "causal": 0.0}
    whole, half = attention_lengths(shape)["pair_s"], attention_lengths(shape | {"causal": 1.0})["pair_s"]
    assert whole == 256.0**2
    assert 0.5 * whole < half < whole


def test_a_recurrent_layers_multiply_adds_are_those_of_its_products():
    shape = {"timesteps": 5.0, "batch": 4.0, "inputs": 32.0, "hidden": 64.0}
    found = recurrent_lengths(shape)
    product = dense_lengths({"m": 256.0, "n": 20.0, "k": 1.0})["multiply_s"]
    assert found["multiply_s"] + found["chain_multiply_s"] == product * (32 + 64)


def test_hindrance_is_what_an_exchange_adds_to_the_longer_of_the_two():
    def row(kind, seconds):
        return Observation(
            id=kind, suite="collectives", precision="fp32", shape={"kind": kind, "size_bytes": 4096, "side": 64},
            seconds=seconds, flop=1.0, byte=4096.0,
        )  # fmt: skip

    rows = [row("all_reduce_beside", 1.0), row("product_beside", 2.0), row("together_beside", 2.4)]
    assert hindrance_of(rows) == pytest.approx(0.4)
    assert hindrance_of(rows[:2]) is None
