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
# # Large batch or batch one?
#
# GPUs want large batches: with few samples a chip idles, and many chips need many samples. Large batches want more
# samples to the same accuracy, and from some size on they never reach it. The other way is a machine whose weights lie
# beside the arithmetic: every layer has cores of its own, samples follow each other, each updates the weights as it
# comes back (pipelined back-propagation). What does each pay, and where do they meet?

# %%
import numpy as np
import plotly.graph_objects as go
from IPython.display import display

from hwmodels.catalog import chip
from simulator.goal import samples_to_target
from simulator.kernels.reuse_energy import STORES, flop_per_joule, samples_to_match
from simulator.outcome.energy import PUE, energy
from simulator.planner import plan
from simulator.published_results import published, published_value
from simulator.query import PlanQuery
from simulator.schedules import SCHEDULES
from simulator.wafer_training import train_on_wafer
from workloads import catalog

model = catalog.model("resnet50-v1.5")
target = "75.9% top-1"

# %% [markdown]
# ## Why batch one is dear: a weight fetched for a single product
#
# At batch one a layer is a product of a matrix and a vector: each weight is fetched for one multiplication and one
# addition. From DRAM that fetch costs 800 times the arithmetic. Two ways out: use it for many samples, or keep it in
# SRAM beside the multiplier. Energy of single operations at 45 nm (arXiv:1602.04183) and nothing else gives:

# %%
batches = np.arange(1, 101)
by_hand = {store: flop_per_joule(store, samples=batches) / 1e9 for store in STORES}
stated = {one.case: one.value / 1e9 for one in published("batch one", quantity="energy efficiency")}
figure = go.Figure()
for store, colour in zip(STORES, ("#1f4e79", "#5b8db8", "#c0392b"), strict=True):
    figure.add_scatter(x=batches, y=by_hand[store], name=f"weights in {store}", line={"color": colour})
for case, symbol in (("CATERPILLAR, small networks", "circle"), ("CATERPILLAR, large networks", "diamond")):
    figure.add_scatter(
        x=[1], y=[stated[case]], name=f"{case}, published", mode="markers",
        marker={"symbol": symbol, "size": 11, "color": "#e67e22"},
    )  # fmt: skip
figure.update_layout(
    xaxis={"title": "samples for each fetch of a weight", "range": [0, 100]},
    yaxis={"title": "GFLOP/J at 45 nm, integers of 16 bits", "range": [0, 500]},
)
display(figure)

# %%
for case, value in stated.items():
    print(f"{case:48} published {value:6.1f} GFLOP/J")
for store in STORES:
    print(f"batch one, weights in {store:9} predicted {by_hand[store][0]:6.1f} GFLOP/J")
ratios = {
    "small": by_hand["sram 32k"][0] / stated["CATERPILLAR, small networks"],
    "large": by_hand["sram 4k"][0] / stated["CATERPILLAR, large networks"],
}
dram_batch = samples_to_match("dram", "sram 4k")
print(f"DRAM is as cheap for each product from {dram_batch:.0f} samples for a fetch on.")

# %% [markdown]
# The two published machines lie between small and large SRAMs, within a tenth. Which machine has which SRAM is our
# reading, control and floating point are left out, and the figures are of synthesised designs, not of chips. The
# ordinary machines of the same table (5 and 1 GFLOP/J for large products) lose to instructions and caches.
#
# ## Why large batches are dear: samples and steps to a target
#
# Published runs of ResNet-50 to 75.9 % top-1: E = Emin (1 + B / Bcrit) samples, S = E / B steps. Below the smallest
# published batch the curve is flat by its form, and nobody measured it there.

# %%
goal_batches = (832, 1664, 4096, 8192, 16384, 32768, 65536)
goals = {batch: samples_to_target(model, target, global_batch=batch) for batch in goal_batches}
least = samples_to_target(model, target, global_batch=1)
epochs = [goal.samples / 1_281_167 for goal in goals.values()]
figure = go.Figure()
figure.add_scatter(
    x=goal_batches, y=epochs, mode="lines+markers", name="mean, 80 % interval",
    error_y={
        "array": [(goal.high_samples - goal.samples) / 1_281_167 for goal in goals.values()],
        "arrayminus": [(goal.samples - goal.low_samples) / 1_281_167 for goal in goals.values()],
    },
)  # fmt: skip
figure.update_layout(
    xaxis={"title": "global batch [images]", "rangemode": "tozero"},
    yaxis={"title": "epochs to 75.9 % top-1", "rangemode": "tozero"},
)
display(figure)
for batch, goal in goals.items():
    print(f"batch {batch:6,}  {goal.samples / 1_281_167:5.1f} epochs  {goal.samples / batch:9,.0f} steps")
