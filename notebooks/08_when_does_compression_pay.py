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
# # When does compression or sparsity pay?
#
# Sending a thousandth of the gradients makes the message short and costs a selection in every step; leaving out nine
# weights of ten makes the products few and their memory accesses scattered. From which network on, and down to which
# density, is either worth it?

# %%
from itertools import pairwise

import numpy as np
import plotly.graph_objects as go
from IPython.display import display

from hwmodels.catalog import chip
from simulator.calibration_data import load_constants
from simulator.collectives.compression import dgc, ratio
from simulator.kernel_calibration import load_kernels
from simulator.kernels.gemm import GemmShapes
from simulator.kernels.products import product_time
from simulator.kernels.settings import Setting, Settings
from simulator.kernels.sparse import BLOCK, CSR, SparseShapes, break_even_density, sparse_time
from simulator.outcome.convergence.ceilings import step_cost
from simulator.published_results import published, published_value
from simulator.query import PlanQuery
from simulator.questions.compression import compressed_steps, most_ranks, pays_below
from simulator.validation.machines import cluster_for
from simulator.wafer_training import train_on_wafer
from workloads import catalog

constants = load_constants()

# %% [markdown]
# ## Gradients: VGG16 and ResNet-50 on 8 to 64 RTX 2080 Ti
#
# Deep gradient compression's published figure: eight cards in a server, PCIe, one card of 25 Gbit/s for each server,
# PyTorch with Horovod; speed-up over one chip, weak scaling, read off bars to about 0.5 below 16 and 1 above. 32 images
# on each chip in fp32 are our assumption. The release of the software is not stated: two stacks of that year stand for
# it, and both are shown. The clock is a step; synthetic or real data is not stated.

# %%
servers = cluster_for(
    chip="rtx-2080-ti", chips_per_server=8, chips=64, inside="PCIe3", outside="25 Gb/s Ethernet", source=""
)  # fmt: skip
chips = (8, 16, 32, 64)
stacks = ("horovod-2020", "pytorch-examples-2020")
steps = {}
for name in ("vgg16", "resnet50"):
    for stack in stacks:
        question = PlanQuery(
            model=name, system="dgx1-v100", chips=8, global_batch=256, stack=stack, precision="fp32",
            fixed=(("recompute", "none"), ("sharding", "none")),
        )  # fmt: skip
        steps[name, stack] = compressed_steps(
            question, "dgc", chips=chips, batch_per_chip=32, cluster=servers, constants=constants
        )  # fmt: skip

# %%
labels = {"vgg16": "VGG16", "resnet50": "ResNet-50"}
ways = {"plain": ("plain, NCCL", "#7b8794"), "coded": ("dgc, OpenMPI", "#1f4e79")}
off = {}
figure = go.Figure()
figure.add_scatter(x=[0, 64], y=[0, 64], name="linear", line={"color": "#c8ced3", "dash": "dot"})
for name, side in (("vgg16", ""), ("resnet50", "2")):
    for way, (words, colour) in ways.items():
        stated = [published_value("compression", f"{labels[name]}, {words}", chips=n) for n in chips]
        figure.add_scatter(
            x=chips, y=stated, mode="markers", name=f"{words}, published", xaxis=f"x{side}", yaxis=f"y{side}",
            marker={"color": colour, "size": 10}, showlegend=not side,
        )  # fmt: skip
        for stack, dash in zip(stacks, ("solid", "dash"), strict=True):
            up = [getattr(step, f"{way}_speed_up") for step in steps[name, stack]]
            off[name, way, stack] = [u / s for u, s in zip(up, stated, strict=True)]
            figure.add_scatter(
                x=chips, y=up, name=f"{way}, predicted ({stack})", xaxis=f"x{side}", yaxis=f"y{side}",
                line={"color": colour, "dash": dash}, showlegend=not side,
            )  # fmt: skip
            print(f"{labels[name]:9} {way:5} {stack}")
            for n, u, p in zip(chips, up, stated, strict=True):
                print(f"    {n:2d} chips: {u:4.1f} ({u / n:3.0%}), published {p:4.1f} ({p / n:3.0%})")
figure.update_layout(
    xaxis={"title": "chips, VGG16", "domain": [0, 0.46], "range": [0, 66]},
    yaxis={"range": [0, 66], "title": "speed-up over one chip"},
    xaxis2={"title": "chips, ResNet-50", "domain": [0.54, 1], "range": [0, 66], "anchor": "y2"},
    yaxis2={"range": [0, 66], "anchor": "x2"}, legend={"orientation": "h", "y": -0.25},
)  # fmt: skip
display(figure)

