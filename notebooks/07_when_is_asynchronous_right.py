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
# # When is asynchronous training right?
#
# Workers that wait for each other lose time to the slowest; workers that do not wait train on old parameters. Between
# the two stand backup workers (wait for most), groups (wait inside, not across), and local steps (wait seldom). We look
# at what each gains on the clock, beside three published systems, and at what is known of its price in samples.

# %%
import numpy as np
import plotly.graph_objects as go
from IPython.display import display
from scipy import optimize

from simulator.events.misfortune.backup import best_backups, share_in_time
from simulator.events.misfortune.laws import law_of
from simulator.goal import samples_to_target
from simulator.modes import Spread, asynchronous_period_s, mean_staleness, on_one_clock, port_times
from simulator.one_mode import ModeRequest, simulate_mode
from simulator.outcome.convergence.ceilings import step_cost
from simulator.planner import plan
from simulator.published_results import published_value
from simulator.query import PlanQuery
from workloads import catalog

# %% [markdown]
# ## Waiting for most: backup workers
#
# Chen et al. (arXiv:1604.00981; both figures recalled) saw the last of 100 gradients within two seconds in three steps
# of ten, the 98th in more than eight of ten. If workers are late independently, the first figure leaves no freedom for
# the second, whatever the distribution.

# %%
all_in_time = published_value("backups", "100 workers, all")
most_in_time = published_value("backups", "100 workers, first 98")
late = 1 - all_in_time ** (1 / 100)
predicted_98 = share_in_time(late, 98, 100)
print(f"one worker is late with probability {late:.2%}; the 98th within 2 s: published more than {most_in_time:.0%}, ")
print(f"predicted {predicted_98:.0%}")

# %%
figure = go.Figure()
stated_backups = int(published_value("backups", "100 workers", "best backups"))
best = {}
for name, spread in (("lognormal", 0.05), ("lognormal", 0.2), ("pareto", 0.05), ("pareto", 0.1), ("pareto", 0.3)):
    number, times = best_backups(law_of(name, spread), 100)
    best[f"{name} {spread:g}"] = (number, float(times[number]), float(times[stated_backups]))
    figure.add_scatter(x=np.arange(21), y=times[:21], name=f"{name}, spread {spread:g}: best {number}")
figure.add_vline(x=stated_backups, line={"dash": "dot", "color": "#7b8794"}, annotation_text="published best")
figure.update_layout(
    xaxis={"title": "backups among 100 workers"},
    yaxis={"title": "time to the same samples, none = 1", "range": [0, 1.2]},
)
display(figure)
for law, (number, time, at_stated) in best.items():
    print(f"{law:14} best {number:2d} backups, time {time:.2f} of none; {stated_backups} backups: {at_stated:.2f}")
print(
    f"samples to the target with backups: {step_cost('backup_workers').words} times; {step_cost('backup_workers').why}"
)

# %% [markdown]
# Four are best for a heavy tail with a spread of a twentieth; wider spreads want more, and workers that all differ a
# little gain nothing: what is thrown away costs as much as what is not waited for. One published number does not tell
# which law was at work.
#
# ## Waiting inside groups: 15 PFLOP/s on Cori
#
# 9,600 KNL, nine and eight groups (recalled), synchronous inside, asynchronous across (arXiv:1708.05256). Our step is
# of all in step; it waits for the slowest, by one spread fitted on all runs. Published rates stand beside it. Counted
# are products, three times the forward pass. One server, a baseline: published about 2 TFLOP/s.

# %%
nodes = 9600
rows = {}
for name in ("hep-cnn", "climate-cnn"):
    flop = 3 * catalog.model(name).forward_flop
    rates = {}
    for chips in (1, nodes):
        question = PlanQuery(
            model=name, system="cori-knl", chips=chips, global_batch=8 * chips, top=1,
            fixed=(("dp", chips), ("micro_batch", 8), ("recompute", "none"), ("sharding", "none")),
        )  # fmt: skip
        rates[chips] = flop * 8 * chips / plan(question).ranked[0].step.total_s
    stated = published_value("groups", name, "sustained")
    groups = int(published_value("groups", name, "groups"))
    rows[name] = {"one": rates[1], "whole": rates[nodes], "stated": stated, "groups": groups}
    print(
        f"{name:12} one server {rates[1] / 1e12:.2f} TFLOP/s (published about 2); {nodes:,} in step "
        f"{rates[nodes] / 1e15:5.2f} PFLOP/s, published sustained {stated / 1e15:5.2f}, ratio "
        f"{rates[nodes] / stated:.2f}; published efficiency against one server {stated / nodes / 2e12:.0%}"
    )

