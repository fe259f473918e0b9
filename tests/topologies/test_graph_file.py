import time

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmodels.datafile import DataFileError
from topologies.fat_tree import fat_tree
from topologies.graph_checks import MOST_PROBLEMS
from topologies.graph_file import read_graph
from topologies.metrics import bisection_links, degree, links_by_tier
from topologies.node import dgx1_node, frontier_node, summit_node
from topologies.topology import KINDS

GOOD = """
name = "two boxes"

[[vertex]]
name = "a"

[[vertex]]
name = "b"

[[vertex]]
name = "sw"
kind = "switch"

[[link]]
a = "a"
b = "sw"
tier = "scale_up"
count = 2

[[link]]
a = "b"
b = "sw"
tier = "scale_up"
derate = 0.5
"""


def read(tmp_path, text, name="net.toml"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return read_graph(path)


def problems_of(tmp_path, text, name="net.toml"):
    with pytest.raises(DataFileError) as raised:
        read(tmp_path, text, name)
    return [line.replace(f"{tmp_path}/", "") for line in raised.value.problems]


def test_an_edge_list_becomes_the_topology_it_describes(tmp_path):
    topology = read(tmp_path, GOOD)
    assert topology.name == "two boxes"
    assert topology.endpoints == ("a", "b")
    assert topology.vertices("switch") == ("sw",)
    assert links_by_tier(topology) == {"scale_up": 3}
    assert topology.graph.edges["b", "sw"] == {"tier": "scale_up", "count": 1, "derate": 0.5}


def test_without_a_list_of_vertices_every_end_of_a_link_is_a_chip(tmp_path):
    topology = read(tmp_path, '[[link]]\na = 0\nb = 1\ntier = "x"\n[[link]]\na = 1\nb = 2\ntier = "x"\n')
    assert topology.endpoints == (0, 1, 2)
    assert topology.name == "net"


def test_end_points_can_be_chosen_and_ordered(tmp_path):
    assert read(tmp_path, f'endpoints = ["b"]\n{GOOD}').endpoints == ("b",)


def test_every_problem_is_told_at_once_with_its_line(tmp_path):
    text = """
vertices = 3
endpoints = ["c0", "sw", "c0", "d"]
[[vertex]]
name = "c0"
[[vertex]]
name = "c1"
knd = "chip"
[[vertex]]
name = "sw"
kind = "swich"
[[vertex]]
name = "c0"
[[vertex]]
name = true
[[link]]
a = "c0"
b = "sw"
[[link]]
a = "sw"
b = "c0"
tier = "x"
[[link]]
a = "c1"
b = "c1"
tier = "x"
count = 0
[[link]]
a = "c1"
b = "sww"
tier = ""
derate = 0
[[link]]
a = "c1"
tier = "x"
count = true
"""
    assert problems_of(tmp_path, text) == [
        "net.toml:2: vertices: is not known here. Did you mean 'vertex'? Known: name, endpoints, vertex, link.",
        "net.toml:8: vertex[1].knd: is not known here. Did you mean 'kind'? Known: name, kind.",
        "net.toml:11: vertex[2].kind: is 'swich'; one of chip, switch, host, nic. Did you mean 'switch'?",
        "net.toml:13: vertex[3].name: 'c0' is a vertex already; give each once.",
        "net.toml:15: vertex[4].name: is True; a vertex is called by a word in quotes or a whole number.",
        "net.toml:16: link[0]: has no tier; a word such as 'scale_up' or 'scale_out', which a rate is bound to.",
        "net.toml:19: link[1]: joins 'sw' and 'c0' once more; give each pair once, with its count. "
        "First: net.toml:16: link[0].",
        "net.toml:27: link[2].count: is 0; a whole number from 1 to 1000000.",
        "net.toml:23: link[2]: joins 'c1' to itself; a link needs two ends.",
        "net.toml:31: link[3].tier: is ''; a word such as 'scale_up' or 'scale_out'.",
        "net.toml:32: link[3].derate: is 0; above 0 and at most 1. Leave a dead link out.",
        "net.toml:30: link[3].b: 'sww' is no vertex. Did you mean 'sw'?",
        "net.toml:33: link[4]: has no b; a and b are the vertices it joins.",
        "net.toml:3: endpoints: 'c0' is listed twice.",
        "net.toml:3: endpoints: 'd' is no vertex.",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "net.toml: there are no vertices and no links."),
        (
            '[[vertex]]\nname = "a"\nkind = "switch"\n',
            "net.toml: no end points; at least one vertex that is a chip, or a list 'endpoints'.",
        ),
        (
            '[[link]]\na = 1\nb = 2\ntier = "x"\n[[link]]\na = 3\nb = 4\ntier = "x"\n',
            "net.toml: falls into parts that no link joins; one vertex of each: 1, 3.",
        ),
        ("link = 3\n", "net.toml:1: link: is not a list of tables; write [[link]] before each."),
        (f"name = 3\n{GOOD[GOOD.index('[[') :]}", "net.toml:1: name: is 3; a word or two, in quotes."),
        (f"endpoints = 3\n{GOOD}", "net.toml:1: endpoints: is 3; a list of vertices."),
        (f'endpoints = ["sw"]\n{GOOD}', "net.toml:1: endpoints: 'sw' is a switch; a switch only forwards."),
        ("[[link]\n", "net.toml:1: not TOML: Expected ']]' at the end of an array declaration (column 7)."),
    ],
)
def test_a_file_that_is_no_network_is_refused_in_one_line(tmp_path, text, problem):
    assert problem in problems_of(tmp_path, text)


