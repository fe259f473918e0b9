"""Flows against SimGrid's max-min solver: random systems, and whole collectives on its own zones and routes.

The oracle runs in a process of its own under the system's Python, which alone has the package (Debian's
python3-simgrid): there, `import simgrid` must work, or these tests are skipped.
"""

import json
import os
import subprocess
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from simulator.flows import Flow, Wires, run_flows
from topologies import Topology, torus, torus_route

PYTHON = "/usr/bin/python3"
ORACLE = Path(__file__).with_name("simgrid_oracle.py")
SYSTEMS = int(os.environ.get("TRAINYARD_SIMGRID_SYSTEMS", "40"))
EXACT = 1e-9


def reason_to_skip():
    if not Path(PYTHON).exists():
        return f"no {PYTHON}"
    found = subprocess.run([PYTHON, "-c", "import simgrid"], capture_output=True, text=True, check=False)
    return "" if found.returncode == 0 else f"{PYTHON} has no simgrid (Debian: python3-simgrid)"


@pytest.fixture(scope="module", autouse=True)
def _needs_simgrid():
    if why := reason_to_skip():
        pytest.skip(why)


def ask(zone, rounds):
    """What SimGrid says: seconds of each transfer of each round, its links, its routes."""
    question = json.dumps({"zone": zone, "rounds": rounds})
    found = subprocess.run([PYTHON, str(ORACLE)], input=question, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


def loose_wires(links):
    """Wires that are not joined: link i of (capacity, latency) is link 2 i; routes are given by hand."""
    graph = nx.Graph()
    for index in range(len(links)):
        graph.add_nodes_from([(index, 0), (index, 1)], kind="chip")
        graph.add_edge((index, 0), (index, 1), tier=f"link {index}")
    topology = Topology(name="loose links", graph=graph, endpoints=tuple(graph))
    return Wires.of(topology, {f"link {index}": tuple(link) for index, link in enumerate(links)})


def weighted(wires, transfers):
    """Our seconds of transfers (links, bytes) that start together, each weighted like SimGrid's: 1 / latency."""
    flows = [
        Flow(links=links, byte=size, weight=1 / float(wires.latency_s[list(links)].sum())) for links, size in transfers
    ]
    return run_flows(wires, flows).finish_s


def random_system(rng):
    """3 to 8 links, 4 to 14 flows of 1 to 4 links each; seconds long, so that picoseconds do not show."""
    links = [(float(rng.uniform(1e8, 2e9)), float(rng.uniform(1e-4, 1e-2))) for _ in range(rng.integers(3, 9))]
    routes = [
        rng.choice(len(links), int(rng.integers(1, min(4, len(links)) + 1)), replace=False).tolist()
        for _ in range(rng.integers(4, 15))
    ]
    return links, routes, rng.integers(10**8, 10**10, len(routes)).tolist()


@pytest.mark.parametrize("first", range(0, SYSTEMS, 40))
def test_random_systems_take_as_long_as_in_simgrid(first):
    systems = [random_system(np.random.default_rng(seed)) for seed in range(first, min(first + 40, SYSTEMS))]
    links, routes, rounds = [], [], []
    for own_links, own_routes, sizes in systems:
        rounds.append([[2 * (len(routes) + i), 2 * (len(routes) + i) + 1, size] for i, size in enumerate(sizes)])
        routes += [[len(links) + link for link in route] for route in own_routes]
        links += own_links
    theirs = ask({"kind": "free", "links": links, "routes": routes}, rounds)["rounds"]
    for (own_links, own_routes, sizes), expected in zip(systems, theirs, strict=True):
        wires = loose_wires(own_links)
        transfers = [(tuple(2 * link for link in route), size) for route, size in zip(own_routes, sizes, strict=True)]
        assert weighted(wires, transfers) == pytest.approx(expected, rel=EXACT)


def collectives(ranks, size):
    """Rounds of a ring and a halving-doubling all-reduce and a pairwise all-to-all, as (source, target, bytes)."""
    ring = [[i, (i + 1) % ranks, size // ranks] for i in range(ranks)]
    apart = [1 << bit for bit in range(ranks.bit_length() - 1)] if ranks & (ranks - 1) == 0 else []
    halving = [[[i, i ^ step, size // (2 << k)] for i in range(ranks)] for k, step in enumerate(reversed(apart))]
    shifts = [[[i, (i + step) % ranks, size // ranks] for i in range(ranks)] for step in range(1, ranks)]
    at_once = [[i, j, size // ranks] for i in range(ranks) for j in range(ranks) if i != j]
    return [ring, *halving, *shifts, at_once]


LINK = {"bandwidth": 1e9, "latency": 1e-4}
ZONES = {
    "fat tree, tapered, parallel links": (
        {"kind": "fat_tree", "levels": 2, "down": [4, 4], "up": [1, 2], "parallel": [1, 2]},
        16,
    ),
    "fat tree of three levels": (
        {"kind": "fat_tree", "levels": 3, "down": [2, 4, 4], "up": [1, 2, 2], "parallel": [1, 1, 1]},
        32,
    ),
    "dragonfly": ({"kind": "dragonfly", "shape": [[4, 3], [2, 2], [4, 1]], "nodes": 1}, 32),
    "torus 4x4": ({"kind": "torus", "dims": [4, 4]}, 16),
    "torus 3x5": ({"kind": "torus", "dims": [3, 5]}, 15),
    "torus 2x3x4": ({"kind": "torus", "dims": [2, 3, 4]}, 24),
}


@pytest.mark.parametrize("name", ZONES)
def test_collectives_take_as_long_as_on_simgrids_zones(name):
    zone, ranks = ZONES[name]
    rounds = collectives(ranks, 16_000_000_000)
    answer = ask(zone | LINK, rounds)
    number = {link: 2 * index for index, link in enumerate(answer["links"])}
    wires = loose_wires(list(answer["links"].values()))
    assert len({len(route) for route in answer["routes"].values()}) > 1  # some are nearer: the weights matter
    for transfers, expected in zip(rounds, answer["rounds"], strict=True):
        ways = [tuple(number[link] for link in answer["routes"][f"{a} {b}"]) for a, b, _ in transfers]
        sizes = [size for _, _, size in transfers]
        assert weighted(wires, list(zip(ways, sizes, strict=True))) == pytest.approx(expected, rel=EXACT)


def test_our_torus_with_our_routes_takes_as_long_as_simgrids():
    dims = (3, 5)  # odd: no two ways round are equally long, so that there is one dimension-order route
    shape = torus(dims)
    wires = Wires.of(shape, {"scale_up": (1e9, 1e-4)}, lambda a, b: torus_route(dims, a, b))
    ours = [shape.endpoints.index((rank % 3, rank // 3)) for rank in range(15)]  # SimGrid counts along the first axis
    rounds = collectives(15, 15_000_000_000)
    answer = ask({"kind": "torus", "dims": list(dims)} | LINK, rounds)
    for transfers, expected in zip(rounds, answer["rounds"], strict=True):
        found = weighted(wires, [(wires.route(ours[a], ours[b]), size) for a, b, size in transfers])
        assert found == pytest.approx(expected, rel=EXACT)