# %% [markdown]
# How much of the loss is the slowest of a group? Which spread of a server's step would take the published rate of one
# server to that of all? And with that spread: what would one group of all have made, what more groups?

# %%
kinds = ("lognormal", "shifted_exponential")
counts = np.array([1, 2, 4, 8, 16, 32, 64, 96])
found_spread, curves = {}, {}
for name, row in rows.items():
    wanted = nodes * published_value("groups", "one server") / row["stated"]
    members = nodes // row["groups"]
    for kind in kinds:
        found_spread[name, kind] = optimize.brentq(
            lambda v, k=kind, m=members, w=wanted: Spread(mean_s=1.0, kind=k, variation=v).expected_order_s(m, m) - w,
            0.005, 0.6, xtol=1e-4,
        )  # fmt: skip
        law = Spread(mean_s=1.0, kind=kind, variation=found_spread[name, kind])
        slowest = np.array([law.expected_order_s(nodes // int(g), nodes // int(g)) for g in counts])
        curves[name, kind] = nodes * 2e12 / slowest
figure = go.Figure()
for (name, kind), curve in curves.items():
    figure.add_scatter(x=counts, y=curve / 1e15, name=f"{name}, {kind}", mode="lines+markers")
for name, symbol in (("hep-cnn", "circle"), ("climate-cnn", "diamond")):
    figure.add_scatter(
        x=[rows[name]["groups"]], y=[rows[name]["stated"] / 1e15], mode="markers", name=f"{name}, published",
        marker={"size": 12, "symbol": symbol, "color": "#e67e22"},
    )  # fmt: skip
figure.update_layout(
    xaxis={"title": "groups of 9,600 servers", "rangemode": "tozero"}, yaxis={"title": "PFLOP/s", "rangemode": "tozero"}
)
display(figure)
bought = {}
for (name, kind), curve in curves.items():
    at = float(np.interp(rows[name]["groups"], counts, curve))
    bought[f"{name} {kind}"] = at / float(curve[0])
    print(
        f"{name:12} {kind:20} spread {found_spread[name, kind]:.1%}; {rows[name]['groups']} groups made "
        f"{at / curve[0] - 1:+.0%} on one; {counts[-1]} would make {curve[-1] / curve[0] - 1:+.0%}"
    )

# %% [markdown]
# Groups buy little: the slowest of n grows with the logarithm of n, and a ninth of n has nearly the same logarithm.
# The published efficiency was not measured without groups, so the spread is inferred, not checked; input, and
# imbalance that does not change from step to step, would look the same.
#
# ## Servers that all must reach: parameter servers
#
# gRPC TensorFlow on Cori (arXiv:1712.09388): over 80 % at 128 workers with 32 servers, 23 % at 512 with 64; HEP-CNN
# over 80 % at 256 with one. TensorFlow puts whole tensors on servers, so that the largest tensor is one server's load
# however many there are. One constant, what a server's port takes in, from the 23 %; the other two follow.

# %%
resnet, hep = catalog.model("resnet50"), catalog.model("hep-cnn")
largest = 4.0 * max(op.parameters for layer in resnet.layers for op in layer.ops)
gradient = 4.0 * resnet.parameters
step = {}
for name in ("resnet50", "hep-cnn"):
    question = PlanQuery(
        model=name, system="cori-knl", chips=1, global_batch=8, top=1, precision="fp32",
        fixed=(("micro_batch", 8), ("recompute", "none")),
    )  # fmt: skip
    step[name] = plan(question).ranked[0].step.total_s
stated = {
    "resnet50 128": published_value("servers", "resnet50, 32"),
    "resnet50 512": published_value("servers", "resnet50, 64"),
    "hep-cnn 256": published_value("servers", "hep-cnn"),
}
served = {}
for shards, load in (("even", gradient / 64), ("whole tensors", largest)):
    rate = 512 * load * stated["resnet50 512"] / step["resnet50"]
    for case, name, workers, byte, servers in (
        ("resnet50 128", "resnet50", 128, gradient, 32),
        ("resnet50 512", "resnet50", 512, gradient, 64),
        ("hep-cnn 256", "hep-cnn", 256, 4.0 * hep.parameters, 1),
    ):
        even = shards == "even" or servers == 1
        times = port_times(
            workers=workers, push_byte=byte, pull_byte=byte, servers=servers if even else byte / largest,
            workers_per_host=1, host_byte_per_s=rate, latency_s=0.0, colocated=False,
        )  # fmt: skip
        period = float(asynchronous_period_s(workers=workers, compute_s=step[name], times=times))
        served[shards, case] = step[name] / period
        print(
            f"{shards:13} {case:13} published {'' if case == 'resnet50 512' else 'over '}{stated[case]:.0%}, predicted "
            f"{served[shards, case]:.0%} (a port takes {rate / 1e9:.2f} GB/s)"
        )

# %% [markdown]
# With even shards no port explains both ResNet-50 figures; with whole tensors one does. Waiting or not would not have
# helped: the busiest server's port paces synchronous and asynchronous workers alike.
#
# ## One clock, one target
#
# ResNet-50 to 75.9 % top-1 on K80s (p2.16xlarge), 32 images on each, steps that vary by a tenth (assumed). Rates event
# by event beside the closed form; the clock is samples over rate: no start-up, input, evaluation, failures. Hours stand
# where the samples are known; else the least they could be, and how many times the samples a mode may cost before the
# synchronous one is faster.

# %%
asked = {
    "synchronous": ModeRequest(mode="synchronous", spread="shifted_exponential", variation=0.1, updates=400),
    "2 backups": ModeRequest(mode="synchronous", spread="shifted_exponential", variation=0.1, backups=2, updates=400),
    "asynchronous": ModeRequest(mode="asynchronous", spread="shifted_exponential", variation=0.1, updates=1500),
    "8 groups": ModeRequest(mode="groups", groups=8, spread="shifted_exponential", variation=0.1, updates=400),
    "8 local steps": ModeRequest(mode="local-sgd", period=8, spread="shifted_exponential", variation=0.1, updates=200),
}  # fmt: skip
workers = 64
question = PlanQuery(
    model="resnet50-v1.5", system="p2.16xlarge", chips=workers, global_batch=32 * workers, stack="tf-2017",
    fixed=(("micro_batch", 32), ("recompute", "none")),
)  # fmt: skip
shown = {name: simulate_mode(question, request) for name, request in asked.items()}
goal = samples_to_target(catalog.model("resnet50-v1.5"), "75.9% top-1", global_batch=32 * workers)
clock = on_one_clock({name: one.run.job for name, one in shown.items()}, reference="synchronous", samples=goal.samples)
agree = {}
for mode in clock:
    run = shown[mode.name].run
    agree[mode.name] = (run.samples_per_s / mode.samples_per_s, run.samples_per_s / mode.least_samples_per_s)
    hours = f"{mode.hours:5.1f} h" if mode.hours else f"unknown; at least {mode.free_hours:5.1f} h"
    print(
        f"{mode.name:14} {run.samples_per_s:6,.0f} images/s by events (closed form {mode.least_samples_per_s:6,.0f} to "
        f"{mode.samples_per_s:6,.0f}), staleness {run.mean_staleness:4.1f}, {hours}; may cost {mode.may_cost:.2f}x"
    )

# %%
figure = go.Figure()
figure.add_bar(x=[m.name for m in clock], y=[m.free_hours for m in clock], name="if samples were as few", opacity=0.45)
figure.add_bar(x=[m.name for m in clock], y=[m.hours for m in clock], name="samples known")
figure.update_layout(barmode="overlay", yaxis={"title": "hours to 75.9 % top-1 on 64 K80s", "rangemode": "tozero"})
display(figure)
for method in ("asynchronous", "local_sgd"):
    print(f"{method}: samples {step_cost(method).words}; {step_cost(method).why}")

# %% [markdown]
# ## Answer

# %%
gain = {mode.name: mode.may_cost for mode in clock}
print(
    f"Rarely for its speed. On 64 like workers not waiting, through parameter servers, makes "
    f"{gain['asynchronous']:.2f} times the images a second at a staleness of {float(mean_staleness(workers)):.0f}, "
    f"backups {gain['2 backups']:.2f} at none; groups on Cori bought {min(bought.values()) - 1:.0%} to "
    f"{max(bought.values()) - 1:.0%}. It is right where a few workers are much "
    f"later than all others and cannot be replaced, and where the network cannot carry an exchange every step (then "
    f"local steps do more)."
)
results = {
    "predicted_98": predicted_98,
    "stated_98": most_in_time,
    "best": best,
    "stated_backups": stated_backups,
    "cori": {name: row["whole"] / row["stated"] for name, row in rows.items()},
    "spreads": [float(value) for value in found_spread.values()],
    "bought": bought,
    "served": {f"{shards}, {case}": share for (shards, case), share in served.items()},
    "agree": agree,
    "gain": gain,
    "hours": {mode.name: mode.hours for mode in clock},
}

# %% [markdown]
# **What is not known.** How many samples a target takes under a given staleness: no published points. Jin et al.
# (arXiv:1611.04581) found asynchronous training to converge fastest on few servers and synchronous on many, gossip
# between; where the border lies ("about 32", "about 100 nodes") is recalled. Neither Cori's spread nor that of any
# other machine was measured here, and lateness that stays with a server (a slow one, in every step) is not
# independent, as all of this assumes.
