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
# # What if a few servers prepare the images for all the others?
#
# Eight DGX A100 train ResNet-50, and the images lie on the disks of a few of them. Those decode for all and send
# batches out over their network cards, on which gradients travel as well. How many must do this? No table of strategies
# has the case, so we write it as a program: a SimPy process is a function that yields the events it waits for.

# %%
import plotly.graph_objects as go
from IPython.display import display
from simpy import Store

from simulator.cluster import system
from simulator.hosts import host_of
from simulator.outcome.input import IMAGE_CORE_S, IMAGENET_BYTE
from simulator.world import World

cluster = system("selene").cluster
host = host_of(cluster, disk_read_byte_per_s=8e9)
servers, steps = 8, 10
batch = 8 * 256  # images that one server trains on in a step
step_s = 0.11  # of one chip, 256 images
stored_byte = batch * IMAGENET_BYTE / 1_281_167
prepared_byte = batch * 224 * 224 * 3 * 1.0  # whole numbers of 8 bits; the chip makes them real
gradient_byte = 25.6e6 * 2

# %% [markdown]
# ## Three processes
#
# `world.site` has what belongs to a server: `read`, `prepare`, `feed`, `snapshot`, `write`. `world.send` moves bytes
# from rank to rank, `world.group` runs collectives at the price the planner pays, `world.compute` takes a chip. All
# that meet on a wire, a disk or a processor share it. `Store`, timeouts and the rest come from SimPy.
#
# A preparing server works on batches in turn, for its own share of the servers, and reads while it decodes; a batch
# travels as soon as it is ready. At most two wait for each server.

# %%


def prepare(world, reader, readers, ready):
    for _ in range(steps):
        for server in range(reader, servers, readers):
            read = world.site.read(reader, stored_byte)
            yield read & world.site.prepare(reader, batch * IMAGE_CORE_S)
            yield ready[server].put(world.env.process(deliver(world, reader, server)))


def deliver(world, reader, server):
    chips = world.cluster.chips_per_server
    pieces = [world.send(reader * chips + i, server * chips + i, prepared_byte / chips) for i in range(chips)]
    yield world.env.all_of(pieces)


def train(world, server, ready, everyone):
    first = server * world.cluster.chips_per_server
    ranks = range(first, first + world.cluster.chips_per_server)
    for _ in range(steps):
        batch_on_its_way = yield ready[server].get()
        yield batch_on_its_way
        yield world.site.feed(server, prepared_byte)
        yield world.env.all_of([world.compute(step_s, rank) for rank in ranks])
        yield world.env.all_of([everyone.all_reduce(gradient_byte) for _ in ranks])


# %%
rates = {}
for readers in (1, 2, 4, 8):
    world = World.of(cluster, servers=servers, host=host)
    everyone = world.group(range(world.chips))
    ready = [Store(world.env, capacity=2) for _ in range(servers)]
    seconds = world.run(
        *(prepare(world, reader, readers, ready) for reader in range(readers)),
        *(train(world, server, ready, everyone) for server in range(servers)),
    )
    rates[readers] = steps * servers * batch / seconds
    sent = sum(card.served for card in world.site.cards_out)
    print(f"{readers} of {servers} servers prepare: {rates[readers]:,.0f} images/s, {sent / 1e9:.0f} GB over the cards")

# %% [markdown]
# ## Is it right?
#
# By hand: the cores of r servers prepare r x cores / (seconds a core needs for an image), whoever waits; nothing can be
# faster. And a step takes its compute at least.

# %%
hand = {r: r * world.site.host.cores / IMAGE_CORE_S for r in rates}
ceiling = servers * batch / step_s
assert all(rate <= min(hand[r], ceiling) for r, rate in rates.items())
figure = go.Figure()
figure.add_scatter(x=list(rates), y=list(rates.values()), name="the program", mode="lines+markers")
figure.add_scatter(x=list(rates), y=[min(h, ceiling) for h in hand.values()], name="by hand", mode="lines")
figure.update_layout(xaxis={"title": "servers that prepare"}, yaxis={"title": "images/s", "rangemode": "tozero"})
display(figure)

# %% [markdown]
# Cores bind as long as few prepare; the cards do not, an image is small beside its decoding. What is missing at the end
# are the gradients, the copies to the chips and the first batches, for which everybody waits.

# %%
results = {
    "rates": list(rates.values()),
    "hand": list(hand.values()),
    "ceiling": ceiling,
    "sent_share": sent / (steps * servers * prepared_byte),
}
