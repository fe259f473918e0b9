"""When compressing gradients pays: against the exchange's own bytes, and the crossing that bisection finds."""

import math
from dataclasses import replace

import numpy as np
import pytest

from simulator.cluster import system
from simulator.collectives import compression as codes
from simulator.outcome.failures import RunError
from simulator.parallelism import COMPRESSIONS
from simulator.query import PlanQuery
from simulator.questions.compression import SCHEMES, codec_s, compressed_steps, matrices, most_ranks, pays_below
from workloads import catalog

QUERY = PlanQuery(
    model="alexnet", system="p3.16xlarge", chips=8, global_batch=256, stack="horovod-2020", precision="fp32",
    fixed=(("recompute", "none"), ("sharding", "none")),
)  # fmt: skip
CLUSTER = system("p3.16xlarge").cluster
SLOW = replace(CLUSTER, out_byte_per_s=CLUSTER.out_byte_per_s / 20)


def test_every_scheme_is_a_word_of_a_strategy_and_travels_a_way_it_may():
    assert set(SCHEMES) == set(COMPRESSIONS) - {"none", "fp16"}
    for scheme, way in SCHEMES.values():
        assert codes.check_way(scheme, way) == way


def test_gathered_codes_and_a_ring_of_plain_gradients_carry_as_many_bytes_at_the_most_ranks():
    elements = 25_000_000
    ranks = most_ranks("dgc", elements=elements)
    assert ranks == pytest.approx(1000, rel=1e-3)  # one in a thousand is kept, a place as long as a value
    for near, more in ((0.9, True), (1.1, False)):
        n = round(ranks * near)
        plain = 2 * (n - 1) * 4 * elements / n
        assert (codes.wire_byte(codes.dgc(), "all_gather", ranks=n, elements=elements) < plain) is np.bool_(more)
    assert most_ranks("qsgd4", elements=elements) == math.inf


def test_coding_helps_on_a_slow_network_and_not_on_one_server():
    slow = compressed_steps(QUERY, "dgc", chips=(8, 32), batch_per_chip=32, cluster=SLOW)
    assert slow[0].coded_s > slow[0].plain_s
    assert slow[1].coded_speed_up > 2 * slow[1].plain_speed_up
    for step in slow:
        assert 0 < step.codec_s < step.coded_s
        assert step.plain_speed_up <= step.chips


def test_the_rate_below_which_coding_pays_is_where_the_two_steps_are_as_long():
    query = replace(QUERY, model="resnet50")
    rate = pays_below(query, "dgc", chips=32, batch_per_chip=32)
    assert 0 < rate < math.inf
    (tied,) = compressed_steps(
        query, "dgc", chips=(32,), batch_per_chip=32, cluster=replace(CLUSTER, out_byte_per_s=rate)
    )
    assert tied.coded_s == pytest.approx(tied.plain_s, rel=0.02)


def test_coding_costs_more_calls_where_there_are_more_tensors_and_nothing_on_one_chip():
    cost = {
        name: codec_s(catalog.model(name), "dgc", chips=16, cluster=CLUSTER, host_s_per_launch=4e-5)
        for name in ("vgg16", "resnet50")
    }
    assert matrices(catalog.model("vgg16")) == 16
    assert matrices(catalog.model("resnet50")) == 54
    # A fifth of the parameters, more than three times the tensors.
    assert cost["resnet50"] > cost["vgg16"]
    assert codec_s(catalog.model("vgg16"), "dgc", chips=1, cluster=CLUSTER, host_s_per_launch=4e-5) == 0.0


def test_an_unknown_scheme_and_samples_that_do_not_fit_are_refused_in_one_line():
    with pytest.raises(RunError, match="'dcg'; legal: one_bit"):
        pays_below(QUERY, "dcg", chips=16, batch_per_chip=32)
    with pytest.raises(RunError, match=r"does not fit on .*; take fewer samples"):
        compressed_steps(QUERY, "dgc", chips=(16,), batch_per_chip=100_000)
