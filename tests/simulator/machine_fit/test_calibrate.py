"""From a probe's file to a plan: refused where the data are too few, the same bytes for the same data."""

import os
import tomllib
from types import SimpleNamespace

import pytest

from hwmodels.datafile import CATALOG_VARIABLE
from simulator.cli import cli
from simulator.constants import Constants
from simulator.errors import InputError
from simulator.kernels.device_constants import device_constants, shipped_device_constants
from simulator.machine_fit.calibrate import calibrate
from simulator.measured_constants import measured_constants
from simulator.probe.record import write_record


@pytest.fixture
def run(capsys, monkeypatch):
    """The program as a user meets it: exit code, standard output, standard error."""
    monkeypatch.delenv(CATALOG_VARIABLE, raising=False)

    def run(*words):
        with pytest.raises(SystemExit) as ended:
            cli(args=[str(word) for word in words])
        out, err = capsys.readouterr()
        os.environ.pop(CATALOG_VARIABLE, None)
        return SimpleNamespace(code=ended.value.code, out=out, err=err)

    return run


@pytest.fixture
def here(tmp_path, record):
    path = tmp_path / "here.json"
    write_record(path, record())
    return path


def read(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.toml"))}


def test_a_probe_becomes_a_machine_that_a_plan_runs_on(run, here, tmp_path):
    made = run("calibrate", here, "--out", tmp_path / "mine")
    assert made.code == 0, made.err
    assert "open:" in made.out
    assert "90 % interval" in made.out
    plan = run("plan", "--catalog", tmp_path / "mine", "--system", "this-machine", "--model", "resnet18",
               "--global-batch", 16, "--precision", "fp32")  # fmt: skip
    assert plan.code == 0, plan.err
    assert "of this-machine" in plan.out
    assert "measured kernels of this-machine" not in plan.out
    assert "this-machine: measured on the chip itself" in " ".join(plan.out.split())
    catalog = run("catalog", "chips", "--catalog", tmp_path / "mine")
    assert catalog.code == 0
    assert "this-machine" in catalog.out


def test_the_same_measurements_give_the_same_bytes_in_whatever_order_they_were_made(run, here, tmp_path, record):
    from dataclasses import replace

    turned = record()
    write_record(tmp_path / "b.json", replace(turned, measurements=dict(reversed(turned.measurements.items()))))
    assert run("calibrate", here, "--out", tmp_path / "a").code == 0
    assert run("calibrate", tmp_path / "b.json", "--out", tmp_path / "b").code == 0
    first, second = read(tmp_path / "a"), read(tmp_path / "b")
    assert len(first) == 6
    assert first == second


def test_what_is_measured_on_a_chip_holds_for_it_and_for_no_other(run, here, tmp_path, monkeypatch):
    from simulator.kernels.settings import Setting, Settings

    assert run("calibrate", here, "--out", tmp_path / "mine").code == 0
    before = shipped_device_constants()["cpu"]
    monkeypatch.setenv(CATALOG_VARIABLE, str(tmp_path / "mine"))
    from hwmodels.catalog import chip

    after = device_constants()["cpu"]
    mine, other = (Settings.all_of(Setting(chip=chip(c), precision="fp32", library=""), 1)
                   for c in ("this-machine", "xeon-phi-7250"))  # fmt: skip
    assert measured_constants().knows("this-machine")
    assert not measured_constants().knows("xeon-phi-7250")
    changed = [n for n in before.specs if after.value(n, mine)[0] != before.value(n, mine)[0]]
    assert changed
    assert all(after.value(n, other)[0] == before.value(n, other)[0] for n in before.specs)


def test_a_measured_constant_of_a_chip_goes_before_its_familys_and_of_a_variant_before_both():
    constants = Constants(values={
        "chip:volta:memory_fraction": 0.7, "chip:mine:memory_fraction": 0.5, "chip:mine:optimizer_traffic/adam": 3.0,
        "chip:mine:optimizer_traffic": 2.0,
    })  # fmt: skip
    assert constants.on_chip("memory_fraction", "mine", "volta") == 0.5
    assert constants.on_chip("memory_fraction", "other", "volta") == 0.7
    assert constants.on_chip("optimizer_traffic", "mine", variant="adam") == 3.0
    assert constants.on_chip("optimizer_traffic", "mine", variant="sgd") == 2.0
    assert constants.on_chip("optimizer_traffic", "other", variant="adam") == constants.get("optimizer_traffic")


def test_too_few_products_or_copies_make_no_chip_and_the_message_says_what_to_run(tmp_path, record):
    path = tmp_path / "here.json"
    write_record(path, record(suites=("vector",)))
    with pytest.raises(InputError) as caught:
        calibrate([str(path)])
    assert [p.partition(": run ")[2] for p in caught.value.problems] == [
        "--suites gemm --precision fp32.", "--suites memory.",
    ]  # fmt: skip


def test_what_was_hardly_measured_is_named_with_the_suite_that_would_tell(tmp_path, record):
    path = tmp_path / "here.json"
    write_record(path, record(suites=("gemm", "memory"), count=40))
    machine = calibrate([str(path)]).machine
    missing = "\n".join(machine.missing)
    for suite in ("vector", "attention", "convolution", "optimizer", "launch", "collectives"):
        assert f"--suites {suite}" in missing
    assert machine.fabric is None
    assert machine.host_s is None


def test_the_chip_holds_what_was_reached_and_says_what_was_assumed(here, record):
    machine = calibrate([str(here)]).machine
    products = [m for m in record().measurements.values() if m.case.suite in ("gemm", "convolution")]
    best = max(m.case.flop / m.timing.median_s for m in products
               if m.case.precision == "fp32" and m.case.flop >= 1e7 and m.case.shape.get("pass") != "thin")  # fmt: skip
    assert machine.chip.peak("fp32") == pytest.approx(best)
    assert machine.chip.clock_hz == 3e9
    assert machine.chip.cores == 4
    assert machine.seen.assumed == ("power limit 40 W",)


def test_files_say_how_sure_every_constant_is(run, here, tmp_path):
    assert run("calibrate", here, "--out", tmp_path / "mine").code == 0
    data = tomllib.loads((tmp_path / "mine/calibrations/this-machine.toml").read_text())
    for fit in data["fits"].values():
        assert fit["rows"] > 0
        assert all(low <= value <= high for low, value, high in fit["constants"].values())
    assert data["constants"]["chip:this-machine:plain_fraction"] == 1.0


def test_files_of_two_machines_are_not_fitted_together(tmp_path, record):
    from dataclasses import replace

    a, b = tmp_path / "a.json", tmp_path / "b.json"
    write_record(a, record(suites=("gemm",)))
    write_record(b, replace(record(suites=("memory",)), machine={**record().machine, "threads": 8}))
    with pytest.raises(InputError, match=r"another machine than .* \(threads is 4 there and 8 here\)"):
        calibrate([str(a), str(b)])


def test_two_files_of_one_machine_are_fitted_as_one(tmp_path, record, here):
    names = []
    for i, suites in enumerate((("gemm", "memory", "vector"), ("attention", "optimizer", "convolution", "launch"))):
        write_record(tmp_path / f"{i}.json", record(suites=suites))
        names.append(str(tmp_path / f"{i}.json"))
    whole = calibrate([str(here)]).machine
    parts = calibrate(names).machine
    assert parts.laws["vector"].constants == whole.laws["vector"].constants
    assert parts.chip == whole.chip


def test_a_page_of_residuals_shows_every_fit_and_is_the_same_each_time(run, here, tmp_path):
    pages = []
    for name in ("a", "b"):
        assert run("calibrate", here, "--residuals", tmp_path / f"{name}.html").code == 0
        pages.append((tmp_path / f"{name}.html").read_text())
    assert pages[0] == pages[1]
    fits = calibrate([str(here)]).fits
    assert all(f'id="fit{i}"' in pages[0] for i in range(len(fits)))
    assert "://" not in pages[0].partition("<script>")[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "name at least one file"),
        (("none.json",), "there is no such file"),
        (("HERE", "--name", "My Machine"), "small letters"),
        (("HERE", "--name", "a100-sxm4-80gb", "--out", "x"), "in the catalogue already"),
        (("HERE", "--out", "HERE"), "is a file; name a folder"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(run, here, words, said):
    done = run("calibrate", *(str(here) if word == "HERE" else word for word in words))
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err


def test_json_says_the_same_as_the_text(run, here):
    import json

    data = json.loads(run("calibrate", here, "--json").out)
    assert set(data["fits"]) == set(calibrate([str(here)]).fits)
    assert data["chip"]["kind"] == "cpu"
    assert data["open"]


def test_a_damaged_calibration_is_refused_with_its_line(run, here, tmp_path):
    assert run("calibrate", here, "--out", tmp_path / "mine").code == 0
    path = tmp_path / "mine/calibrations/this-machine.toml"
    path.write_text(path.read_text().replace("[constants]\n", "[constants]\nmemory = -3.0\n", 1))
    asked = ("--system", "this-machine", "--model", "resnet18", "--global-batch", 8)
    done = run("plan", "--catalog", tmp_path / "mine", *asked)
    assert done.code == 2
    assert "constants.memory" in done.err
    assert "Traceback" not in done.err
