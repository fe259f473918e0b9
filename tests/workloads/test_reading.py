"""Reading networks: published parameter counts, laws, and what is refused."""

from collections.abc import Callable

import pytest

from workloads import reading
from workloads.op import WorkloadError
from workloads.workload import Workload

each_network = pytest.mark.parametrize("network", reading.NETWORKS.values())


def test_bidaf_has_the_papers_2_6_million_parameters() -> None:
    # Seo et al. 2016, section 4.1; the fixed vectors of words are not counted.
    assert round(reading.bidaf().parameters / 1e6, 1) == 2.6


def test_drqas_table_is_counted_whole() -> None:
    assert reading.drqa(vocab=2000).parameters - reading.drqa(vocab=1000).parameters == 1000 * 300


@each_network
def test_parameters_do_not_depend_on_lengths_and_work_does(network: Callable[..., Workload]) -> None:
    short, long = network(seq_len=100), network(seq_len=200)
    assert short.parameters == long.parameters
    assert short.forward_flop < long.forward_flop


def test_only_bidaf_runs_its_cells_in_a_loop() -> None:
    def looped(workload: Workload) -> list[bool]:
        return [op.launches > op.seq_len for layer in workload.layers for op in layer.ops if op.kind == "recurrent"]

    assert all(looped(reading.bidaf()))
    assert not any(looped(reading.drqa()))
    assert looped(reading.fastfusionnet()) == []  # simple recurrent units multiply all steps at once


@pytest.mark.parametrize(("width", "parts"), [(250, 3), (600, 4)])
def test_simple_recurrent_units_need_a_fourth_product_where_widths_differ(width: int, parts: int) -> None:
    product, recurrence = reading.simple_recurrent("x", steps=10, width=width, hidden=125)
    assert product.parameters == width * 2 * 125 * parts
    assert recurrence.forward_flop == 0


@each_network
def test_impossible_lengths_are_refused(network: Callable[..., Workload]) -> None:
    with pytest.raises(WorkloadError, match="1 words of a paragraph and 25 of a question; at least 2"):
        network(seq_len=1)
