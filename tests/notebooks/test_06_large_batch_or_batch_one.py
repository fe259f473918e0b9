"""Notebook 06 runs from top to bottom, and its answers hold."""

import pytest


def test_large_batches_cost_samples_and_batch_one_needs_its_weights_beside_it(results_of):
    results = results_of("06_large_batch_or_batch_one")
    # Energy of single operations, nothing fitted, against the two machines' published figures.
    assert 0.85 < results["small_ratio"] < 1.0
    assert 1.0 < results["large_ratio"] < 1.15
    assert results["dram_batch"] == 80
    # Samples to the target: about twice as many epochs at the largest batch as at the smallest.
    assert results["epochs"][0] == pytest.approx(40.5, rel=0.1)
    assert 1.6 < results["epochs"][-1] / results["epochs"][0] < 2.5
    efficiency = results["efficiency"]
    assert efficiency == sorted(efficiency, reverse=True)
    assert 0.3 < efficiency[-1] < 0.6
    assert 0.05 < results["alone_share"] < 0.3
    # One stage for each convolution and the head; a sample meets its update 2 (p - 1) samples later at most.
    assert results["stages"] == 54
    assert results["late"] == 2 * 53
    assert results["idle_when_drained"] == pytest.approx(1 / 9, rel=0.01)
    assert results["wafer_rows"] == 0
    assert 0 < results["wafer_below_bound"] <= 0.7
    assert 1.1 < results["may_cost"] < 1.8
    assert results["figures"] == 3
