"""The user's own chips, servers and systems: they work everywhere, and what is wrong with them is said at once."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

import hwmodels.catalog as hardware
from hwmodels.datafile import CATALOG_VARIABLE, DataFileError, use_catalog
from simulator.calibration_data import load_constants
from simulator.cli import cli
from simulator.cluster import system

SHIPPED = Path(hardware.DATA)
SYSTEMS = Path(__file__).parents[2] / "simulator" / "data" / "systems"


@pytest.fixture(autouse=True)
def _no_folders(monkeypatch):
    monkeypatch.setenv(CATALOG_VARIABLE, "")


def renamed(source: Path, target: Path, changes):
    text = source.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")


@pytest.fixture
def folder(tmp_path):
    """A folder with a chip of twice an H100's memory bandwidth, a server of eight and a system of them."""
    renamed(
        SHIPPED / "chips" / "h100-sxm5.toml", tmp_path / "chips" / "h900.toml",
        [('id = "h100-sxm5"', 'id = "h900"'), ("NVIDIA H100", "A chip of mine, H900")],
    )  # fmt: skip
    renamed(
        SHIPPED / "servers" / "dgx-h100.toml", tmp_path / "servers" / "box-h900.toml",
        [('id = "dgx-h100"', 'id = "box-h900"'), ('chip = "h100-sxm5"', 'chip = "h900"')],
    )  # fmt: skip
    renamed(
        SYSTEMS / "dgx-h100.toml", tmp_path / "systems" / "my-room.toml",
        [('id = "dgx-h100"', 'id = "my-room"'), ('server = "dgx-h100"', 'server = "box-h900"')],
    )  # fmt: skip
    return tmp_path


def run(*args):
    result = CliRunner().invoke(cli, [str(arg) for arg in args])
    assert "Traceback" not in result.output
    return result


def test_a_chip_of_the_users_is_priced_like_one_that_ships(folder):
    mine = run("roofline", "--catalog", folder, "--model", "bert-large", "--chip", "h900", "--json")
    theirs = run("roofline", "--model", "bert-large", "--chip", "h100-sxm5", "--json")
    assert mine.exit_code == theirs.exit_code == 0, mine.output
    mine, theirs = (json.loads(one.stdout)["total"] for one in (mine, theirs))
    assert mine["flop"] == theirs["flop"]
    # All but the clock under load, which was fitted for the chip that ships and is as printed for the user's.
    clock = load_constants().get("clock_scale", "h100-sxm5")
    assert mine["time_s"] == pytest.approx(theirs["time_s"], rel=abs(clock - 1.0) + 1e-9)


@pytest.mark.parametrize("before", [True, False], ids=["before the command", "after it"])
def test_a_system_of_the_users_is_planned_on(folder, before):
    job = ("--model", "gpt3-175b", "--system", "my-room", "--chips", "64", "--global-batch", "64", "--top", "1")
    args = ("--catalog", folder, "plan", *job) if before else ("plan", "--catalog", folder, *job)
    result = run(*args, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["ranked"]


def test_a_file_directly_in_the_folder_is_a_chip(tmp_path):
    renamed(SHIPPED / "chips" / "h100-sxm5.toml", tmp_path / "h901.toml", [('id = "h100-sxm5"', 'id = "h901"')])
    assert run("catalog", "--catalog", tmp_path, "chips", "h901").exit_code == 0


def test_without_the_folder_the_chip_is_unknown():
    result = run("roofline", "--model", "bert-large", "--chip", "h900")
    assert result.exit_code == 2
    assert "h900" in result.output


def test_every_problem_of_every_file_is_one_line(folder):
    chip = folder / "chips" / "h900.toml"
    chip.write_text(chip.read_text().replace('architecture = "hopper"', 'architecture = "hoper"'), encoding="utf-8")
    (folder / "links").mkdir()
    (folder / "links" / "wire.toml").write_text("schema = 1\n", encoding="utf-8")
    result = run("catalog", "--catalog", folder, "chips")
    assert result.exit_code == 2
    assert "Did you mean 'hopper'" in result.output
    assert "wire.toml" in result.output
    assert "h900.toml:" in result.output


def test_a_name_that_ships_is_not_replaced(tmp_path):
    renamed(SHIPPED / "chips" / "h100-sxm5.toml", tmp_path / "h100-sxm5.toml", [])
    result = run("catalog", "--catalog", tmp_path, "chips")
    assert result.exit_code == 2
    assert "already" in result.output


@pytest.mark.parametrize("made", [False, True], ids=["absent", "empty"])
def test_a_folder_without_data_is_refused(tmp_path, made):
    path = tmp_path / "mine"
    if made:
        path.mkdir()
    result = run("catalog", "--catalog", path, "chips")
    assert result.exit_code == 2
    assert "--catalog" in result.output


def test_the_folder_reaches_worker_processes_through_the_environment(folder):
    use_catalog(str(folder))
    use_catalog(str(folder))
    assert os.environ[CATALOG_VARIABLE] == str(folder)
    assert system("my-room").cluster.chip.id == "h900"
    assert "h900" in hardware.chip_ids()


def test_a_folder_whose_path_cannot_be_joined_is_refused(tmp_path):
    odd = tmp_path / f"a{os.pathsep}b"
    odd.mkdir()
    with pytest.raises(DataFileError, match="in its path"):
        use_catalog(str(odd))
