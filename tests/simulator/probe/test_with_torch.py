"""The probe for real, with PyTorch on this machine's CPU: short, and without a claim on any time."""

import json
import os
from types import SimpleNamespace

import pytest

from hwmodels.datafile import CATALOG_VARIABLE
from simulator.cli import cli
from simulator.probe.case import Case, Draw, Scale
from simulator.probe.record import read_record
from simulator.probe.suites import SUITES

torch = pytest.importorskip("torch", reason="the probe measures with PyTorch")

TINY = Scale(flop=(1e4, 1e6), byte=(4096, 1e6))


@pytest.fixture
def run(capsys, monkeypatch):
    monkeypatch.delenv(CATALOG_VARIABLE, raising=False)

    def run(*words):
        with pytest.raises(SystemExit) as ended:
            cli(args=[str(word) for word in words])
        out, err = capsys.readouterr()
        os.environ.pop(CATALOG_VARIABLE, None)
        return SimpleNamespace(code=ended.value.code, out=out, err=err)

    return run


@pytest.mark.parametrize(
    ("name", "stratum"),
    [
        (name, stratum)
        for name, suite in SUITES.items()
        if not suite.between_ranks
        for stratum in suite.strata(("fp32", "bf16"), "cpu")
    ],
)
def test_every_kind_of_every_suite_runs_here(name, stratum):
    suite = SUITES[name]
    case = suite.case(*stratum, Draw(index=1, seed=0, stratum=0), TINY)
    with torch.no_grad():
        suite.prepare(torch, "cpu", case)()


@pytest.mark.parametrize("layout", ["NN", "NT", "TN"])
def test_a_product_has_the_extents_that_it_says(layout):
    shape = {"m": 3, "n": 5, "k": 7, "batch": 1, "layout": layout}
    case = Case(suite="gemm", precision="fp32", shape=shape, flop=1.0, byte=1.0)
    assert tuple(SUITES["gemm"].prepare(torch, "cpu", case)().shape) == (3, 5)


def test_a_few_seconds_give_a_file_that_is_gone_on_with_and_tables_of_it(run, tmp_path):
    out, table = tmp_path / "here.json", tmp_path / "kernels.csv"
    words = ("probe", "--device", "cpu", "--threads", 1, "--suites", "gemm,memory,launch,vector", "--out", out)
    first = run(*words, "--minutes", 0.02)
    assert first.code == 0, first.err
    assert "cases left would take about" in first.err
    assert first.out == ""
    count = len(read_record(out).measurements)
    again = run(*words, "--minutes", 0.05, "--csv", table)
    assert again.code == 0
    assert len(read_record(out).measurements) > count
    assert "kernel,chip,precision" in table.read_text()
    machine = json.loads(out.read_text())["machine"]
    assert machine["device"] == "cpu"
    assert machine["threads"] == 1
    assert "fp32" in machine["precisions"]


def test_collectives_run_between_two_processes(run, tmp_path):
    out = tmp_path / "here.json"
    done = run("probe", "--device", "cpu", "--threads", 1, "--suites", "collectives", "--out", out, "--minutes", 0.03)
    assert done.code == 0, done.err
    record = read_record(out)
    assert record.measurements or set(record.refused.values()), done.err
    assert all(m.ranks == 2 and m.library == "gloo" for m in record.measurements.values())


def test_a_listing_measures_nothing(run):
    done = run("probe", "--list", "--device", "cpu")
    assert done.code == 0
    assert all(f"{name}: " in done.out for name in SUITES)
    told = json.loads(run("probe", "--list", "--device", "cpu", "--json").out)
    assert set(told["suites"]) == set(SUITES)
    assert not any(s["measured"] for s in told["suites"].values())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--out: is needed"),
        (("--out", "x.json", "--minutes", "-1"), "legal: above 0"),
        (("--list", "--suites", "gemms"), "Did you mean 'gemm'?"),
        (("--list", "--precision", "fp3"), "does not multiply here"),
        (("--out", "no/such/folder/x.json"), "there is no directory"),
    ],
)
def test_bad_input_is_said_and_exit_2(run, words, said):
    done = run("probe", "--device", "cpu", *words)
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err


def test_a_card_that_is_not_there_is_said(run):
    if torch.cuda.is_available():
        pytest.skip("there is a card")
    assert "finds no CUDA" in run("probe", "--list", "--device", "cuda").err
