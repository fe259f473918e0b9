"""What a system file may say of its network, and that everything wrong with it is said at once, each with its line."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import hwmodels.catalog as hardware
from hwmodels.datafile import DataFileError, parse_toml, read_toml
from simulator.cluster import Cluster, ClusterError, _read_system, system, system_ids
from simulator.cluster_topology import cluster_topology, tier_rates
from simulator.flows import FlowError, Wires
from simulator.networks import SHAPES, Network, NetworkError, network_problems, read_network
from topologies import links_by_tier

HEAD = """schema = 1
id = "made"
name = "Made"
server = "dgx-a100"
servers = 4
source = "by hand"
locator = "nowhere"
"""

#: A legal example of every shape that needs parameters.
EXAMPLES: dict[str, dict[str, object]] = {
    "clos": {"children": (4, 4)},
    "mesh": {"dims": (4, 4)},
    "gemini": {"dims": (4, 4, 4)},
    "dragonfly": {"groups": 3, "routers_per_group": 4, "endpoints_per_router": 2, "global_links": 1},
    "aries": {"groups": 2},
    "slingshot": {"groups": 2},
    "dragonfly_plus": {"groups": 2, "leaves": 2, "spines": 2, "endpoints_per_leaf": 4, "links_per_pair": 2},
    "ipu_pod": {"machines": 4},
    "graph": {"file": "wires.toml"},
}


def read(text: str) -> list[str]:
    with pytest.raises(DataFileError) as refusal:
        _read_system(parse_toml(text, name="made.toml"))
    return list(refusal.value.problems)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_complete_with_its_example_and_not_without_what_it_needs(shape: str) -> None:
    example = EXAMPLES.get(shape, {})
    assert network_problems(shape, example) == []
    for key in example:
        if SHAPES[shape][key].default is None:
            less = {name: value for name, value in example.items() if name != key}
            assert [name for name, _ in network_problems(shape, less)] == [key]


@pytest.mark.parametrize("shape", SHAPES)
def test_no_parameter_takes_nonsense(shape: str) -> None:
    for key, parameter in SHAPES[shape].items():
        for value in (-1, "x", None, [], [0], {}, 1.5j):
            if parameter.kind == "file" and value == "x":
                continue
            if parameter.kind == "word" and value == "x":
                assert parameter.legal
            assert network_problems(shape, EXAMPLES.get(shape, {}) | {key: value}), (key, value)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_default_is_a_legal_value_or_leaves_it_to_the_builder(shape: str) -> None:
    for key, parameter in SHAPES[shape].items():
        if parameter.default not in (None, (), ""):
            assert parameter.problem(parameter.default) == "", key


def test_a_network_gives_its_files_values_and_the_defaults_of_its_shape() -> None:
    network = Network(shape="slingshot", parameters={"groups": 74})
    assert network["groups"] == 74
    assert network["switches_per_group"] == 32
    with pytest.raises(KeyError):
        network["radix"]


def test_a_network_that_cannot_be_is_refused_in_one_line() -> None:
    with pytest.raises(NetworkError, match=r"^network 'fat_tre': shape: 'fat_tre'; legal: .* mean 'fat_tree'\?$"):
        Network(shape="fat_tre")
    with pytest.raises(NetworkError, match=r"^network 'aries': groups: is missing; aries needs it\.$"):
        Network(shape="aries")


def test_networks_can_be_keys() -> None:
    one, same = (Network(shape="mesh", parameters={"dims": (2, 2)}) for _ in range(2))
    assert {one: 1}[same] == 1


def test_everything_wrong_with_a_file_is_said_at_once_with_its_line() -> None:
    problems = read(
        HEAD.replace("servers = 4", "servers = 0").replace("dgx-a100", "dgx-a10")
        + 'oversubscripton = 2\naliases = "one"\n\n'
        + '[network]\nshape = "fat_tree"\nradix = -4\nlevel = 3\n\n[network.links]\nspine = "infiniband-hdr"\n'
    )
    expected = [
        "made.toml:13: network.radix: is -4; a whole number, at least 0.",
        "made.toml:14: network.level: unknown key; legal for fat_tree: radix, levels, oversubscription. "
        "Did you mean 'levels'?",
        "made.toml:17: network.links.spine: no link 'infiniband-hdr' in the catalogue. "
        "Did you mean 'infiniband-hdr-200g'?",
        "made.toml:8: oversubscripton: unknown key. Did you mean 'oversubscription'?",
        "made.toml:5: servers: is 0; a whole number, at least 1.",
        "made.toml:9: aliases: is 'one'; a list of texts is needed.",
        "made.toml:4: server: no server 'dgx-a10' in the catalogue. Did you mean 'dgx-a100'?",
    ]
    assert problems == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            'network = "dragonfly"',
            "'dragonfly' needs parameters (groups, routers_per_group, endpoints_per_router,",
        ),
        ('network = "fattree"', "'fattree'; legal: single_server, fat_tree,"),
        ("network = 3", "3; legal: single_server, fat_tree,"),
        ("network = {}", "network.shape: None; legal: single_server"),
        ('network = { shape = "torus", generation = "v9" }', "network.generation: is 'v9'; one of v2, v3, v4"),
        ('network = { shape = "mesh", dims = [4, 0] }', "network.dims: is [4, 0]; a list of whole numbers, at least 1"),
        ('network = { shape = "torus", wrap = 1 }', "network.wrap: is 1; true or false."),
        ('network = { shape = "cloud", links = 3 }', "network.links: is 3; a table of tier = link."),
        ('network = { shape = "cloud", oversubscription = 0.5 }', "oversubscription: is 0.5; a number, at least 1."),
        ('oversubscription = "2"', "oversubscription: is '2'; a number, at least 1."),
        ("oversubscription = 0.5", "oversubscription: is 0.5; a number, at least 1."),
    ],
)
def test_a_bad_network_is_one_line_with_file_and_line(line: str, message: str) -> None:
    (problem,) = read(HEAD + line + "\n")
    assert problem.startswith("made.toml:8: ")
    assert message in problem
    assert "\n" not in problem


def test_a_word_alone_still_names_a_network() -> None:
    for word in ("fat_tree", "torus", "single_server", "cloud"):
        entry = _read_system(parse_toml(HEAD + f'network = "{word}"\n', name="made.toml"))
        assert entry.cluster.network == entry.cluster.wires.shape == word


def test_a_file_that_says_nothing_means_a_fat_tree() -> None:
    network, problems = read_network(parse_toml(HEAD, name="made.toml"), hardware.link_ids())
    assert (network, problems) == (Network(), [])


@pytest.mark.parametrize("name", system_ids())
def test_the_shape_of_a_shipped_system_is_the_one_of_its_file(name: str) -> None:
    cluster = system(name).cluster
    assert cluster.network == cluster.wires.shape
    folder = Path(__file__).parents[2] / "simulator" / "data" / "systems"
    said = tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8"))["network"]
    assert cluster.network == (said if isinstance(said, str) else said["shape"])
    assert read_toml(folder / f"{name}.toml").data["id"] == name


PENTAGON = "\n".join(f'[[link]]\na = "s{i}"\nb = "s{(i + 1) % 5}"\ntier = "ring"\ncount = 2' for i in range(5))


def own_graph(folder: Path, text: str, links: str = '[network.links]\nring = "infiniband-hdr-200g"\n') -> Path:
    (folder / "wires.toml").write_text(text)
    made = folder / "made.toml"
    made.write_text(HEAD + f'[network]\nshape = "graph"\nfile = "wires.toml"\n{links}')
    return made


def own_system(path: Path) -> Cluster:
    return _read_system(read_toml(path), str(path.parent)).cluster


def test_a_graph_of_the_users_own_joins_the_servers(tmp_path: Path) -> None:
    cluster = own_system(own_graph(tmp_path, PENTAGON))
    built = cluster_topology(cluster, servers=4)
    assert len(built.endpoints) == 4 * 8
    assert links_by_tier(built)["ring"] > 0
    wires = Wires.of(built, tier_rates(cluster))
    hops = {name: wires.route(0, rank) for name, rank in (("inside", 1), ("next", 8), ("far", 16))}
    assert len(hops["inside"]) < len(hops["next"]) < len(hops["far"])


def test_a_graph_too_small_or_broken_or_missing_is_one_clear_line(tmp_path: Path) -> None:
    small = own_graph(tmp_path, '[[link]]\na = "x"\nb = "y"\ntier = "ring"')
    with pytest.raises(ClusterError, match="has 2 end points, fewer than 4 servers"):
        cluster_topology(own_system(small), servers=4)
    broken = own_graph(tmp_path, PENTAGON + '\n[[link]]\na = "far"\nb = "away"\ntier = "ring"')
    with pytest.raises(ClusterError, match=r"wires\.toml"):
        cluster_topology(own_system(broken), servers=2)
    (tmp_path / "wires.toml").unlink()
    with pytest.raises(DataFileError, match=r"made.toml:\d+: network.file: there is no file"):
        own_system(broken)


def test_a_tier_of_the_graph_without_a_link_is_one_clear_line(tmp_path: Path) -> None:
    cluster = own_system(own_graph(tmp_path, PENTAGON, links=""))
    with pytest.raises(FlowError, match="ring"):
        Wires.of(cluster_topology(cluster, servers=2), tier_rates(cluster))
