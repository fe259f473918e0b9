"""Notebooks are stored without outputs, run from top to bottom, and their answers hold."""

import ast
import json
from pathlib import Path

import pytest

jupytext = pytest.importorskip("jupytext", reason="the notebook tools are not installed: pip install '.[test]'")
nbformat = pytest.importorskip("nbformat", reason="the notebook tools are not installed: pip install '.[test]'")
nbclient = pytest.importorskip("nbclient", reason="the notebook tools are not installed: pip install '.[test]'")

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.py"))


def results_of(path):
    """Run a notebook in a kernel of its own; what it calls `results`."""
    notebook = jupytext.read(path)
    notebook.cells.append(nbformat.v4.new_code_cell("import json; print(json.dumps(results))"))
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources={}).execute()
    (output,) = notebook.cells[-1].outputs
    figures = sum(
        "application/vnd.plotly.v1+json" in o.get("data", {}) for c in notebook.cells for o in c.get("outputs", ())
    )
    return json.loads(output.text) | {"figures": figures}


def test_there_are_notebooks_and_all_are_text():
    assert NOTEBOOKS
    assert sorted(p for p in FOLDER.iterdir() if p.is_file()) == NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_is_stored_without_outputs_and_starts_from_a_question(path):
    notebook = jupytext.read(path)
    assert all(not cell.get("outputs") and not cell.get("execution_count") for cell in notebook.cells)
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.split("\n")[0].endswith("?")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_defines_nothing_that_would_need_a_test(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    defined = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
    # A SimPy process can only be a generator function; the notebook that shows how to write one has to.
    processes = [n for n in defined if isinstance(n, ast.FunctionDef) and any(map(is_yield, ast.walk(n)))]
    assert defined == processes


def is_yield(node):
    return isinstance(node, ast.Yield | ast.YieldFrom)


def test_resnet50_stops_scaling_where_the_notebook_says():
    results = results_of(FOLDER / "01_how_many_v100s.py")
    efficiency = results["efficiency"]
    # Half of linear is lost between an eighth and all of what 8,192 images can be spread over.
    assert 256 <= results["last_chips"] <= 4096
    assert efficiency[0] == pytest.approx(1.0)
    assert efficiency == sorted(efficiency, reverse=True)
    assert efficiency[-1] < 0.5
    # The ring formula by hand against the simulator's, which adds latencies and the call.
    assert 1.0 <= results["hand_ratio"] < 1.5
    assert results["slower"] > 1.0
    assert results["compared"] >= 9
    assert results["worst_ratio"] < 1.5
    # Two users of the same servers differ threefold with nothing stated that tells them apart; the notebook says so.
    assert results["worst_user_ratio"] < 4.5
    assert results["figures"] == 3


def test_servers_that_prepare_for_others_are_as_fast_as_their_cores():
    results = results_of(FOLDER / "04_a_program_of_your_own.py")
    rates, hand = results["rates"], results["hand"]
    assert rates == sorted(rates)
    # One server: the cores bind, and nothing but the first batch and the last step is lost.
    assert 0.9 < rates[0] / hand[0] <= 1.0
    assert rates[-1] < min(hand[-1], results["ceiling"])
    # With all eight preparing for themselves gradients alone cross the cards.
    assert results["sent_share"] < 1.0
    assert results["figures"] == 1
