"""Imports point one way: leaves know nothing of ours but the reader of data files; nothing runs text as code."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LEAVES = ("hwmodels", "topologies", "workloads")
PACKAGES = (*LEAVES, "simulator")
OURS = (*PACKAGES, "notebooks", "tests")
SHARED = "hwmodels.datafile"  # the one module that every leaf may import
UNSAFE_MODULES = ("pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve")
UNSAFE_CALLS = ("eval", "exec", "__import__")
UNSAFE_YAML = ("load", "load_all", "unsafe_load", "unsafe_load_all", "full_load", "full_load_all")


def imported(tree):
    """(line, module) of everything imported; `from a import b` gives a.b, since b may be a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            name = node.args[0] if node.args else None
            yield node.lineno, imported_by_name(name)


def imported_by_name(name):
    """What `import_module` is given: a constant, or a package with the rest filled in; "?" for all else."""
    if isinstance(name, ast.JoinedStr) and isinstance(name.values[0], ast.Constant):
        start = str(name.values[0].value)
        return start.rstrip(".") if start.endswith(".") else "?"
    return name.value if isinstance(name, ast.Constant) and isinstance(name.value, str) else "?"


def within(module, parents):
    return any(module == parent or module.startswith(f"{parent}.") for parent in parents)


def forbidden_imports(source, package):
    """What a file of `package` imports of ours and must not."""
    legal = {package, SHARED} if package in LEAVES else set(PACKAGES)
    return [
        f"line {line}: {package} imports {module}"
        for line, module in imported(ast.parse(source))
        if module == "?" or (within(module, OURS) and not within(module, legal))
    ]


def unsafe_uses(source):
    """Where text or bytes from a file could run as code."""
    tree = ast.parse(source)
    found = [f"line {line}: {module}" for line, module in imported(tree) if within(module, UNSAFE_MODULES)]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func).removeprefix("builtins.")
        pickled = any(
            k.arg == "allow_pickle" and not (isinstance(k.value, ast.Constant) and k.value.value is False)
            for k in node.keywords
        )
        if name in UNSAFE_CALLS or name in {f"yaml.{load}" for load in UNSAFE_YAML} or pickled:
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


def files(package):
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_is_looked_at(package):
    assert ROOT / package / "__init__.py" in files(package)


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_one_way(package):
    problems = {
        str(path.relative_to(ROOT)): found
        for path in files(package)
        if (found := forbidden_imports(path.read_text(encoding="utf-8"), package))
    }
    assert problems == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_runs_text_as_code(package):
    problems = {
        str(path.relative_to(ROOT)): found
        for path in files(package)
        if (found := unsafe_uses(path.read_text(encoding="utf-8")))
    }
    assert problems == {}


@pytest.mark.parametrize(
    "planted",
    [
        "import simulator",
        "import simulator.stepspec as s",
        "from simulator import plan",
        "from hwmodels import Chip",
        "from hwmodels.chip import Chip",
        "import hwmodels",
        "import hwmodels.datafiles",
        "import numpy, workloads.layer",
        "def late():\n    from workloads import layer",
        "import importlib\nimportlib.import_module('simulator.plan')",
        "from importlib import import_module\nimport_module(name)",
        "from tests import anything",
    ],
)
def test_a_forbidden_import_planted_in_a_leaf_is_found(planted):
    assert forbidden_imports(planted, "topologies")


@pytest.mark.parametrize(
    "legal",
    [
        "import hwmodels.datafile",
        "from hwmodels import datafile",
        "from hwmodels.datafile import DataFileError",
        "from topologies.topology import Topology",
        "from .topology import Topology",
        "import simulators",
        "import networkx as nx",
        "'import simulator'",
    ],
)
def test_a_legal_import_in_a_leaf_is_not_found(legal):
    assert forbidden_imports(legal, "topologies") == []


def test_the_simulator_may_import_the_leaves_but_not_the_tests():
    assert forbidden_imports("import hwmodels, topologies.ring\nfrom workloads import layer", "simulator") == []
    assert forbidden_imports("import tests.anything", "simulator") == ["line 1: simulator imports tests.anything"]


@pytest.mark.parametrize(
    "planted",
    [
        "import pickle",
        "from pickle import loads",
        "import cloudpickle as c",
        "eval('1')",
        "exec(text)",
        "builtins.eval(text)",
        "__import__('os')",
        "yaml.load(text, Loader=yaml.Loader)",
        "yaml.unsafe_load(text)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=flag)",
    ],
)
def test_an_unsafe_use_planted_in_a_file_is_found(planted):
    assert unsafe_uses(planted)


@pytest.mark.parametrize(
    "harmless",
    ["model.eval()", "yaml.safe_load(text)", "np.load(path, allow_pickle=False)", "# eval(text)", "pickles = 3"],
)
def test_a_harmless_line_is_not_found(harmless):
    assert unsafe_uses(harmless) == []


# Inside the simulator: read downwards, so imports point downwards or sideways.