# %% [markdown]
# Plain gradients come out between the two stacks or near them. Coded ones are predicted right on one and two servers
# and too fast on eight: something grows with the servers that neither the bytes (a thousandth) nor the selection is.
# Over OpenMPI, plain gradients took 1.8 times one chip on eight; part of what coding gained was another library's loss.
#
# ## What selecting costs, and what gathering does
#
# Passes over gradient and memory, and some 25 calls for each tensor that wait for how much was selected. Gathered codes
# are not added on the way: their volume grows with the ranks, a ring's sum does not.

# %%
for name in labels:
    workload = catalog.model(name)
    own = steps[name, stacks[0]][-1]
    print(
        f"{labels[name]:9} {workload.parameters / 1e6:5.0f} M parameters; selecting {1e3 * own.codec_s:4.0f} ms of a "
        f"step of {1e3 * own.coded_s:4.0f} ms on 64 chips; {float(ratio(dgc(), workload.parameters)):.0f} times fewer "
        f"bytes from each rank, as many as a ring's sum at {most_ranks('dgc', elements=workload.parameters):,.0f} ranks"
    )

# %% [markdown]
# ## By the network
#
# The same 64 chips with other cards in each server. And the rate at which both steps are as long.

# %%
rates_gbit = np.array([5, 10, 25, 50, 100])
by_rate = {}
for name in labels:
    question = PlanQuery(
        model=name, system="dgx1-v100", chips=8, global_batch=256, stack=stacks[1], precision="fp32",
        fixed=(("recompute", "none"), ("sharding", "none")),
    )  # fmt: skip
    for gbit in rates_gbit:
        network = cluster_for(
            chip="rtx-2080-ti", chips_per_server=8, chips=64, inside="PCIe3", outside=f"{gbit} Gb/s Ethernet", source=""
        )  # fmt: skip
        (by_rate[name, int(gbit)],) = compressed_steps(
            question, "dgc", chips=(64,), batch_per_chip=32, cluster=network, constants=constants
        )
question = PlanQuery(
    model="resnet50", system="dgx1-v100", chips=8, global_batch=256, stack=stacks[1], precision="fp32",
    fixed=(("recompute", "none"), ("sharding", "none")),
)  # fmt: skip
tie_gbit = 8e-9 * pays_below(question, "dgc", chips=64, batch_per_chip=32, cluster=servers, constants=constants)
figure = go.Figure()
for name, colour in (("vgg16", "#c0392b"), ("resnet50", "#1f4e79")):
    for way, dash in (("plain", "dot"), ("coded", "solid")):
        up = [getattr(by_rate[name, int(gbit)], f"{way}_speed_up") for gbit in rates_gbit]
        figure.add_scatter(
            x=rates_gbit,
            y=up,
            name=f"{labels[name]}, {way}",
            mode="lines+markers",
            line={"color": colour, "dash": dash},
        )
figure.update_layout(
    xaxis={"title": "network card of a server of eight [Gbit/s]", "rangemode": "tozero"},
    yaxis={"title": "speed-up over one chip on 64", "range": [0, 66]},
)
display(figure)
for (name, gbit), step in by_rate.items():
    print(
        f"{labels[name]:9} {gbit:3d} Gbit/s: plain {step.plain_speed_up:4.1f} ({step.plain_speed_up / 64:3.0%}), coded "
        f"{step.coded_speed_up:4.1f} ({step.coded_speed_up / 64:3.0%})"
    )
print(f"ResNet-50 on 64 chips: coding pays below {tie_gbit:.0f} Gbit/s a server")

# %% [markdown]
# ## What it costs in accuracy

# %%
for one in published("compression", quantity="top-1 accuracy"):
    print(f"{one.case}: {one.value:.1%} ({one.source})")
print(f"samples: {step_cost('deep_gradient_compression').words} times; {step_cost('deep_gradient_compression').why}")

# %% [markdown]
# ## Weights: sparse products by density
#
# cuSPARSE on a GTX 1080 Ti (DeepBench, 7,680 x 2,560, in which the speed-ups over dense of the published table fall
# from 6.56 at one column to 0.16 at 1,500), and dense blocks of 32 x 32 on a V100, for which there are **0 measured
# rows**.

# %%
calibration = load_kernels().constants
old, new = (
    Setting(chip=chip(name), precision=word, library="")
    for name, word in (("gtx-1080-ti", "fp32"), ("v100-sxm2-16gb", "fp16"))
)
cases = ((1.0, "1 column"), (2.0, "2 columns"), (1500.0, "1500 columns"))
columns = np.array([n for n, _ in cases])
shape = SparseShapes(
    form=np.full(3, CSR), m=np.full(3, 7680.0), n=columns, k=np.full(3, 2560.0), density=np.full(3, 0.05),
    side=np.ones(3), index_byte=np.full(3, 4.0), column_major=np.ones(3, dtype=bool),
)  # fmt: skip
dense_shape = GemmShapes(batch=np.ones(3), m=shape.m, n=shape.n, k=shape.k)
settings = Settings.all_of(old, 3)
values = calibration["sparse"].rows(settings)
dense_s = product_time(dense_shape, old, calibration).device_s
sparse_up = dense_s / sparse_time(shape, settings, values).device_s
tie_density = break_even_density(shape, settings, values, dense_s)
stated_up = [published_value("sparsity", f"cuSPARSE, 95 % zeros, {words}") for _, words in cases]
for (_, words), up, stated, tie in zip(cases, sparse_up, stated_up, tie_density, strict=True):
    print(
        f"compressed rows, {words:12} predicted {up:5.2f}x dense, published {stated:5.2f}; pays below {tie:.1%} dense"
    )

