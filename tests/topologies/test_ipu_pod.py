import pytest

from topologies.ipu_pod import ipu_pod
from topologies.metrics import bisection_links, degree, diameter, exact_bisection_links, links_by_tier
from topologies.topology import TopologyError
from topologies.torus import torus


@pytest.mark.parametrize("machines", [2, 4, 16])
def test_a_pod_is_a_torus_of_two_columns(machines):
    pod, grid = ipu_pod(machines), torus((2 * machines, 2))
    assert len(pod.endpoints) == 4 * machines
    assert {degree(pod, ipu) for ipu in pod.endpoints} == {5}  # 160 GB/s of 32 GB/s each
    assert diameter(pod) == diameter(grid) == machines + 1
    assert {frozenset(edge) for edge in pod.graph.edges} == {
        frozenset(2 * row + column for row, column in edge) for edge in grid.graph.edges
    }
    assert links_by_tier(pod) == {"scale_up": 2 * machines + 2 * 2 * 2 * machines}


@pytest.mark.parametrize("loop", [True, False])
@pytest.mark.parametrize(
    ("machines", "rung", "rail"), [(1, 1, 2), (2, 1, 2), (2, 3, 1), (3, 1, 2), (4, 1, 2), (4, 1, 1)]
)
def test_the_closed_form_of_the_bisection_equals_the_exact_cut(machines, rung, rail, loop):
    pod = ipu_pod(machines, rung_links=rung, rail_links=rail, loop=loop)
    assert bisection_links(pod) == exact_bisection_links(pod)


def test_a_machine_leaves_four_links_up_and_four_down():
    pod = ipu_pod(16)
    for machine in range(16):
        inside = set(range(4 * machine, 4 * machine + 4))
        leaving = [pod.graph.edges[a, b]["count"] for a in inside for b in pod.graph[a] if b not in inside]
        assert sum(leaving) == 8


@pytest.mark.parametrize(("pods", "links"), [(2, 2), (3, 1), (4, 1)])
def test_pods_stand_in_a_ring_of_gateways(pods, links):
    pod = ipu_pod(16, pods=pods)
    assert len(pod.endpoints) == 64 * pods
    gateways = pod.vertices("nic")
    assert len(gateways) == 16 * pods
    assert {degree(pod, gateway) for gateway in gateways} == {4 + 2}
    assert {d["count"] for *_, d in pod.graph.edges(data=True) if d["tier"] == "scale_out"} == {links}
    assert bisection_links(ipu_pod(2, pods=pods), tier="scale_out") == 2 * 2
    assert links_by_tier(pod)["host"] == 64 * pods


def test_one_pod_can_have_gateways_too():
    assert len(ipu_pod(4, gateways=True).vertices("nic")) == 4
    assert ipu_pod(4).vertices("nic") == ()


@pytest.mark.parametrize("name", ["machines", "pods", "rung_links", "rail_links"])
def test_every_count_is_checked(name):
    counts = {"machines": 4, name: 0}
    with pytest.raises(TopologyError, match=f"ipu_pod: {name} is 0; a whole number, at least 1"):
        ipu_pod(counts.pop("machines"), **counts)