LAYERS = (
    (
        "constants",
        "measured_constants",
        "errors",
        "kept",
        "output",
        "stepspec",
        "stack",
        "networks",
        "server_topology",
        "network_builders",
        "cluster",
        "cluster_topology",
        "outcome",
        "utilisation",
        "modes",
    ),
    ("kernels", "distinct", "schedules", "flows", "waiting", "calibration.weights"),
    (
        "stage_costs",
        "cut_search",
        "layer_split",
        "recompute_chain",
        "recompute_search",
        "recomputation",
        "offload_plan",
        "wafer_training",
    ),
    ("collectives", "parallelism"),
    ("plan_report", "iteration"),
    ("group_wires", "expert_dispatch"),
    ("priced_rows",),
    ("recurrent_rows", "activation_rows"),
    ("partition",),
    ("lowering",),
    ("staging",),
    ("traffic",),
    ("server_exchange",),
    ("pricing", "calibration.slopes"),
    ("calibration.fit", "calibration.kernel_fit"),
    ("analytic", "composition", "events", "contention", "hosts", "memory", "roofline"),
    ("legality", "generation"),
    (
        "calibration_data",
        "deviations_file",
        "convergence_calibration",
        "goal",
        "published_results",
        "defaults",
        "phase_query",
        "query",
        "query_checks",
        "job",
        "sources",
        "user_catalog",
    ),
    ("search_scope",),
    ("search", "ranking", "validation", "kernel_calibration", "collective_calibration", "measured_points"),
    (
        "command_line",
        "fine_tuning",
        "model_file",
        "explain",
        "asynchronous_updates",
        "what_if",
        "forward_pass",
        "post_training",
        "collective_question",
        "collective_flows",
        "collective_curve",
        "world",
    ),
    ("planner", "records"),
    ("one_step", "one_mode"),
    ("run_beside", "step_run", "step_explanation", "step_memory", "step_work"),
    ("whole_run",),
    ("questions",),
    ("probe",),
    # Files and fits of one machine: tables read as observations, fits of whatever files held.
    ("measured_files", "machine_fit"),
    ("bench",),
    ("report",),
    (
        "cli",
        "commands",
        "calibration.__main__",
        "calibration.kernels",
        "calibration.collectives",
        "calibration.convergence",
        "calibration.held_out_fit",
        "calibration.scoreboard",
        "calibration.trainings",
    ),
)
#: What points upwards all the same: how a capacity is written.
UPWARD = {("search", "report.quantities")}


def simulator_imports():
    """Module of the simulator -> modules of the simulator that it imports, names without the package's."""
    root = ROOT / "simulator"
    graph = {}
    for path in files("simulator"):
        parts = path.relative_to(root).with_suffix("").parts
        package = list(parts[:-1])
        module = ".".join(package if parts[-1] == "__init__" else parts)
        graph[module] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom):
                continue
            if node.level:
                base = package[: len(package) - node.level + 1] + (node.module.split(".") if node.module else [])
            elif within(node.module, ("simulator",)):
                base = node.module.split(".")[1:]
            else:
                continue
            graph[module].update(".".join([*base, alias.name]) for alias in node.names)
    known = set(graph)
    return {
        module: {name if name in known else name.rpartition(".")[0] for name in names} - {"", module}
        for module, names in graph.items()
    }


def layer_of(module):
    """Index of a module's layer, counted from below; the longest name in `LAYERS` decides."""
    hits = [(len(name), i) for i, names in enumerate(LAYERS) for name in names if within(module, (name,))]
    return max(hits)[1] if hits else None


def reached(graph, start):
    """Everything that modules import, directly or not, themselves included."""
    found, left = set(), {m for m in graph if within(m, start)}
    while left:
        found |= left
        left = {name for module in left for name in graph[module]} - found
    return found


def test_every_module_of_the_simulator_has_a_layer():
    packages = {"", "calibration"}
    assert {m for m in simulator_imports() if layer_of(m) is None} <= packages


def test_every_layer_names_modules_that_are_there():
    modules = set(simulator_imports())
    assert {name for names in LAYERS for name in names} <= modules


def test_imports_inside_the_simulator_point_downwards():
    upward = {
        (module, name)
        for module, names in simulator_imports().items()
        for name in names
        if module and layer_of(module) is not None and layer_of(name) is not None and layer_of(name) > layer_of(module)
    }
    assert upward == UPWARD


def test_the_two_engines_share_the_step_specification_and_nothing_else():
    graph = simulator_imports()
    closed_form, by_events = reached(graph, ("analytic",)), reached(graph, ("events", "composition"))
    shared = closed_form & by_events
    # Both read what a schedule is; how long one takes they work out apart.
    assert {m for m in shared if not within(m, ("schedules",))} == {"stepspec"}
    assert not shared & {"schedules.graph", "schedules.longest_path"}
    assert "schedules" in by_events
    assert "pricing" in closed_form


def test_nothing_but_validation_and_fitting_reads_measured_runs():
    readers = {
        str(path.relative_to(ROOT / "simulator"))
        for path in files("simulator")
        if "measured_runs.csv" in path.read_text(encoding="utf-8")
    }
    assert all(name.startswith(("validation", "calibration")) for name in readers), readers
