"""Notebooks are stored without outputs, start from a question, and define nothing."""

import ast
from pathlib import Path

import pytest

jupytext = pytest.importorskip("jupytext", reason="the notebook tools are not installed: pip install '.[test]'")

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.py"))


def test_there_are_notebooks_and_all_are_text():
    assert NOTEBOOKS
    assert sorted(p for p in FOLDER.iterdir() if p.is_file()) == NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_has_a_test_file_that_runs_it_and_holds_its_answers(path):
    test = Path(__file__).parent / f"test_{path.stem}.py"
    assert test.exists(), f"{path.name} is run by nobody: write {test.name}"
    text = test.read_text(encoding="utf-8")
    assert f'results_of("{path.stem}")' in text
    assert text.count("assert ") >= 3


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
