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
# # How did 10.5 hours become minutes?
#
# In October 2015 FireCaffe trained GoogLeNet on ImageNet in 10.5 hours; in July 2019 a TPU v3 pod trained ResNet-50 to
# 75.9 % in 77 seconds. Chips, networks, software and batches all changed. Here every record between is predicted from
# what it ran on, and the way from the first to the last is cut into changes, one at a time.
#
# **What the clocks include.** Measured: what each source counted; MLPerf's clock starts at the first touch of data and
# stops at the target, evaluations in between; DAWNBench's holds the evaluation of every epoch; papers mostly say no
# more than "trained in". Predicted: steps alone. No start-up, no evaluation, no checkpoint, no waiting for input.

# %%
import math

import numpy as np
import plotly.graph_objects as go
from IPython.display import display

from simulator.records import SYSTEMS, timeline, waterfall
from simulator.report.quantities import seconds

records = timeline()
rows = records.rows

# %% [markdown]
# ## Measured beside predicted
#
# *in sample*: a fitted constant saw a step of that run. *one step known*: the prediction again, where a printed step of
# the same software on one machine of the kind says how fast that is, so that only the scaling is left to predict.

# %%
for row in rows:
    known = "" if row.anchored_s is None or row.is_anchor else f"; one step known {math.expm1(row.anchored_error):+.0%}"
    seen = "in sample" if row.in_sample else "not seen"
    print(
        f"{row.run.when}  {row.run.group:18} {row.run.chips:5,} chips  measured {seconds(row.measured_s):>9}  "
        f"predicted {seconds(row.predicted_s):>9}  {math.expm1(row.error):+5.0%}  ({seen}{known})"
    )
median, known_median = records.median_error(), records.median_error(anchored=True)
print(
    f"median of the {len(SYSTEMS)} systems to 2018: {median:.1%}; "
    f"with one step of each machine known {known_median:.1%}"
)

# %% [markdown]
# Points on the line are hit. Both axes are linear and equal, once for the hours and once for the minutes: logarithmic
# axes would bring every miss close to the line.

# %%
figure = go.Figure()
for i, (scale, most) in enumerate(((3600.0, 35.0), (60.0, 65.0)), start=1):
    axis = "" if i == 1 else "2"
    shown = [row for row in rows if max(row.measured_s, row.predicted_s) <= most * scale]
    figure.add_scatter(
        x=[0, most], y=[0, most], mode="lines", line={"color": "#7b8794", "dash": "dot"}, name="hit",
        showlegend=i == 1, xaxis=f"x{axis}", yaxis=f"y{axis}",
    )  # fmt: skip
    for seen, colour in ((True, "#1f4e79"), (False, "#c05621")):
        some = [row for row in shown if row.in_sample == seen]
        figure.add_scatter(
            x=[row.measured_s / scale for row in some], y=[row.predicted_s / scale for row in some], mode="markers",
            marker={"color": colour, "size": 9}, text=[f"{row.run.group}, {row.run.chips:,}" for row in some],
            name="in sample" if seen else "not seen", showlegend=i == 1, xaxis=f"x{axis}", yaxis=f"y{axis}",
        )  # fmt: skip
figure.update_layout(
    height=480, width=960,
    xaxis={"title": "measured [hours]", "range": [0, 35], "domain": [0, 0.44]},
    yaxis={"title": "predicted [hours]", "range": [0, 35], "scaleanchor": "x"},
    xaxis2={"title": "measured [minutes]", "range": [0, 65], "domain": [0.56, 1], "anchor": "y2"},
    yaxis2={"title": "predicted [minutes]", "range": [0, 65], "anchor": "x2", "scaleanchor": "x2"},
)  # fmt: skip
display(figure)

# %% [markdown]
# ## Why the misses
#
# Every source was looked at for what the prediction lacks.

# %%
for row in rows:
    if row.run.explains:
        print(f"{row.run.group}, {row.run.chips:,} chips ({math.expm1(row.error):+.0%}): {row.run.explains}\n")

# %% [markdown]
# ## Strong scaling on one machine: TPU v3, 16 to 1,024 chips
#
# Baseline: 16 chips. Batch and epochs differ from run to run (4,096 and 60.8 epochs to 32,768 and 72.8), so there are
# two curves: images per second, and the way to the target, which pays for the larger batch with more epochs.

