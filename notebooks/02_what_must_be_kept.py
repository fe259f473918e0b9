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
# # What must be kept, and what does it cost to keep less?
#
# The backward pass needs what the forward pass computed. It can be kept, or computed again. A workshop of 2017 put it
# in one line: 25 % more compute saves 80 % of the memory. Is that so, and how deep must a network be?

# %%
import numpy as np
import plotly.graph_objects as go
from IPython.display import display

from simulator.recomputation import chain_of, frontier
from workloads import catalog

# %% [markdown]
# ## The best that can be done
#
# A network is a chain of layers, each with its work and with what it keeps. `frontier` finds, for every amount of
# memory, the least that must be computed again: a search over all ways to keep, drop and replay. Without a replay every
# tensor that an op writes is kept, as the frameworks of 2017 did.

# %%
figure = go.Figure()
for name in ("resnet50", "resnet101", "resnet152"):
    curve = frontier(chain_of(catalog.model(name), batch=16, keeps="written"))
    saved = 1.0 - (curve.limit_byte + curve.fixed_byte) / (curve.all_byte + curve.fixed_byte)
    order = np.argsort(curve.extra_share)
    figure.add_scatter(x=curve.extra_share[order], y=saved[order], name=name, mode="lines")
    print(f"{name}: 25 % more compute saves {curve.saved_share(0.25):.1%} of the activations")
figure.update_layout(
    xaxis={"title": "more compute", "tickformat": ".0%", "range": [0, 1]},
    yaxis={"title": "activations saved", "tickformat": ".0%"},
)
display(figure)

# %% [markdown]
# It is so, for residual networks and their activations. The first replays are the cheap ones: element-wise work that
# writes much and computes little. Full recomputation, one more forward pass, costs a third more and is not the best use
# of it.
#
# ## Deeper networks
#
# A chain of like layers with one kept input every sqrt(n) needs memory that grows with the square root of its depth.

# %%
depths = (4, 9, 16, 25, 36)
shares = []
for depth in depths:
    gpt = catalog.model(f"gpt h1024 L{depth} a16", seq_len=1024)
    curve = frontier(chain_of(gpt, batch=1))
    shares.append(1.0 - curve.saved_share(1.0 / 3.0))
    print(f"{depth} blocks: one more forward pass leaves {shares[-1]:.1%} of the activations")
assert np.all(np.diff(shares) < 0), "deeper networks save a larger share"
