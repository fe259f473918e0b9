"""Notebook 01 runs from top to bottom, and its answers hold."""

import pytest


def test_resnet50_stops_scaling_where_the_notebook_says(results_of):
    results = results_of("01_how_many_v100s")
    efficiency = results["efficiency"]
    # Half of linear is lost between an eighth and all of what 8,192 images can be spread over.
    assert 256 <= results["last_chips"] <= 4096
    assert efficiency[0] == pytest.approx(1.0)
    assert efficiency == sorted(efficiency, reverse=True)
    assert efficiency[-1] < 0.5
    # The ring formula by hand against the simulator's, which adds latencies and the call.
    assert 1.0 <= results["hand_ratio"] < 1.5
    assert results["slower"] > 1.0
    assert results["compared"] >= 9
    assert results["worst_ratio"] < 1.5
    # Two users of the same servers differ threefold with nothing stated that tells them apart; the notebook says so.
    assert results["worst_user_ratio"] < 4.5
    assert results["figures"] == 3