# %%
pod = [row for row in rows if row.run.group == "TPU v3"]
chips = np.array([row.run.chips for row in pod])
linear = chips / chips[0]
rate = np.array([row.measured_rate_per_s for row in pod])
predicted_rate = np.array([row.predicted_rate_per_s for row in pod])
time_s = np.array([row.measured_s for row in pod])
predicted_s = np.array([row.predicted_s for row in pod])
curves = {
    "images/s, measured": rate / rate[0], "images/s, predicted": predicted_rate / predicted_rate[0],
    "time to 75.9 %, measured": time_s[0] / time_s, "time to 75.9 %, predicted": predicted_s[0] / predicted_s,
}  # fmt: skip
figure = go.Figure()
figure.add_scatter(x=linear, y=linear, name="linear", line={"color": "#7b8794", "dash": "dot"})
for name, speed_up in curves.items():
    style = {"color": "#1f4e79" if "images" in name else "#c05621", "dash": "solid" if "measured" in name else "dash"}
    figure.add_scatter(x=linear, y=speed_up, name=name, line=style)
    figure.add_scatter(
        x=chips, y=100 * speed_up / linear, name=name, line=style, xaxis="x2", yaxis="y2", showlegend=False
    )
figure.update_layout(
    height=440, width=960,
    xaxis={"title": "times 16 chips", "domain": [0, 0.45], "range": [0, 68]},
    yaxis={"title": "speed-up over 16 chips", "range": [0, 68], "scaleanchor": "x"},
    xaxis2={"title": "chips", "domain": [0.57, 1], "anchor": "y2", "rangemode": "tozero"},
    yaxis2={"title": "efficiency [%]", "anchor": "x2", "range": [0, 112]},
    legend={"orientation": "h", "y": -0.2},
)  # fmt: skip
display(figure)
for i, row in enumerate(pod):
    faster, sooner = rate[i] / rate[0], time_s[0] / time_s[i]
    print(
        f"{row.run.chips:5,} chips  {rate[i]:11,.0f} images/s, {faster:5.1f}x, {faster / linear[i]:4.0%}"
        f"  to the target {time_s[i]:6,.0f} s, {sooner:5.1f}x, {sooner / linear[i]:4.0%}"
    )

# %% [markdown]
# ## Which change bought what
#
# One change at a time, in this order, each priced by the simulator; the first and the last factor are what its
# predictions leave of the two measured times. The factors multiply to the whole exactly. Another order would give other
# factors: a larger batch is worth little on 128 chips and is what makes 1,024 of use.

# %%
changes = waterfall(rows)
names = ["prediction of the first record", *(c.name for c in changes.changes), "prediction of the last record"]
factors = [changes.start_factor, *(c.factor for c in changes.changes), changes.end_factor]
for name, factor in zip(names, factors, strict=True):
    print(f"{factor:6.2f}x  {name}")
print(f"{math.prod(factors):6.0f}x  all: {seconds(changes.first_s)} to {seconds(changes.last_s)}")

figure = go.Figure(
    go.Waterfall(
        orientation="h", y=[*names, "all"], x=[*(math.log2(f) for f in factors), 0],
        measure=[*("relative" for _ in factors), "total"],
        text=[*(f"{f:.2f}x" for f in factors), f"{changes.factor:.0f}x"], textposition="outside",
        increasing={"marker": {"color": "#1f4e79"}}, decreasing={"marker": {"color": "#c05621"}},
        totals={"marker": {"color": "#7b8794"}},
    )
)  # fmt: skip
figure.update_layout(
    height=520, width=1080, xaxis={"title": "doublings of speed, added up", "range": [-2.5, 11]},
    yaxis={"autorange": "reversed", "automargin": True}, showlegend=False,
)  # fmt: skip
display(figure)

# %% [markdown]
# ## Money
#
# Only one of the records says what it cost, and it says it twice.

# %%
fast = records.of("fastai-128")
list_usd = fast.run.list_usd_per_h * fast.run.time_s / 3600
print(
    f"fast.ai, 16 instances for {seconds(fast.run.time_s)}: list price USD {list_usd:.0f}, "
    f"spot about USD {fast.run.spot_usd:.0f}"
)

# %% [markdown]
# ## Answer

# %%
best = sorted(changes.changes, key=lambda c: -c.factor)[:3]
print(
    f"{changes.factor:.0f} times as fast; the largest steps, in that order of changes: "
    + "; ".join(f"{c.name} ({c.factor:.1f}x)" for c in best)
    + "."
)
results = {
    "median": median,
    "known_median": known_median,
    "factor": changes.factor,
    "product": math.prod(factors),
    "rows": len(rows),
    "efficiency": (rate / rate[0] / linear).tolist(),
    "list_usd": list_usd,
    "spot_usd": fast.run.spot_usd,
}
