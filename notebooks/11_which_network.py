# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Which network: fat tree, dragonfly, torus or NVLink domain, at equal money?
#
# All four carry large machines. They cannot be compared at equal link rates: a torus needs three cables
# a chip and no switches, a fat tree needs switches and half its cables are optical. So give every network the same sum
# and see what rate of links it buys. Then run the same two jobs on the same 64 H100: one whose exchange is large
# (Llama-3.1 8B, tensor parallel in eights) and one whose exchange is small (ResNet-50).

# %%
import csv
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from IPython.display import display

import simulator
from simulator.planner import plan
from simulator.query import PlanQuery
from simulator.questions.networks import (
    Network,
    collective_s,
    ports_of,
    unit_rates_byte_per_s,
    wires_at,
)
from topologies.dragonfly import dragonfly
from topologies.fat_tree import fat_tree
from topologies.metrics import diameter, links_by_tier
from topologies.nested import nested
from topologies.nvswitch import nvswitch
from topologies.torus import torus

# %% [markdown]
# ## Six networks for 64 chips
#
# Longer than copper reaches: links between switches of different racks, and a third of the torus' links, between racks
# in one of its three dimensions. NVLink domains have nine times the card's rate inside, as a DGX H100.

# %%
servers = nested(nvswitch(8, links_to_switches=(1,), folded=True), fat_tree(endpoints=8, radix=8), nics_per_server=8)
fast = {"scale_up": 9.0, "host": float("inf")}
networks = (
    Network(name="fat tree", topology=fat_tree(endpoints=64, radix=16), long_share={"spine": 1.0}),
    Network(
        name="fat tree 2:1", topology=fat_tree(endpoints=64, radix=12, oversubscription=2.0), long_share={"spine": 1.0}
    ),
    Network(
        name="dragonfly", long_share={"global": 1.0},
        topology=dragonfly(groups=8, routers_per_group=4, endpoints_per_router=2, global_links=2),
    ),
    Network(name="torus 4x4x4", topology=torus((4, 4, 4)), long_share={"scale_up": 1 / 3}, dims=(4, 4, 4)),
    Network(name="NVLink in eights", topology=servers, speed=fast, long_share={"spine": 1.0}, domain=8),
    Network(
        name="NVLink for all", topology=nvswitch(64, links_to_switches=(1,), folded=True), speed={"scale_up": 9.0}
    ),
)  # fmt: skip
REFERENCE, CARD = "NVLink in eights", 50e9
for network in networks:
    links = ", ".join(f"{n} {tier}" for tier, n in links_by_tier(network.topology).items())
    cut = network.topology.bisection
    print(
        f"{network.name:17} {links}; diameter {diameter(network.topology)}, bisection "
        f"{'not known in closed form' if cut is None else f'{cut} links'}"
    )

# %% [markdown]
# ## What the same money buys
#
# No price of a switch, a cable or a transceiver ships with this project, and none is known to us with a source. So the
# answer is a function of the one ratio that decides: what an optical cable with its transceivers costs over a port of
# the same rate. A link is two ports and a cable; prices grow with the rate; a copper cable costs a tenth of a port
# (assumed); a port on a chip costs what one on a switch does. The sum is that of a DGX H100's network: 50 GB/s a card.

# %%
ratios = np.array([0.0, 0.5, 1.0, 2.0, 3.0, 5.0])
bought = {
    float(r): unit_rates_byte_per_s(networks, optics=float(r), reference=REFERENCE, reference_byte_per_s=CARD)
    for r in ratios
}
for network in networks:
    rates = ", ".join(
        f"{bought[r][network.name] * network.speed.get('scale_up', 1.0) / 1e9:.0f}" for r in (0.0, 1.0, 5.0)
    )
    print(f"{network.name:17} {ports_of(network, 1.0):6.0f} ports' worth; GB/s of a chip's first link: {rates} "
          "(optics 0, 1, 5 ports)")  # fmt: skip

# %% [markdown]
# ## What collectives take
#
# The best of ring, halving-doubling, the torus' own and two levels, played message by message on the graph with max-min
# fair shares; half a microsecond a hop; spread evenly over shortest routes. At optics for the price of one port. On the
# torus the groups of eight are cubes of 2 x 2 x 2, which use three links of each chip.

