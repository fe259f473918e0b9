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
# # What would training ImageNet in one minute take: in 2017's hardware, and now?
#
# ResNet-50 to 75.9 % top-1. More chips make a step shorter; a larger batch keeps them busy but needs more passes over
# the data, up to the largest batch at which any published run still reached the target. Here both are searched, on
# machines of 2017 and of today, as many servers of each as the minute needs.
#
# The clock counts steps alone: no start-up, no evaluation. Host and network are asked afterwards whether they keep up.

# %%
import math

import numpy as np
import plotly.graph_objects as go
from IPython.display import display

import hwmodels.catalog as hardware
from simulator.calibration_data import load_constants
from simulator.cluster import system
from simulator.goal import NotReachedError, samples_to_target
from simulator.outcome.input import IMAGE_CORE_S
from simulator.outcome.money import latest_price
from simulator.records import Setup, Steps
from simulator.report.quantities import digits
from simulator.utilisation import TRAINING_FACTOR, forward_flop
from workloads import catalog as models

model = models.model("resnet50")
MINUTE_S = 60.0
# Software and formats that won benchmarks on each; a system may have more servers here than were ever built.
machines = {
    "P100, 2016": ("dgx1-p100", "caffe2-2017", "fp32"),
    "V100, 2017": ("dgx1-v100", "mlperf-mxnet", "fp16_mixed"),
    "TPU v3, 2018": ("tpu-v3-pod", "mlperf-tf", "bf16_mixed"),
    "A100, 2020": ("dgx-a100", "mlperf-mxnet", "fp16_mixed"),
    "H100, 2022": ("dgx-h100", "mlperf-mxnet", "fp16_mixed"),
}  # fmt: skip

# %% [markdown]
# ## Samples to the target against batch
#
# With LARS, from published runs (benchmark rounds tuned their recipes anew from year to year: the curve is a mean over
# them, with its 80 % interval). Beyond 86,016 nobody reached 75.9 %.

# %%
batches = [4096, 8192, 16384, 32768, 65536, 86016]
amounts = [samples_to_target(model, "75.9% top-1", global_batch=b, optimizer="lars") for b in batches]
for batch, found in zip(batches, amounts, strict=True):
    low, mean, high = (x / 1_281_167 for x in (found.low_samples, found.samples, found.high_samples))
    print(f"batch {batch:6,}: {mean:5.1f} epochs ({low:.0f} to {high:.0f})")
largest = amounts[0].largest_batch
try:
    samples_to_target(model, "75.9% top-1", global_batch=131072, optimizer="lars")
except NotReachedError as error:
    print(error)

# %% [markdown]
# ## The search
#
# Data parallelism, every chip with its share of the batch at once. For every machine: the quickest batch on every
# number of chips, and the fewest chips that finish within the minute.