def test_a_part_cut_off_by_a_slip_is_not_reported_twice(tmp_path):
    text = GOOD.replace('a = "b"', 'a = "bb"')
    assert problems_of(tmp_path, text) == ["net.toml:21: link[1].a: 'bb' is no vertex. Did you mean 'b'?"]


def test_a_file_of_one_mistake_many_times_ends_somewhere(tmp_path):
    lines = problems_of(tmp_path, "".join(f"[[link]]\na = {i}\nb = {i + 1}\n" for i in range(400)))
    assert len(lines) == MOST_PROBLEMS + 1
    assert lines[-1] == f"net.toml: and {400 - MOST_PROBLEMS} more problems."


def as_graphml(topology):
    return "\n".join(nx.generate_graphml(nx.relabel_nodes(topology.graph, str)))


@pytest.mark.parametrize("build", [dgx1_node, summit_node, frontier_node, lambda: fat_tree(endpoints=8, radix=4)])
def test_a_topology_written_as_graphml_comes_back(tmp_path, build):
    first = build()
    again = read(tmp_path, as_graphml(first), "net.graphml")
    assert again.endpoints == tuple(map(str, first.endpoints))
    assert links_by_tier(again) == links_by_tier(first)
    assert [len(again.vertices(kind)) for kind in KINDS] == [len(first.vertices(kind)) for kind in KINDS]
    assert [degree(again, str(v)) for v in first.graph] == [degree(first, v) for v in first.graph]
    if len(first.graph) <= 18:
        assert bisection_links(again) == bisection_links(first)


def as_toml(topology):
    lines = []
    for vertex, kind in topology.graph.nodes(data="kind"):
        lines += ["[[vertex]]", f'name = "{vertex}"', f'kind = "{kind}"']
    for a, b, link in topology.graph.edges(data=True):
        lines += ["[[link]]", f'a = "{a}"', f'b = "{b}"', f'tier = "{link["tier"]}"']
        lines += [f"count = {link['count']}", f"derate = {link['derate']}"]
    return "\n".join(lines)


@pytest.mark.parametrize("build", [dgx1_node, summit_node, frontier_node])
def test_both_kinds_of_file_give_the_same_topology(tmp_path, build):
    toml = read(tmp_path, as_toml(build()))
    graphml = read(tmp_path, as_graphml(build()), "net.graphml")
    assert toml.endpoints == graphml.endpoints
    assert nx.utils.graphs_equal(nx.Graph(toml.graph), nx.Graph(graphml.graph))


KEYS = """<key id="k" for="node" attr.name="kind" attr.type="string"/>
<key id="t" for="edge" attr.name="tier" attr.type="string"/>
<key id="c" for="edge" attr.name="{count}" attr.type="{type}"/>
<key id="x" for="node" attr.name="x" attr.type="double"/>"""
NODES = (
    '<node id="a"><data key="k">chip</data><data key="x">1.5</data></node><node id="b"><data key="k">chip</data></node>'
)
EDGE = '<edge source="a" target="b"><data key="t">scale_up</data><data key="c">{value}</data></edge>'


def graphml(inside=NODES + EDGE, *, count="count", kind="double", value="2.0", way="undirected", head=""):
    keys, inside = KEYS.format(count=count, type=kind), inside.replace("{value}", value)
    return (
        f'{head}<graphml xmlns="http://graphml.graphdrawing.org/xmlns">{keys}'
        f'<graph edgedefault="{way}">{inside}</graph></graphml>'
    )