# %%
tensor, far, small, every = (
    "tensor: 8 x 8 neighbours, 512 MiB", "gradients: 8 x 8 far apart, 2 GB", "gradients: all 64, 51 MB",
    "all to all: 64 MiB each",
)  # fmt: skip
in_order = np.arange(64).reshape(8, 8)
cubes = np.arange(64).reshape(2, 2, 2, 2, 2, 2).transpose(0, 2, 4, 1, 3, 5).reshape(8, 8)
seconds = {}
for network in networks:
    wires = wires_at(network, bought[1.0][network.name])
    groups, block = (cubes, (2, 2, 2)) if network.dims else (in_order, ())
    seconds[network.name] = {
        tensor: collective_s(network, wires, "all_reduce", 2**29, groups, dims=block),
        far: collective_s(network, wires, "all_reduce", 2 * 10**9, groups.T, dims=block),
        small: collective_s(network, wires, "all_reduce", 51_114_064),
        every: collective_s(network, wires, "all_to_all", 2**26),
    }
    words = "; ".join(f"{1e3 * s:.2f} ms ({name})" for s, name in seconds[network.name].values())
    print(f"{network.name:17} {words}")
cube = networks[3]
naive_s, _ = collective_s(cube, wires_at(cube, bought[1.0][cube.name]), "all_reduce", 2**29, in_order)
layout_gain = naive_s / seconds[cube.name][tensor][0]
print(
    f"eights in the order of ranks instead of cubes: {1e3 * naive_s:.2f} ms on the torus, {layout_gain:.1f} times as "
    "long"
)
figure = go.Figure()
for what in (tensor, far, small, every):
    least = min(found[what][0] for found in seconds.values())
    figure.add_bar(x=list(seconds), y=[found[what][0] / least for found in seconds.values()], name=what)
figure.update_layout(
    barmode="group", yaxis={"title": "time over the quickest network's", "rangemode": "tozero"},
    legend={"orientation": "h", "y": -0.15},
)  # fmt: skip
display(figure)

# %% [markdown]
# ## The step
#
# Everything but the exchange comes from the planner: computing, optimizer and fixed costs of the best strategy, which
# are the same on every network. Tensor parallelism exchanges four times a layer and hides nothing (its stack's overlap
# is left out); gradients hide under two thirds of the computing, the backward pass.

# %%
llama = plan(
    PlanQuery(
        model="llama-3.1-8b", system="dgx-h100", chips=64, global_batch=64, seq_len=8192, fixed=(("tp", 8), ("dp", 8))
    )
).ranked[0]
resnet = plan(PlanQuery(model="resnet50", system="dgx-h100", chips=64, global_batch=4096)).ranked[0]
own_s = {
    name: sum(best.step.part_s(part) for part in ("compute", "optimizer", "fixed"))
    for name, best in (("Llama", llama), ("ResNet", resnet))
}
hidden_s = {name: 2 / 3 * best.step.part_s("compute") for name, best in (("Llama", llama), ("ResNet", resnet))}
# Eight sequences of 8,192 tokens and 4,096 numbers of 2 bytes; 32 layers, twice forward and twice backward.
messages = 4 * 32 * (8 * 8192 * 4096 * 2) / 2**29
exposed = {
    name: {
        "Llama": messages * found[tensor][0] + max(0.0, found[far][0] - hidden_s["Llama"]),
        "ResNet": max(0.0, found[small][0] - hidden_s["ResNet"]),
    }
    for name, found in seconds.items()
}
figure = go.Figure()
for job, colour in (("Llama", "#1f4e79"), ("ResNet", "#b5651d")):
    share = [100 * own_s[job] / (own_s[job] + parts[job]) for parts in exposed.values()]
    figure.add_bar(x=list(exposed), y=share, name=job, marker_color=colour)
figure.update_layout(
    barmode="group", yaxis={"title": "share of a step that is not exchange [%]", "range": [0, 105]}
)  # fmt: skip
display(figure)
for name, parts in exposed.items():
    print(
        f"{name:17} Llama {own_s['Llama'] + parts['Llama']:6.3f} s a step, {parts['Llama']:6.3f} of them exchange; "
        f"ResNet {1e3 * (own_s['ResNet'] + parts['ResNet']):5.1f} ms, {1e3 * parts['ResNet']:4.1f} of them"
    )

# %% [markdown]
# ## Where the answer turns
#
# The same for other prices of optics. Times are taken to fall with the rate that is bought; the hops' share, which does
# not, is small in messages of this size.

# %%
steps = {
    network.name: [
        own_s["Llama"]
        + messages * seconds[network.name][tensor][0] * bought[1.0][network.name] / bought[float(r)][network.name]
        + max(
            0.0,
            seconds[network.name][far][0] * bought[1.0][network.name] / bought[float(r)][network.name]
            - hidden_s["Llama"],
        )
        for r in ratios
    ]
    for network in networks
}
figure = go.Figure()
for name, values in steps.items():
    figure.add_scatter(x=ratios, y=values, name=name, mode="lines+markers")