# %%
price = Steps(load_constants())
counts = [256, 512, 1024, 2048, 4096]
times = {}
for name, (place, stack, precision) in machines.items():
    servers = -(-max(counts) // system(place).cluster.chips_per_server)
    for chips in counts:
        for batch, found in zip(batches[2:], amounts[2:], strict=True):
            share, rest = divmod(batch, chips)
            if rest or not 8 <= share <= 128:
                continue
            setup = Setup(
                model="resnet50", system=place, chips=chips, stack=stack, precision=precision, optimizer="lars",
                servers=servers,
            )  # fmt: skip
            times[name, chips, batch] = math.ceil(found.samples / batch) * price.of(setup, batch).total_s
best = {
    (name, chips): min((t, batch) for (n, c, batch), t in times.items() if (n, c) == (name, chips))
    for name in machines for chips in counts if any(key[:2] == (name, chips) for key in times)
}  # fmt: skip
within = {
    name: min((c for (n, c), (t, _) in best.items() if n == name and t <= MINUTE_S), default=0) for name in machines
}
for name in machines:
    line = "   ".join(f"{c:,}: {best[name, c][0]:5.0f} s" for c in counts if (name, c) in best)
    print(f"{name:13} {line}   {f'{within[name]:,} chips within the minute' if within[name] else 'not in a minute'}")

# %%
figure = go.Figure()
colours = ("#7b8794", "#1f4e79", "#2f855a", "#c05621", "#6b46c1")
for axis in ("", "2"):
    panel = {"xaxis": f"x{axis}", "yaxis": f"y{axis}", "showlegend": not axis}
    for name, colour in zip(machines, colours, strict=True):
        at = [c for c in counts if (name, c) in best]
        took = [best[name, c][0] for c in at]
        figure.add_scatter(x=at, y=took, name=name, mode="lines+markers", line={"color": colour}, **panel)
    line = {"color": "#1a202c", "dash": "dot"}
    figure.add_scatter(x=[0, 4200], y=[MINUTE_S, MINUTE_S], name="a minute", mode="lines", line=line, **panel)
figure.update_layout(
    height=460, width=980, legend={"orientation": "h", "y": -0.2},
    xaxis={"title": "chips", "range": [0, 4300], "domain": [0, 0.45]},
    yaxis={"title": "time to 75.9 % at the best batch [s]", "range": [0, 2000]},
    xaxis2={"title": "chips", "range": [0, 4300], "domain": [0.55, 1], "anchor": "y2"},
    yaxis2={"title": "the same, from nearby [s]", "range": [0, 260], "anchor": "x2"},
)  # fmt: skip
display(figure)

# %% [markdown]
# ## What else must keep up, what it costs, and the bound
#
# *images/s*: what storage and hosts must feed; *cores*: host cores that decode them, at what input of 2017 was measured
# to take, beside those a server has. *bound*: total operations over the peak of all chips, at small batches' least
# samples: no run is shorter. *list price*: of the chips for the minute, as if a minute could be bought.

# %%
flop = TRAINING_FACTOR * forward_flop(model, halved=True)
least = min(found.samples for found in amounts)
answers = {}
for name, (place, _, precision) in machines.items():
    chips = within[name]
    if not chips:
        continue
    cluster = system(place).cluster
    time_s, batch = best[name, chips]
    rate = amounts[batches.index(batch)].samples / time_s
    servers = -(-chips // cluster.chips_per_server)
    cores = rate * IMAGE_CORE_S / servers
    have = hardware.server(cluster.server).host_cores or 0
    word = {"fp32": "fp32", "fp16_mixed": "fp16", "bf16_mixed": "bf16"}[precision]
    bound_s = flop * least / (chips * cluster.chip.peak(word))
    usd = latest_price(cluster.chip.id, cluster.server).cost_usd(chips * time_s / 3600)
    answers[name] = {"chips": chips, "time_s": time_s, "batch": batch, "bound_s": bound_s, "cores": cores, "have": have}
    money = "unknown" if usd is None else f"USD {usd:.0f}"
    print(
        f"{name:13} {chips:5,} chips, batch {batch:,}: {time_s:4.0f} s; bound {bound_s:4.1f} s; "
        f"{rate / 1e6:.2f} million images/s, {digits(cores)} cores of {have:g} a server; list price {money}"
    )

# %% [markdown]
# ## Why not simply more chips
#
# At 4,096 chips a chip has 16 images: kernels no longer fill it. The exchange hides under the backward pass, but not on
# the P100s: their library of 2017 knows rings only, whose steps grow with the ranks; 4,096 are slower than 2,048.

# %%
for name, (place, stack, precision) in machines.items():
    for chips in (counts[0], counts[-1]):
        if (name, chips) in best:
            time_s, batch = best[name, chips]
            setup = Setup(
                model="resnet50", system=place, chips=chips, stack=stack, precision=precision, optimizer="lars",
                servers=-(-max(counts) // system(place).cluster.chips_per_server),
            )  # fmt: skip
            step = price.of(setup, batch)
            efficiency = (
                best[name, counts[0]][0] * counts[0] / (time_s * chips) if (name, counts[0]) in best else np.nan
            )
            print(
                f"{name:13} {chips:5,} chips, {batch // chips:4} images each: {1e3 * step.own_s:6.1f} ms own, "
                f"{1e3 * step.exchange_s:5.1f} ms exchange; efficiency in time {efficiency:.0%} of {counts[0]} chips"
            )

# %% [markdown]
# ## Against what was measured
#
# 1,024 TPU v3 took 77 s in 2019, 2,048 V100 took 70 to 75 s. The predictions leave out what those clocks held beside
# steps, and take the mean recipe of all years; on the largest machines they are 10 to 25 % short where they can be
# checked (notebook 03). Read every number of chips as the fewest at best, and ask the hosts first: where the line above
# wants more cores than a server has, decoding stops the minute, not the chips.

# %% [markdown]
# ## Answer

# %%
old = {name: n for name, n in within.items() if name in ("P100, 2016", "V100, 2017")}
new = {name: n for name, n in within.items() if name not in old}
print("In 2017: " + "; ".join(f"{n:,} {name.split(',')[0]}" if n else f"not with {name}" for name, n in old.items()))
print("Since: " + "; ".join(f"{n:,} {name.split(',')[0]}" if n else f"not with {name}" for name, n in new.items()))
results = {
    "within": within,
    "largest": largest,
    "answers": answers,
    "times": {f"{name}|{chips}": best[name, chips][0] for name, chips in best},
}
