"""With PyTorch: every call of a network has a law, work agrees with the importer, a short run is sane."""

import json

import pytest

from simulator.bench import models
from simulator.bench.calls import calls_of
from simulator.bench.models import built, short_cases, single_cases
from simulator.bench.predict import predicted
from simulator.machine_fit.calibrate import fitted_steps
from simulator.machine_fit.step_laws import lengths_of
from simulator.probe.shipped import shipped_probe

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def machine():
    return fitted_steps(shipped_probe())


@pytest.mark.parametrize("case", [c for c in short_cases() if c.ranks == 1], ids=lambda c: c.name)
def test_every_call_of_a_network_has_a_law_in_the_shipped_probe(case, machine):
    step = calls_of(torch, *built(torch, case))
    assert not step.unknown
    found = predicted(step, machine.steps)
    assert not found.unknown
    assert 1e-4 < found.whole_s < 1.0
    assert found.update_s > 0.0


@pytest.mark.parametrize("kind", models.NETWORKS)
def test_gradients_complete_one_after_the_other_are_all_parameters(kind):
    case = next(c for c in short_cases() if c.kind == kind)
    module, inputs, optimizer = built(torch, case)
    step = calls_of(torch, module, inputs, optimizer)
    assert sum(byte for byte, _ in step.gradients) == 4 * sum(p.numel() for p in module.parameters())
    places = [place for _, place in step.gradients]
    assert places == sorted(places)


@pytest.mark.parametrize("kind", ["convnet", "decoder"])
def test_products_of_a_step_are_those_of_the_imported_workload(kind):
    # Forward, and twice as much backward, but for the gradient of the images, which nobody needs.
    from workloads.importers.torch_export import workload_from_module

    case = next(c for c in short_cases() if c.kind == kind)
    module, inputs, optimizer = built(torch, case)
    step = calls_of(torch, module, inputs, optimizer)
    made = 0.0
    for call in step.calls:
        s = call.lengths
        if call.suite == "gemm":
            made += 2.0 * s["m"] * s["n"] * s["k"] * s["batch"]
        elif call.suite == "convolution":
            side = (s["conv_h"] + 2 * s["pad_h"] - s["filt_h"]) // s["stride_h"] + 1
            made += 2.0 * s["conv_n"] * side**2 * s["conv_k"] * s["conv_c"] * s["filt_h"] * s["filt_w"]
    workload = workload_from_module(module, inputs, name="tiny", samples=case.batch)
    meant = 0.0
    for layer in workload.layers:
        for op in layer.ops:
            if op.kind in ("gemm", "conv"):
                meant += layer.repeat * op.forward_flop * (3.0 if op.input_needs_gradient else 2.0) * case.batch
    assert made == pytest.approx(meant, rel=1e-9)


def test_the_time_of_every_kind_grows_with_every_length():
    lengths = {"rows": 64.0, "cells": 4096.0, "m": 64.0, "n": 64.0, "k": 64.0, "batch": 1.0}
    for suite, kind in (("training", "add"), ("layers", "dense fwd")):
        small = lengths_of(suite, kind)(lengths)
        large = lengths_of(suite, kind)({name: 2.0 * x for name, x in lengths.items()})
        assert all(large[name] >= small[name] for name in small)


def test_the_names_of_cases_are_their_own():
    names = [c.name for c in (*single_cases(), *models.shared_cases(), *short_cases())]
    assert len(set(names)) == len(names)


def test_a_short_bench_runs_and_says_what_it_found(run, tmp_path):
    out = tmp_path / "bench.json"
    done = run("bench", "--short", "--only", "decoder", "--json", "--out", str(out))
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert [r["name"] for r in told["results"]] == [c.name for c in short_cases() if c.kind == "decoder"]
    assert all(r["measured_s"] > 0 and r["predicted_s"] > 0 and not r["unpriced"] for r in told["results"])
    shared = told["results"][-1]
    assert 0.0 <= shared["overlap_measured"] <= 1.0 >= shared["overlap_predicted"] >= 0.0
    # A second run has nothing left to train, and says the same.
    again = run("bench", "--short", "--only", "decoder", "--json", "--out", str(out))
    assert json.loads(again.out) == told


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--short", "--only", "gpt"), "no case has 'gpt'"),
        (("--seconds", "0"), "legal: above 0"),
        (("--short", "--json", "--markdown"), "choose one"),
        (("--probe", "no/such/folder/x.json"), "there is no directory"),
        ((), "name --out FILE.json"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(run, words, said):
    done = run("bench", *words)
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err