figure.update_layout(
    xaxis={"title": "price of an optical cable over that of a port", "rangemode": "tozero"},
    yaxis={"title": "step of Llama-3.1 8B [s]", "rangemode": "tozero"},
)
display(figure)
for i, r in enumerate(ratios):
    order = sorted(steps, key=lambda name: steps[name][i])
    print(f"optics at {r:3.1f} ports: " + ", ".join(f"{name} {steps[name][i]:.2f} s" for name in order))

# %% [markdown]
# ## Beside what was measured
#
# No two of these networks were ever measured at equal money. What can be held against measurements is the graph at
# nominal rates: what share of it do libraries get? H100 on NVLink 4, GB200 in a rack of NVLink 5, Xeon Phi on an
# Omni-Path fat tree; the largest message of each.

# %%
with (Path(simulator.__file__).parent / "data" / "measured_collectives.csv").open(encoding="utf-8") as lines:
    rows = list(csv.DictReader(lines))
graphs = {
    ("8x Hopper node", 8): (Network(name="8 H100", topology=nvswitch(8, links_to_switches=(1,))), 450e9),
    ("GB200 NVL72", 64): (Network(name="64 GB200", topology=nvswitch(64, links_to_switches=(1,), folded=True)), 900e9),
    ("1 KNL per node, Omni-Path 100 fat tree (Intel Endeavor)", 32): (
        Network(name="32 Xeon Phi", topology=fat_tree(endpoints=32, radix=48)), 12.5e9,
    ),
}  # fmt: skip
shares = {}
for (where, ranks), (network, rate) in graphs.items():
    for collective in ("all_reduce", "all_gather", "all_to_all"):
        found = [r for r in rows if r["system"] == where and r["ranks"] == str(ranks) and r["collective"] == collective]
        if found:
            row = max(found, key=lambda r: float(r["size_bytes"]))
            nominal_s, _ = collective_s(network, wires_at(network, rate), collective, int(float(row["size_bytes"])))
            shares[f"{network.name}, {collective}"] = nominal_s / float(row["time_s"])
            measured_s, share = float(row["time_s"]), nominal_s / float(row["time_s"])
            print(
                f"{network.name:12} {collective:10} {float(row['size_bytes']) / 1e6:9,.0f} MB: on the graph "
                f"{1e3 * nominal_s:7.2f} ms, measured {1e3 * measured_s:7.2f}: {share:.0%} of nominal"
            )

# %% [markdown]
# GB200's all-reduce is above what rings can do: its switches add up. On the others libraries get between a half of
# nominal (the old fat tree) and nine tenths: differences as large as some above.
#
# ## Answer, and what is not known

# %%
best_llama = {float(r): min(steps, key=lambda name: steps[name][i]) for i, r in enumerate(ratios)}
slack = {name: hidden_s["ResNet"] / found[small][0] for name, found in seconds.items()}
for name, times in slack.items():
    print(f"{name:17} would hide ResNet's exchange at 1/{times:.0f} of the money")
least, most = min(slack, key=slack.get), max(slack, key=slack.get)
worst = max(exposed, key=lambda name: exposed[name]["Llama"])
print(
    f"For tensor-parallel Llama: {' or '.join(dict.fromkeys(best_llama.values()))}, as optics cost from 0 to 5 ports, "
    f"with a torus that is programmed as one; last is the {worst}. For ResNet-50 it does not matter: every network "
    f"hides its exchange, the {least} with {slack[least]:.0f} times, the {most} with {slack[most]:.0f} times the rate "
    "it needs."
)
results = {
    "names": [network.name for network in networks],
    "best_llama": list(best_llama.values()),
    "llama_s": [own_s["Llama"] + parts["Llama"] for parts in exposed.values()],
    "resnet_exposed": [parts["ResNet"] / own_s["ResNet"] for parts in exposed.values()],
    "resnet_slack": list(slack.values()),
    "seconds": [[s for s, _ in found.values()] for found in seconds.values()],
    "layout_gain": layout_gain,
    "shares": shares,
}

# %% [markdown]
# - Prices. That a port costs the same on a chip and on a switch, and copper a tenth, decides as much as the graph;
#   proprietary switches (NVLink) have no list price at all. Power and space are left out.
# - A network that is cut to 64 chips flatters those whose links do not grow with size: a torus' bisection falls behind
#   at thousands, and a domain for all ends at a rack.
# - The step above is the planner's computing and the graph's exchange, put together here. `plan` itself prices servers
#   and their cards, and does not see what lies between switches; the taper is on the graph alone.
# - Routes are shortest and evenly spread: no adaptive detours, which a dragonfly needs most, and no hash collisions,
#   which hurt fat trees. Nothing measured a dragonfly or a torus here.
# - What libraries lose against the graph, a tenth to a half, is not in the comparison; nor are reductions in switches.
