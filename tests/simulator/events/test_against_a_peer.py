"""A data-parallel job on a ring, beside the step times that ASTRA-sim 2.0 gives for it.

24 layers, forward 2,000 us and backward 4,000 us each; an all-reduce of 100,663,296 bytes for each layer once its
backward is done, in order, under what is left of the backward pass; then 1,000 us of optimizer. A ring of links of
50 GiB/s each way, 500 ns a hop.

Why the peer takes longer than we do, each cause a figure of its configuration file:

- it cuts every message into four chunks, sent one after the other, and pays a ring's latency for each:
  4 x 2 (n - 1) x 500 ns where one message pays 2 (n - 1) x 500 ns;
- it reads and writes what it reduces at 1,600 GB/s of local memory, on the critical path: three passes (read the sum,
  read what came, write) over (n - 1) / n of the message;
- every step of every chunk pays an end point's delay of 10 ns.

At 8 chips both exchanges are shorter than a backward (only the last shows: 0.1 %). At 64 the peer's is longer, so that
its 24 exchanges and not the compute set the pace (2 %); at 512 its four latencies of 0.5 ms are a third of each
exchange (27 % longer than ours). With the three terms put in, our engine gives its times to 0.1 %. None of them is
physics of this ring: a library pipelines chunks, and reduces while the next piece arrives.
"""

from __future__ import annotations

import pytest

from simulator.collectives.flat_ring import seconds
from simulator.composition import bound
from simulator.events import Contention, Grid, Surroundings, find_roles, simulate
from simulator.stepspec import PICOSECONDS_PER_SECOND, BlockSpec, StageSpec, StepSpec

LAYERS, MESSAGE_BYTE = 24, 100_663_296
LINK = {"latency_s": 500e-9, "byte_per_s": 50.0 * 2**30}
CHUNKS, MEMORY_BYTE_PER_S, END_POINT_S = 4, 1600e9, 10e-9
#: Step times of the peer [s], by chips.
PEER_S = {8: 0.148475, 64: 0.152206, 512: 0.197226}


def ticks(seconds: float) -> int:
    return round(seconds * PICOSECONDS_PER_SECOND)


def ring_s(chips: int) -> float:
    return float(seconds("all_reduce", ranks=chips, message_byte=MESSAGE_BYTE, **LINK))


def peer_ring_s(chips: int) -> float:
    """The ring with what the peer adds: latency a chunk, the end points' delay, and the sums' way through memory."""
    steps = CHUNKS * 2 * (chips - 1)
    latency_s = (steps - steps // CHUNKS) * LINK["latency_s"] + steps * END_POINT_S
    return ring_s(chips) + latency_s + 3 * (chips - 1) / chips * MESSAGE_BYTE / MEMORY_BYTE_PER_S


def the_job(exchange_s: float) -> StepSpec:
    layer = BlockSpec(
        name="layer", repeat=LAYERS, forward_ps=ticks(2e-3), backward_ps=ticks(4e-3), reduce_ps=ticks(exchange_s)
    )
    stage = StageSpec(name="all layers", chunks=((layer,),), optimizer_ps=ticks(1e-3))
    return StepSpec(stages=(stage,), micro_batches=1, gradient_mode="backward")


@pytest.mark.parametrize("chips", [8, 16, 32, 64, 128, 256, 512])
def test_the_step_is_compute_and_what_of_the_exchange_does_not_hide(chips: int) -> None:
    spec, exchange_s = the_job(ring_s(chips)), ring_s(chips)
    # The stream is busy from the first gradient on where an exchange is longer than a backward.
    exposed_s = exchange_s + (LAYERS - 1) * max(0.0, exchange_s - 4e-3)
    assert simulate(spec).total_s == pytest.approx(145e-3 + exposed_s, abs=1e-10)
    assert simulate(spec).total_ps == bound(spec).total_ps


@pytest.mark.parametrize("chips", PEER_S)
def test_with_the_peers_chunks_memory_and_end_points_the_step_is_the_peers(chips: int) -> None:
    assert simulate(the_job(peer_ring_s(chips))).total_s == pytest.approx(PEER_S[chips], rel=1e-3)


@pytest.mark.parametrize(("chips", "longer"), [(8, 1.001), (64, 1.023), (512, 1.272)])
def test_how_much_longer_than_ours_the_peers_step_is(chips: int, longer: float) -> None:
    assert PEER_S[chips] / simulate(the_job(ring_s(chips))).total_s == pytest.approx(longer, abs=1e-3)


@pytest.mark.parametrize("chips", [8, 64])
def test_every_chip_by_itself_takes_the_step_of_one_for_all(chips: int) -> None:
    spec = the_job(ring_s(chips))
    unfolded = Surroundings(roles=find_roles(Grid(stages=1, replicas=chips), unfold=True))
    assert simulate(spec, unfolded) == simulate(spec)


def test_an_exchange_that_fills_the_wires_of_each_chip_alone_slows_nothing() -> None:
    spec = the_job(ring_s(64))
    wires = Contention(demands={"reduce": {"cards_out": 1.0, "cards_in": 1.0}}, chips_per_server=1)
    assert simulate(spec, Surroundings(contention=wires)).total_ps == simulate(spec).total_ps
