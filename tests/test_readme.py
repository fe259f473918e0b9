"""What README.md shows is what its commands print and what the stored record says; its install lines can be run."""

import importlib.util
import math
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from simulator.calibration_data import load_record
from simulator.validation.record_files import recorded_groups, recorded_runs, shipped_rows
from simulator.validation.scoreboard.stored import stored_scoreboard

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
REFRESH = "make it anew with: python tests/readme_blocks.py [RUNS.csv]"


def _load_blocks():
    spec = importlib.util.spec_from_file_location("readme_blocks", ROOT / "tests" / "readme_blocks.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["readme_blocks"] = module
    spec.loader.exec_module(module)
    return module


blocks = _load_blocks()


def fences(language):
    """Fenced blocks of a language, without the fences."""
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


def consoles():
    """(command, shown lines) of everything README shows as typed and printed."""
    for fence in fences("console"):
        command, *shown = fence.rstrip("\n").split("\n")
        assert command.startswith("$ "), command
        yield command.removeprefix("$ "), shown


def missing(shown, printed):
    """The first shown line that does not follow in what was printed; None where all do.

    Between two shown lines nothing may be left out unless a line of dots in brackets says so; such dots at the end of
    a line stand for the rest of it.
    """
    at, gap = 0, False
    for line in shown:
        if line.strip() == blocks.LEFT_OUT:
            gap = True
            continue
        begin = line.removesuffix(f" {blocks.LEFT_OUT}")
        whole = begin == line
        places = [i for i in range(at, len(printed)) if (printed[i] == line if whole else printed[i].startswith(begin))]
        places = places if gap else [i for i in places if i == at]
        if not line and gap:
            continue
        if not places:
            return line
        at, gap = places[0] + 1, False
    return None if gap or at == len(printed) else f"(more lines follow: {printed[at]!r})"


def test_the_commands_shown_are_the_ones_we_think():
    assert [command.split()[1] for command, _ in consoles()] == [
        "plan", "scale", "scale", "roofline", "catalog", "validate", "plan",
    ]  # fmt: skip


@pytest.mark.parametrize(("command", "shown"), list(consoles()), ids=[c for c, _ in consoles()])
def test_a_command_prints_what_readme_shows(command, shown):
    printed = [line.rstrip() for line in blocks.output_of(command).rstrip("\n").split("\n")]
    assert missing(shown, printed) is None, REFRESH


@pytest.mark.parametrize("name", ["bench", "record", "runs", "timeline", "ships"])
def test_a_table_says_what_the_stored_record_and_the_catalogue_say(name):
    found = blocks.block_pattern(name).search(TEXT)
    assert found is not None
    assert found[2] == blocks.BLOCKS[name]() + "\n", REFRESH


def test_the_scoreboard_says_what_is_stored():
    # SCOREBOARD.md is made from data that ships; typed figures, or data made anew without the page, show here.
    assert blocks.SCOREBOARD.read_text(encoding="utf-8") == blocks.scoreboard_page(), REFRESH


def test_every_block_has_a_maker_and_every_maker_a_block():
    assert sorted(blocks.block_names(TEXT)) == sorted(blocks.BLOCKS)


@pytest.mark.parametrize(
    ("shown", "whole"),
    [
        (["a", "b", "c"], True),
        (["a", "[...]", "c"], True),
        (["a", "b [...]", "c"], True),
        (["a", "[...]"], True),
        (["a", "c"], False),
        (["a", "b"], False),
        (["a", "[...]", "b", "x"], False),
        (["c", "[...]"], False),
    ],
)
def test_a_shown_line_that_was_not_printed_is_found(shown, whole):
    assert (missing(shown, ["a", "b", "c"]) is None) == whole


# --- the record -----------------------------------------------------------------------------------------------------


def test_the_stored_record_is_that_of_the_shipped_calibration():
    # Made by two commands from the same corpus; a difference means that one of them was not run again.
    kinds = {group.name: group for kind, group in recorded_groups() if kind == "kind"}
    families = load_record().families
    assert kinds.keys() == families.keys()
    for name, family in families.items():
        assert (kinds[name].runs, kinds[name].groups) == (family.runs, family.groups), REFRESH
        assert kinds[name].macro == pytest.approx(family.macro, abs=2e-4), REFRESH
        assert kinds[name].baseline_macro == pytest.approx(family.baseline_macro, abs=2e-4), REFRESH


def test_the_stored_scoreboard_is_of_the_same_fit_as_the_record():
    # Two ways of computing a thing: the record by kind of run, and the scoreboard's parts.
    board = stored_scoreboard()["groups"]
    recorded = {group.name: group for kind, group in recorded_groups() if kind in ("all", "kind")}
    parts = {p["name"]: p for p in (*board["parts"]["all"], *board["parts"]["kind of run"])}
    assert parts.keys() == recorded.keys()
    for name, group in recorded.items():
        assert (parts[name]["runs"], parts[name]["groups"]) == (group.runs, group.groups), REFRESH
        for ours, theirs in (("macro", "macro"), ("p90", "p90"), ("bias", "bias"), ("utilisation", "baseline_macro")):
            assert parts[name][ours] == pytest.approx(getattr(group, theirs), abs=2e-4), REFRESH
    assert sum(p["runs"] for p in board["parts"]["chips"]) == board["fitted"]["runs"]


def test_every_shipped_run_has_a_held_out_prediction_inside_its_interval():
    runs = recorded_runs()
    assert list(runs) == list(shipped_rows()), REFRESH
    assert all(0 < run.low < run.predicted < run.high < math.inf for run in runs.values())


def test_every_kind_of_run_is_predicted_better_than_its_baseline():
    assert {group.name: group.macro < group.baseline_macro for _, group in recorded_groups()} == {
        group.name: True for _, group in recorded_groups()
    }


def test_the_shown_runs_are_whole_sets_without_flagged_rows():
    counts = {one.title: len(found) for one, found in blocks.shown_runs()}
    assert min(counts.values()) >= 3, counts
    assert not any(run.row["flag"] for _, found in blocks.shown_runs() for run in found)


# --- what a reader types --------------------------------------------------------------------------------------------


def install_lines():
    return [line for fence in fences("sh") for line in fence.splitlines()]


def test_there_are_two_lines_to_type_and_each_makes_its_own_environment():
    assert len(install_lines()) == 2
    assert all(line.startswith("python3.11 -m venv .venv && ") for line in install_lines())


@pytest.mark.parametrize("line", install_lines(), ids=["main job", "tests"])
def test_an_install_line_is_sound(line):
    assert subprocess.run(["bash", "-n", "-c", line], check=False).returncode == 0
    for extras in re.findall(r"\.\[([\w,]+)\]", line):
        assert set(extras.split(",")) <= PROJECT["project"]["optional-dependencies"].keys()
    for program in re.findall(r"\.venv/bin/(\S+)", line):
        assert program in ("pip", "python", *PROJECT["project"]["scripts"])


def test_the_main_line_ends_in_the_command_that_readme_opens_with():
    opening, _ = next(consoles())
    assert install_lines()[0].endswith(f".venv/bin/{opening}")


def test_the_python_shown_runs_and_gives_the_step_time_of_the_opening():
    (program,) = fences("python")
    printed = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    _, shown = next(consoles())
    step_s = float(re.search(r": ([\d.]+) s a step", " ".join(shown))[1])
    assert float(printed.split()[-3]) == pytest.approx(step_s, rel=0.01)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "NOMENCLATURE.md", "CHANGELOG.md"])
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text(encoding="utf-8")):
        assert (ROOT / target).exists(), target