low, high = (int(one.value) for one in published("batch one", "best accuracy"))
print(f"Best test accuracy at batches of {low} to {high} (CIFAR, ImageNet; arXiv:1804.07612): a statement on accuracy.")

# %% [markdown]
# ## GPUs: data parallel on V100s
#
# DGX-1, MXNet as it won MLPerf v0.6. The clock is steps times step: no start-up, evaluation, input or failures.
# Speed-up is weak in the batch and strong in time; its baseline is one server of eight at a batch of 832.

# %%
points = ((8, 832), (16, 1664), (64, 8192), (256, 16384), (512, 32768), (1024, 65536))
gpu_s, gpu_samples = [], []
for chips, batch in points:
    question = PlanQuery(
        model="resnet50-v1.5", system="dgx1-v100", chips=chips, global_batch=batch, stack="mlperf-mxnet", top=1,
        fixed=(("recompute", "none"), ("sharding", "none")),
    )  # fmt: skip
    found = plan(question).ranked[0]
    goal = samples_to_target(model, target, global_batch=batch)
    gpu_samples.append(goal.samples)
    gpu_s.append(goal.samples / batch * found.step.total_s)
gpu_chips = np.array([chips for chips, _ in points])
gpu_s = np.array(gpu_s)
speed_up = gpu_s[0] / gpu_s
efficiency = speed_up * gpu_chips[0] / gpu_chips
for (chips, batch), seconds, up, share in zip(points, gpu_s, speed_up, efficiency, strict=True):
    print(
        f"{chips:5d} V100  batch {batch:6,}  {seconds / 60:7.1f} min to the target  {up:5.1f}x over 8  "
        f"efficiency {share:4.0%}"
    )

# %% [markdown]
# And with few images on a chip? A V100 at batch one:

# %%
alone = {}
for batch in (1, 8, 64, 256):
    question = PlanQuery(
        model="resnet50-v1.5", system="dgx1-v100", chips=1, global_batch=batch, stack="mlperf-mxnet", top=1,
        fixed=(("recompute", "none"), ("micro_batch", batch)),
    )  # fmt: skip
    alone[batch] = batch / plan(question).ranked[0].step.total_s
    print(f"{batch:4d} images on a V100: {alone[batch]:6,.0f} images/s")

# %% [markdown]
# ## A wafer at batch one
#
# Every layer a stage (`fine-grained` in the schedules). A pipeline that drains needs a batch of many times its depth;
# one that never drains needs none, at the price of late weights: stage i of p meets its own update 2 (p - 1 - i)
# samples later. **0 measured rows** stand behind the wafer: peak, clock and power are as remembered, the share of the
# peak that cores keep is a guess of 0.7, and the price of late weights in samples is unknown.

# %%
wafers = {name: train_on_wafer(model, chip(name)) for name in ("wse-1", "wse-2")}
stages = wafers["wse-1"].stages
drained = 0.9 * (stages - 1) / 0.1
idle = SCHEDULES["gpipe"].bubble_fraction(stages, round(drained))
print(f"{stages} stages: a pipeline that drains keeps 90 % busy from {drained:.0f} samples a batch on")
print(f"one that never drains is idle {SCHEDULES['fine-grained'].bubble_fraction(stages, 1):.0%} at batch one")
for name, wafer in wafers.items():
    print(
        f"{name}: {wafer.samples_per_s:9,.0f} images/s predicted, bound {wafer.bound_samples_per_s:9,.0f}; updates "
        f"up to {wafer.late_updates.max():.0f} samples late, {wafer.late_updates.mean():.0f} in the mean; "
        f"{wafer.held_share:.0%} of its memory; {wafer.measured_rows} measured rows"
    )

