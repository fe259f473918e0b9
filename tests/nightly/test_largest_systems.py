"""The largest systems as graphs, whole: half a minute each."""

import pytest

from simulator.cluster import system
from simulator.cluster_topology import cluster_topology


@pytest.mark.parametrize("name", ["frontier", "titan", "meta-24k-roce"])
def test_the_whole_of_a_large_system_builds(name):
    cluster = system(name).cluster
    assert len(cluster_topology(cluster, servers=cluster.max_servers).endpoints) == cluster.max_chips
