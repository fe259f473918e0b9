"""Runs under the system's Python with SimGrid: routes and finish times of messages, JSON in on stdin, JSON out.

TCP's factors are all switched off: what remains is SimGrid's own max-min solver, in which a flow's weight is one over
the latency of its route. `network/optim:Full` because the lazy updates of the default round single flows.
"""

import json
import sys

import simgrid
from simgrid import Actor, Comm, Engine, Host, Link, LinkInRoute, NetZone

SETTINGS = [
    "network/model:CM02",
    "network/optim:Full",
    "network/TCP-gamma:0",
    "network/crosstraffic:0",
    "network/bandwidth-factor:1",
    "network/latency-factor:1",
    "network/weight-S:0",
    "maxmin/precision:1e-9",
    "surf/precision:1e-12",
]
SPLIT = Link.SharingPolicy.SPLITDUPLEX


def host_of(zone, _, index):
    return zone.create_host(f"h{index}", 1e9).netpoint, None


def build(zone):
    """Zone of the given kind with hosts h0, h1, ..."""
    kind, bandwidth, latency = zone["kind"], zone.get("bandwidth"), zone.get("latency")
    if kind == "free":  # hosts in pairs, each pair with the links that its message takes
        full = NetZone.create_full_zone("free")
        links = []
        for index, (capacity, delay) in enumerate(zone["links"]):
            link = full.create_link(f"l{index}", capacity)
            link.set_latency(delay)
            links.append(link.seal())
        for index, route in enumerate(zone["routes"]):
            a, b = full.create_host(f"h{2 * index}", 1e9), full.create_host(f"h{2 * index + 1}", 1e9)
            hops = [LinkInRoute(links[number]) for number in route]
            full.add_route(a.netpoint, b.netpoint, None, None, hops, False)
        return full.seal()
    callbacks = simgrid.ClusterCallbacks(host_of, None, None)
    if kind == "torus":
        made = NetZone.create_torus_zone("z", None, zone["dims"], callbacks, bandwidth, latency, SPLIT)
    elif kind == "fat_tree":
        shape = simgrid.FatTreeParams(zone["levels"], zone["down"], zone["up"], zone["parallel"])
        made = NetZone.create_fatTree_zone("z", None, shape, callbacks, bandwidth, latency, SPLIT)
    else:
        shape = simgrid.DragonflyParams(*(tuple(part) for part in zone["shape"]), zone["nodes"])
        made = NetZone.create_dragonfly_zone("z", None, shape, callbacks, bandwidth, latency, SPLIT)
    return made.seal()


def run(engine, question):
    hosts = {}

    def host(index):
        if index not in hosts:
            hosts[index] = Host.by_name(f"h{index}")
        return hosts[index]

    finish = []

    def send():
        for one in question["rounds"]:
            begin = Engine.clock
            comms = [Comm.sendto_async(host(a), host(b), size) for a, b, size in one]
            for comm in comms:
                comm.wait()
            finish.append([comm.finish_time - begin for comm in comms])

    Actor.create("sender", host(0), send)
    engine.run()
    links, routes = {}, {}
    for one in question["rounds"]:
        for a, b, _ in one:
            if f"{a} {b}" not in routes:
                way, _ = host(a).route_to(host(b))
                routes[f"{a} {b}"] = [link.name for link in way]
                links.update({link.name: (link.bandwidth, link.latency) for link in way})
    return {"rounds": finish, "links": links, "routes": routes}


if __name__ == "__main__":
    question = json.load(sys.stdin)
    engine = Engine(["oracle", "--log=root.thres:critical", *(f"--cfg={setting}" for setting in SETTINGS)])
    build(question["zone"])
    json.dump(run(engine, question), sys.stdout)
