"""Ports of parameter servers: bytes counted host by host, laws of the closed form, measured runs beside it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from simulator.collectives.parameter_server import asynchronous_updates_per_s, shards_byte
from simulator.modes.servers import asynchronous_period_s, port_times
from workloads.catalog import model


def busiest_byte(hosts: int, each: int, servers: int, push: float, pull: float) -> float:
    """Naive: every worker's every message on every host's card, in or out; the most of any card either way."""
    taken, given_out = np.zeros(hosts), np.zeros(hosts)
    for worker in range(hosts * each):
        home = worker // each
        for server in range(servers):
            if server == home:
                continue
            given_out[home] += push / servers
            taken[server] += push / servers
            given_out[server] += pull / servers
            taken[home] += pull / servers
    return float(max(taken.max(), given_out.max()))


@given(
    hosts=st.integers(1, 9), each=st.integers(1, 6), place=st.integers(0, 8), push=st.floats(0.0, 9.0),
    pull=st.floats(0.1, 9.0),
)  # fmt: skip
@settings(deadline=None)
def test_the_ports_hold_what_the_busiest_card_carries(
    hosts: int, each: int, place: int, push: float, pull: float
) -> None:
    servers, workers = 1 + place % hosts, hosts * each
    times = port_times(
        workers=workers, push_byte=push, pull_byte=pull, servers=servers, workers_per_host=each, host_byte_per_s=2.0,
        latency_s=0.0,
    )  # fmt: skip
    held = workers * max(float(times.push_port_s), float(times.pull_port_s))
    assert held == pytest.approx(busiest_byte(hosts, each, servers, push, pull) / 2.0, abs=1e-9)
    assert times.push_s >= times.push_port_s
    assert times.pull_s >= times.pull_port_s


def test_servers_on_hosts_of_their_own_reach_the_bound_of_operational_analysis() -> None:
    workers, servers = np.array([1, 4, 16, 64, 256]), 4
    times = port_times(
        workers=workers, push_byte=1e8, pull_byte=1e8, servers=servers, workers_per_host=1, host_byte_per_s=1e9,
        latency_s=1e-4, colocated=False,
    )  # fmt: skip
    rate = workers / asynchronous_period_s(workers=workers, compute_s=0.5, times=times)
    bound = asynchronous_updates_per_s(
        ranks=workers, message_byte=1e8, compute_s=0.5, latency_s=1e-4, byte_per_s=1e9, servers=servers
    )
    assert rate == pytest.approx(bound)


def test_more_workers_never_make_fewer_updates_and_more_servers_never_make_them_slower() -> None:
    def rate(workers: int, servers: int) -> float:
        times = port_times(
            workers=workers, push_byte=1e8, pull_byte=1e8, servers=servers, workers_per_host=4, host_byte_per_s=1e9,
            latency_s=1e-4, update_s=0.01 / servers,
        )  # fmt: skip
        return workers / float(asynchronous_period_s(workers=workers, compute_s=0.5, times=times))

    by_workers = [rate(4 * hosts, 2) for hosts in range(2, 40)]
    assert np.all(np.diff(by_workers) >= -1e-9 * np.array(by_workers[1:]))
    by_servers = [rate(64, servers) for servers in range(1, 17)]
    assert np.all(np.diff(by_servers) >= -1e-9)


def test_one_host_sends_nothing_over_the_network() -> None:
    times = port_times(
        workers=8, push_byte=1e8, pull_byte=1e8, servers=1, workers_per_host=8, host_byte_per_s=1e9, latency_s=0.0
    )
    assert times.push_s == times.pull_s == times.push_port_s == 0.0


def test_independent_draws_agree_with_the_arrivals_of_gradients_that_were_reported() -> None:
    # Chen et al. 2016, 100 workers: within 2 s the last gradient came in 30 % of steps, the 98th in more than 80 %.
    within = 0.30 ** (1.0 / 100.0)
    of_98th = float(stats.binom.cdf(2, 100, 1.0 - within))
    assert of_98th == pytest.approx(0.88, abs=0.005)
    assert of_98th > 0.80


def test_the_largest_variable_explains_how_tensorflow_scaled_on_cori() -> None:
    # arXiv 1712.09388, ResNet-50: 23 % efficiency on 512 workers and 64 servers, more than 80 % on 128 and 32. One rate
    # fitted on the first; variables whole on their servers, so that the largest one's server decides.
    workload = model("resnet50")
    layers = ((layer, layer.repeat) for layer in workload.layers)
    sizes = [4 * int(op.parameters) for layer, count in layers for _ in range(count) for op in layer.ops]
    found = {}
    for sharding in ("even", "greedy"):
        few, many = (shards_byte(sizes, servers=servers, sharding=sharding).max() for servers in (32, 64))
        shrinks = 128 * few / (512 * many)
        alone, hidden = 1.0 / 0.23 - 1.0, 1.0 / 0.23  # exchange over compute: after it, or wholly beside it
        found[sharding] = 1.0 / (1.0 + alone * shrinks), min(1.0, 1.0 / (hidden * shrinks))
    # Cut evenly the second run would be at 37 to 46 %: what was measured cannot be had from the count of servers alone.
    assert found["even"] == pytest.approx((0.374, 0.460), abs=0.001)
    assert found["greedy"] == pytest.approx((0.544, 0.920), abs=0.001)
    assert found["greedy"][0] < 0.80 < found["greedy"][1]
