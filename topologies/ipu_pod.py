"""Graphcore pods: machines of four IPUs in a ladder of IPU-Links, pods joined by gateway links."""

from __future__ import annotations

import networkx as nx

from topologies.topology import Topology, check_count

#: IPUs of one machine: two rows of the ladder.
PER_MACHINE = 4


def ipu_pod(
    machines: int,
    *,
    pods: int = 1,
    loop: bool = True,
    rung_links: int = 1,
    rail_links: int = 2,
    gateways: bool | None = None,
    tier: str = "scale_up",
    tier_gateway: str = "host",
    tier_pods: str = "scale_out",
) -> Topology:
    """IPUs 0 .. n-1: machine by machine, pod by pod. IPU i of a pod is in row i // 2, column i % 2 of its ladder.

    Parameters
    ----------
    machines
        In one pod: 4 in a POD16, 16 in a POD64.
    pods
        4 in a POD256.
    loop
        True: the ends of both rails are joined, so that a pod is a torus of 2 columns. A single machine has no loop.
    rung_links, rail_links
        IPU-Links between the two IPUs of a row, and between one row and the next in each column.
    gateways
        Whether each machine's gateway, ("nic", pod, machine), is there; by default with more than one pod. One link to
        each of its four IPUs; its two gateway links go to the machines of the same place in the pods beside its own,
        pods in a ring (both to the one other pod where there are two).

    Notes
    -----
    Bisection of one pod of r rows without gateways: min(2 rail, r rung), with 4 rail in place of 2 rail for a loop.

    References
    ----------
    Graphcore documentation: 16 machines in a pod, 2-D torus, gateway links across pods. The links per row are inferred
    from 8 link ports per machine and five links per IPU (recalled).
    """
    where = "ipu_pod"
    counts = {"machines": machines, "pods": pods, "rung_links": rung_links, "rail_links": rail_links}
    for name, value in counts.items():
        check_count(where, name, value)
    rows = 2 * machines
    gateways = pods > 1 if gateways is None else gateways or pods > 1
    ipus = PER_MACHINE * machines
    graph = nx.Graph()
    graph.add_nodes_from(range(ipus * pods), kind="chip")
    for pod in range(pods):
        first = ipus * pod
        for row in range(rows):
            a = first + 2 * row
            graph.add_edge(a, a + 1, tier=tier, count=rung_links, derate=1.0)
            if row + 1 == rows and not (loop and rows > 2):
                continue
            b = first + 2 * ((row + 1) % rows)
            for column in range(2):
                graph.add_edge(a + column, b + column, tier=tier, count=rail_links, derate=1.0)
        if gateways:
            _add_gateways(graph, machines, pod, pods, tier_gateway, tier_pods)
    bisection = None
    if not gateways:
        bisection = min((4 if loop and rows > 2 else 2) * rail_links, rows * rung_links)
    name = f"IPU-POD{ipus * pods}"
    return Topology(name=name, graph=graph, endpoints=tuple(range(ipus * pods)), bisection=bisection)


def _add_gateways(graph: nx.Graph, machines: int, pod: int, pods: int, tier_gateway: str, tier_pods: str) -> None:
    for machine in range(machines):
        gateway = ("nic", pod, machine)
        graph.add_node(gateway, kind="nic")
        first = PER_MACHINE * (machines * pod + machine)
        for ipu in range(first, first + PER_MACHINE):
            graph.add_edge(gateway, ipu, tier=tier_gateway, count=1, derate=1.0)
        if pod:
            graph.add_edge(gateway, ("nic", pod - 1, machine), tier=tier_pods, count=2 if pods == 2 else 1, derate=1.0)
        if pod == pods - 1 and pods > 2:
            graph.add_edge(gateway, ("nic", 0, machine), tier=tier_pods, count=1, derate=1.0)