def test_a_drawing_tools_numbers_and_places_do_no_harm(tmp_path):
    topology = read(tmp_path, graphml(head='<?xml version="1.0" encoding="UTF-8"?>\n'), "net.graphml")
    assert topology.graph.edges["a", "b"]["count"] == 2


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (graphml(way="directed"), "net.graphml: is a directed graph, and links carry both ways; "),
        (graphml(value="2.5"), "net.graphml: edge 'a' - 'b': count is 2.5; a whole number from 1 to 1000000."),
        (graphml(kind="string"), "net.graphml: edge 'a' - 'b': count is '2.0'; a whole number"),
        (graphml(value="nan", count="derate"), "edge 'a' - 'b': derate is nan; above 0 and at most 1."),
        (graphml(count="cout"), "net.graphml: edge 'a' - 'b': cout is not known. Did you mean 'count'?"),
        (graphml(NODES + '<edge source="a" target="b"/>'), "edge 'a' - 'b': has no tier; a word such as"),
        (graphml(NODES + EDGE + EDGE), "joins 'a' and 'b' once more; give each pair once, with its count."),
        (graphml(NODES + EDGE.replace('"b"', '"a"')), "joins 'a' to itself; a link needs two ends."),
        (graphml(NODES + EDGE.replace('"b"', '"c"')), "node 'c': kind is missing; one of chip, switch, host, nic."),
        (graphml(NODES.replace(">chip<", ">chp<") + EDGE), "kind is 'chp'; one of chip, switch, host, nic. Did you"),
        (graphml(NODES), "net.graphml: falls into parts that no link joins; one vertex of each: 'a', 'b'."),
        (graphml(""), "net.graphml: there are no vertices and no links."),
        (graphml(value="two"), "net.graphml: not GraphML that can be read: could not convert string to float"),
        (graphml(NODES + "<hyperedge/>"), "net.graphml: not GraphML that can be read: GraphML reader doesn't support"),
        ("<graphml>", "net.graphml:1: not XML: no element found (column 10)."),
        ("<nothing/>", "net.graphml: not GraphML that can be read: "),
        ("", "net.graphml:1: not XML: no element found (column 1)."),
        (graphml(head='<!DOCTYPE x [<!ENTITY a "b">]>'), "net.graphml: has a DOCTYPE or an ENTITY; a graph needs"),
    ],
)
def test_graphml_that_is_no_network_is_refused_in_one_clear_line(tmp_path, text, problem):
    lines = problems_of(tmp_path, text, "net.graphml")
    assert any(problem in line for line in lines), lines
    assert all(line.startswith("net.graphml") and "\n" not in line for line in lines)


def test_text_in_another_encoding_is_refused_whatever_it_holds(tmp_path):
    path = tmp_path / "net.graphml"
    bomb = '<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE x [<!ENTITY a "b">]><graphml>&a;</graphml>'
    encodings = {"utf-16": "not UTF-8 text", "utf-16-le": "not UTF-8 text", "utf-7": "has a DOCTYPE or an ENTITY"}
    for encoding, problem in encodings.items():
        path.write_bytes(bomb.encode(encoding))
        with pytest.raises(DataFileError, match=problem):
            read_graph(path)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("nowhere.toml", "nowhere.toml: there is no such file"),
        ("nowhere.graphml", "nowhere.graphml: there is no such file"),
        ("net.json", "ends in '.json'; a graph is a .toml or a .graphml file"),
        ("net", "ends in 'no suffix'; a graph is"),
    ],
)
def test_files_that_are_not_there_or_no_graphs_are_named(tmp_path, name, problem):
    with pytest.raises(DataFileError, match=problem):
        read_graph(tmp_path / name)


def test_a_directory_and_a_huge_file_are_refused(tmp_path):
    (tmp_path / "dir.graphml").mkdir()
    with pytest.raises(DataFileError, match="cannot be read"):
        read_graph(tmp_path / "dir.graphml")
    (tmp_path / "huge.graphml").write_bytes(b" " * (10 * 2**20 + 1))
    with pytest.raises(DataFileError, match="larger than 10 MiB"):
        read_graph(tmp_path / "huge.graphml")


def test_twenty_thousand_links_are_read_in_seconds(tmp_path):
    text = "".join(f'[[link]]\na = {i}\nb = {i + 1}\ntier = "x"\n' for i in range(20_000))
    start = time.perf_counter()
    assert len(read(tmp_path, text).endpoints) == 20_001
    assert time.perf_counter() - start < 10


def as_value(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = "".join(f"\\U{ord(char):08X}" for char in value)
        return f'"{escaped}"'
    return f"[{', '.join(map(as_value, value))}]" if isinstance(value, list) else repr(value)


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
values = st.one_of(st.booleans(), st.integers(-3, 3), st.floats(allow_nan=False, allow_infinity=False), words)
tables = st.lists(st.dictionaries(st.sampled_from(["a", "b", "tier", "count", "derate", "name", "kind"]), values))


@settings(deadline=None, max_examples=150)
@given(vertices=tables, links=tables)
def test_nonsense_is_a_topology_or_a_clear_refusal(tmp_path_factory, vertices, links):
    text = ""
    for word, rows in (("vertex", vertices), ("link", links)):
        for row in rows:
            text += f"[[{word}]]\n" + "".join(f"{key} = {as_value(value)}\n" for key, value in row.items())
    try:
        topology = read(tmp_path_factory.mktemp("junk"), text)
    except DataFileError as error:
        problems = error.problems
    else:
        problems = ()
        assert topology.endpoints
        assert nx.is_connected(topology.graph)
    assert all(problem and "\n" not in problem for problem in problems)
