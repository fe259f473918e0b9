from itertools import product

import pytest

from topologies.cloud import ethernet_cloud
from topologies.metrics import bisection_links, degree, diameter, exact_bisection_links, links_by_tier
from topologies.topology import TopologyError


@pytest.mark.parametrize("oversubscription", [1.0, 2.0, 4.0])
def test_counts_of_racks_in_one_pod(oversubscription):
    cloud = ethernet_cloud(servers=32, servers_per_rack=8, oversubscription=oversubscription)
    assert len(cloud.vertices("switch")) == 4 + 1
    assert links_by_tier(cloud) == {"scale_out": 32, "spine": 4 * 8 / oversubscription}
    assert bisection_links(cloud) == 16 / oversubscription
    assert diameter(cloud) == 4


def test_counts_of_pods():
    cloud = ethernet_cloud(
        servers=64, servers_per_rack=4, racks_per_pod=4, oversubscription=2, oversubscription_pod=2, links_per_server=2
    )
    assert links_by_tier(cloud) == {"core": 4 * 8, "scale_out": 128, "spine": 16 * 4}
    assert bisection_links(cloud) == 16
    assert diameter(cloud) == 6
    assert all(degree(cloud, server) == 2 for server in cloud.endpoints)


def test_the_pods_of_metas_cluster_are_tapered_by_exactly_seven():
    # 24,576 chips, 16 to a rack, 192 racks to a pod, 1 : 7 between pods (Meta's Llama 3 and RoCE papers).
    cloud = ethernet_cloud(servers=24_576, servers_per_rack=16, racks_per_pod=192, oversubscription_pod=7)
    trunk = cloud.graph.edges[("pod", 0), "core"]
    assert trunk["count"] == 439
    assert trunk["count"] * trunk["derate"] == pytest.approx(3072 / 7, rel=1e-12)
    assert sum(v[0] == "pod" for v in cloud.vertices("switch")) == 8


@pytest.mark.parametrize("oversubscription", [1.0, 1.5, 3.0, 2.7])
def test_the_trunk_carries_what_the_ratio_says(oversubscription):
    cloud = ethernet_cloud(servers=20, servers_per_rack=10, oversubscription=oversubscription)
    trunk = cloud.graph.edges[("rack", 1), ("pod", 0)]
    assert trunk["count"] * trunk["derate"] == pytest.approx(10 / oversubscription, rel=1e-12)
    assert trunk["derate"] > 1 - 1 / trunk["count"]


def test_where_there_is_a_closed_form_of_the_bisection_it_is_the_exact_cut():
    looked_at = 0
    for servers, rack, pod, taper, taper_pod in product(range(1, 11), (1, 2, 3, 4), (1, 2, None), (1, 2, 2.5), (1, 2)):
        cloud = ethernet_cloud(
            servers=servers,
            servers_per_rack=rack,
            racks_per_pod=pod,
            oversubscription=taper,
            oversubscription_pod=taper_pod,
        )
        if len(cloud.graph) <= 14 and cloud.bisection is not None:
            assert bisection_links(cloud) == exact_bisection_links(cloud)
            looked_at += 1
    assert looked_at > 100


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"servers": 0}, "servers is 0; a whole number, at least 1"),
        ({"servers_per_rack": 0}, "servers_per_rack is 0"),
        ({"racks_per_pod": 0}, "racks_per_pod is 0"),
        ({"links_per_server": 1.5}, "links_per_server is 1.5"),
        ({"oversubscription": 0.5}, "oversubscription is 0.5; a finite number, at least 1"),
        ({"oversubscription_pod": float("inf")}, "oversubscription_pod is inf; a finite number"),
    ],
)
def test_what_cannot_be_built_is_refused(change, message):
    with pytest.raises(TopologyError, match=message):
        ethernet_cloud(**({"servers": 32, "servers_per_rack": 8} | change))