# %%
density = np.array([0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0])
figure = go.Figure()
blocks, block_ties = {}, {}
for n, colour in ((32.0, "#7b8794"), (256.0, "#5b8db8"), (4096.0, "#1f4e79")):
    count = len(density)
    shape = SparseShapes(
        form=np.full(count, BLOCK), m=np.full(count, 4096.0), n=np.full(count, n), k=np.full(count, 4096.0),
        density=density, side=np.full(count, 32.0), index_byte=np.full(count, 4.0),
        column_major=np.zeros(count, dtype=bool),
    )  # fmt: skip
    settings = Settings.all_of(new, count)
    values = calibration["sparse"].rows(settings)
    whole = GemmShapes(batch=np.ones(count), m=shape.m, n=shape.n, k=shape.k)
    whole_s = product_time(whole, new, calibration).device_s
    blocks[int(n)] = whole_s / sparse_time(shape, settings, values).device_s
    tie = block_ties[int(n)] = float(break_even_density(shape, settings, values, whole_s)[0])
    figure.add_scatter(
        x=density, y=blocks[int(n)], name=f"{n:.0f} columns: pays below {tie:.0%}", line={"color": colour}
    )
figure.add_scatter(x=density, y=1 / density, name="products left out cost nothing", line={"dash": "dot"})
figure.update_layout(
    xaxis={"title": "density, blocks of 32 x 32", "rangemode": "tozero"},
    yaxis={"title": "speed-up over dense (0 measured rows)", "range": [0, 20]},
)
display(figure)

# %% [markdown]
# With 32 columns our blocks beat our dense product even where nothing is left out: the two models, one measured and
# one not, disagree by a quarter there, and so much its curve is worth.
#
# A wafer skips single zeros (its maker's claim; 0 measured rows), so that there a pattern is no condition:

# %%
wafer = [train_on_wafer(catalog.model("vgg16"), chip("wse-2"), density=d).samples_per_s for d in (1.0, 0.5, 0.1)]
print(
    f"VGG16 on a WSE-2: {wafer[1] / wafer[0]:.1f} times the images/s at half the weights, "
    f"{wafer[2] / wafer[0]:.1f} at a tenth"
)
for one in published("sparsity", "recurrent"):
    print(f"{one.case}: {one.quantity} {one.value:.0%} ({one.source}); a larger sparse network made it up")
print(
    "sparse persistent RNN: over 6x published, not predicted: its weights stay in registers, which no model here does"
)

# %% [markdown]
# ## Answer

# %%
at_25 = {name: by_rate[name, 25] for name in labels}
print(
    f"Compressing pays where the exchange cannot be hidden: on 64 chips and 25 Gbit/s by "
    f"{at_25['vgg16'].coded_speed_up / at_25['vgg16'].plain_speed_up:.1f} times for VGG16 and "
    f"{at_25['resnet50'].coded_speed_up / at_25['resnet50'].plain_speed_up:.1f} for ResNet-50 (published 3.0 and 1.1), "
    f"and no more above {tie_gbit:.0f} Gbit/s for ResNet-50. Sparse weights in rows pay for a few columns only; in "
    f"blocks, by a model without measured rows, below a density of {min(block_ties.values()):.0%} in large products."
)
results = {
    "off": {" ".join(key): value for key, value in off.items()},
    "gain": {name: step.coded_speed_up / step.plain_speed_up for name, step in at_25.items()},
    "tie_gbit": tie_gbit,
    "most_ranks": most_ranks("dgc", elements=catalog.model("resnet50").parameters),
    "sparse_off": [float(up / stated) for up, stated in zip(sparse_up, stated_up, strict=True)],
    "tie_density": tie_density.tolist(),
    "blocks_fall": all(bool(a >= b) for up in blocks.values() for a, b in pairwise(up)),
    "block_ties": list(block_ties.values()),
    "wafer": [rate / wafer[0] for rate in wafer],
}

# %% [markdown]
# **What is not known.** What slows coded steps on more servers (the figure's own MPI, gathers of single tensors, late
# workers). The batch and the precision behind the figure. Any measured block-sparse product. What coding or pruning
# costs in accuracy elsewhere than in the cases quoted.
