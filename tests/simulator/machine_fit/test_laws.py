"""Constants that were planted are found again within their confidence, and beat the roofline on shapes held out."""

import numpy as np
import pytest

from simulator.kernels.device_constants import shipped_device_constants
from simulator.machine_fit import laws
from simulator.machine_fit.fabric import fabric_law, why_no_fabric
from simulator.machine_fit.families import deviations_of, family_law, fitted_families
from simulator.machine_fit.fitting import fit_law
from simulator.probe.suites.launch import ISSUED

from .conftest import cases, within


def planted(make, values):
    """Seconds of rows by the law that `make` makes of them, with planted constants; others at their priors."""

    def seconds(rows):
        law = make(rows)
        full = {name: np.full(len(rows), values.get(name, spec.prior)) for name, spec in law.specs.items()}
        return law.seconds(full)

    return seconds


LAWS = {
    "vector": (
        "vector", None, lambda rows, chip: laws.vector_law(rows, chip),
        {"memory_fraction": 0.4, "kernel_ramp_s": 5e-6, "cached_byte": 4e7, "cache_speed": 5.0, "narrow_element": 1.5,
         "tanh_element_s": 1e-9, "gelu_bwd_element_s": 2e-9},
    ),
    "attention": (
        "attention", "fp32", lambda rows, chip: laws.attention_law(rows, chip, "fp32", 3e-6),
        {"attention_fraction": 0.5, "attention_backward_fraction": 0.3, "pair_s": 2e-9, "head_s": 5e-6},
    ),
    "thin": (
        "convolution", "thin", lambda rows, chip: laws.thin_law(rows, chip, 3e-6, 0.5),
        {"thin_conv_fraction": 0.02, "thin_conv_traffic": 2.0},
    ),
    "optimizer": (
        "optimizer", "adam", lambda rows, chip: laws.optimizer_law(rows, chip, "adam", 0.5),
        {"optimizer_traffic": 2.0, "tensor_s": 2e-5},
    ),
    "embedding": (
        "embedding", None,
        lambda rows, chip: laws.embedding_law(rows, chip, 3e-6, {"memory_fraction": 0.5, "cached_byte": 3e7,
                                                                 "cache_speed": 4.0}),
        {"embedding_traffic": 3.0, "embedding_backward_traffic": 0.7},
    ),
    "launch": (
        "launch", "layer_and_gradient", lambda rows, chip: laws.launch_law(rows, chip, ISSUED),
        {"host_s": 7e-6},
    ),
}  # fmt: skip


def chosen(suite, what):
    found = cases(suite)
    if what in ("fp32", "bf16"):
        return [c for c in found if c.precision == what]
    words = ("kind", "rule", "pass", "op")
    return found if what is None else [
        c for c in found if what in [c.shape.get(w) for w in words] and c.precision == "fp32"
    ]  # fmt: skip


@pytest.mark.parametrize("name", LAWS)
def test_planted_constants_are_found_within_their_confidence(name, chip, observed):
    suite, what, make, values = LAWS[name]
    rows = observed(chosen(suite, what), planted(lambda r: make(r, chip), values))
    fit = fit_law(make(rows, chip))
    for constant, value in values.items():
        found = fit.constants[constant]
        if found.determined:
            assert within(found, value), (constant, value, found)
    assert any(fit.constants[c].determined for c in values)


@pytest.mark.parametrize("name", [n for n in LAWS if n != "launch"])
def test_held_out_shapes_are_predicted_to_the_noise_and_better_than_by_the_roofline(name, chip, observed):
    suite, what, make, values = LAWS[name]
    fit = fit_law(make(observed(chosen(suite, what), planted(lambda r: make(r, chip), values)), chip))
    assert fit.median < 0.06
    assert fit.median < fit.yardstick_median


def test_without_noise_a_law_is_recovered_to_a_per_cent(chip, observed):
    values = {"optimizer_traffic": 3.0, "tensor_s": 3e-5}

    def make(rows):
        return laws.optimizer_law(rows, chip, "adam", 0.5)

    fit = fit_law(make(observed(chosen("optimizer", "adam"), planted(make, values), scale=0.0)))
    for name, value in values.items():
        assert fit.value(name) == pytest.approx(value, rel=0.02)


def test_more_rows_leave_smaller_intervals(chip, observed):
    def make(rows):
        return laws.vector_law(rows, chip)

    widths = []
    for count in (24, 192):
        fit = fit_law(make(observed(cases("vector", count), planted(make, {"memory_fraction": 0.4}))))
        c = fit.constants["memory_fraction"]
        widths.append(c.high / c.low)
    assert widths[1] < widths[0]


def test_what_no_row_depends_on_stays_open_at_its_prior(chip, observed):
    """Products alone say nothing of convolutions."""

    def make(rows):
        return family_law("cpu", rows, chip)

    fit = fit_law(make(observed(cases("gemm", 60), planted(make, {}))))
    assert {"cpu_scatter_clock", "cpu_weights_fraction", "cpu_conv_fraction"} <= set(fit.open)
    assert fit.value("cpu_scatter_clock") == pytest.approx(1.0)
    assert "cpu_gemm_fraction" not in fit.open


def test_the_kernel_model_of_a_machine_is_found_as_its_deviation_from_its_kin(chip, observed):
    values = {"cpu_gemm_fraction": 0.8, "cpu_sync_s": 0.5}

    def make(rows):
        return family_law("cpu", rows, chip)

    rows = observed(cases("gemm", 160), planted(make, values))
    fits = fitted_families(rows, chip)
    for name, value in values.items():
        assert within(fits["cpu"].constants[name], value), (name, fits["cpu"].constants[name])
    found = deviations_of(fits, chip)["cpu"]
    assert found["cpu_gemm_fraction@chip=this-machine"] == pytest.approx(np.log(0.8), abs=0.15)
    assert all(key.partition("@")[0] in shipped_device_constants()["cpu"].specs for key in found)
    assert fits["cpu"].median < 0.06


@pytest.mark.parametrize("call_s", [2e-5, 5e-4])
def test_a_fabric_is_found_as_the_library_scaled_and_a_time_for_each_call(observed, call_s):
    modelled = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all")
    collectives = [c for c in cases("collectives") if c.shape["kind"] in modelled]
    values = {"call_s": call_s, "wire_scale": 1.4}

    def make(rows):
        return fabric_law(rows, "some-link", 2e9)

    rows = observed(collectives, planted(make, values))
    assert why_no_fabric(rows) == ""
    fit = fit_law(make(rows))
    assert all(within(fit.constants[name], value) for name, value in values.items())


def test_a_fabric_needs_small_and_large_sizes(observed):
    collectives = [c for c in cases("collectives") if c.shape["kind"] == "all_reduce" and c.byte > 1e6]
    rows = observed(collectives, lambda r: np.full(len(r), 1e-3))
    assert "small and of large" in why_no_fabric(rows)
    assert "run --suites collectives" in why_no_fabric([])


def test_a_noisy_row_counts_less_than_a_steady_one(chip, observed):
    from dataclasses import replace

    rows = observed(chosen("optimizer", "adam"), lambda r: np.full(len(r), 1e-3))
    assert replace(rows[0], spread=0.4).weight < 0.3 * replace(rows[0], spread=0.0).weight
