"""Run a notebook from top to bottom in a kernel of its own."""

import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"


@pytest.fixture
def results_of():
    """A function of a notebook's name: what the notebook calls `results`, and the number of its figures."""
    why = "the notebook tools are not installed: pip install '.[test]'"
    jupytext = pytest.importorskip("jupytext", reason=why)
    nbformat = pytest.importorskip("nbformat", reason=why)
    nbclient = pytest.importorskip("nbclient", reason=why)

    def run(name):
        notebook = jupytext.read(FOLDER / f"{name}.py")
        notebook.cells.append(nbformat.v4.new_code_cell("import json; print(json.dumps(results))"))
        nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources={}).execute()
        (output,) = notebook.cells[-1].outputs
        figures = sum(
            "application/vnd.plotly.v1+json" in o.get("data", {}) for c in notebook.cells for o in c.get("outputs", ())
        )
        return json.loads(output.text) | {"figures": figures}

    return run