# %% [markdown]
# ## One clock, one target, equal power
#
# One CS-1 draws 20 kW at most (as remembered). V100s draw 300 W each and their host the rest. The wafer's time counts
# the samples of a small batch and nothing for late updates, so that it is the least it could take; how many more
# samples it may need before the GPUs of equal power win is the honest number.

# %%
wafer = wafers["wse-1"]
wafer_s = least.samples / wafer.samples_per_s
wafer_j = energy(
    chip=chip("wse-1"), chips=1, servers=0, host_power_w=0.0, utilisation=1.0, time_s=wafer_s, pue=PUE
).peak_j  # fmt: skip
servers = gpu_chips / 8
gpu_j = np.array([
    energy(
        chip=chip("v100-sxm2-16gb"), chips=int(n), servers=int(k), host_power_w=1100.0, utilisation=1.0,
        time_s=float(t), pue=PUE,
    ).peak_j
    for n, k, t in zip(gpu_chips, servers, gpu_s, strict=True)
])  # fmt: skip
gpu_w = gpu_j / gpu_s
wafer_w = wafer_j / wafer_s
# Time is nearly one over power: a straight line between two points in their logarithms.
equal_s = float(np.exp(np.interp(np.log(wafer_w), np.log(gpu_w), np.log(gpu_s))))
may_cost = equal_s / wafer_s
figure = go.Figure()
figure.add_scatter(x=gpu_w / 1e3, y=gpu_s / 60, name="V100s, predicted", mode="lines+markers")
figure.add_scatter(
    x=[wafer_w / 1e3], y=[wafer_s / 60], name="one wafer at batch one, at least (0 measured rows)", mode="markers",
    marker={"size": 11, "color": "#e67e22"},
)  # fmt: skip
figure.update_layout(
    xaxis={"title": "power at full load, building included [kW]", "rangemode": "tozero"},
    yaxis={"title": "minutes to 75.9 % top-1", "rangemode": "tozero"},
)
display(figure)
print(f"wafer: {wafer_s / 60:.1f} min at least, {wafer_w / 1e3:.0f} kW, {wafer_j / 3.6e6:.1f} kWh")
print(f"V100s of the same power: {equal_s / 60:.0f} min")
for n, t, j in zip(gpu_chips, gpu_s, gpu_j, strict=True):
    print(f"{n:5d} V100s: {t / 60:7.1f} min, {j / t / 1e3:6.0f} kW, {j / 3.6e6:6.1f} kWh at full load")
print(f"Late updates may cost {may_cost:.1f} times the samples before V100s of equal power are the faster.")

# %% [markdown]
# ## Answer

# %%
print(
    f"Large batches on GPUs: {speed_up[-1]:.0f}x on {gpu_chips[-1] // gpu_chips[0]} times the chips "
    f"({efficiency[-1]:.0%}), of which samples to the target took a factor {gpu_samples[-1] / gpu_samples[0]:.1f}. "
    f"Batch one is no way for a machine with its weights in DRAM (a V100 makes {alone[1] / alone[256]:.0%} of its "
    f"rate) and can be one for a machine that keeps them in SRAM: there it costs what {dram_batch:.0f} samples at "
    f"once cost from DRAM, no stage idles, and late updates may cost {may_cost:.1f} times the samples before GPUs win."
)
results = {
    "small_ratio": float(ratios["small"]),
    "large_ratio": float(ratios["large"]),
    "dram_batch": dram_batch,
    "epochs": epochs,
    "efficiency": efficiency.tolist(),
    "alone_share": alone[1] / alone[256],
    "stages": stages,
    "late": float(wafer.late_updates.max()),
    "idle_when_drained": idle,
    "wafer_rows": wafer.measured_rows,
    "wafer_below_bound": wafer.samples_per_s / wafer.bound_samples_per_s,
    "may_cost": may_cost,
    "caterpillar": published_value("batch one", "CATERPILLAR, large"),
}

# %% [markdown]
# **What is not known.** Whether a network trained with updates up to a hundred samples late reaches the same accuracy
# in as many samples (the delay is a fraction of one large batch, but of another kind). Any measured rate of a wafer
# training ResNet-50. Samples to the target below a batch of 832. Power of either machine while it trains.
