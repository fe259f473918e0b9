"""Notebook 03 runs from top to bottom, and its answers hold."""

import pytest


def test_the_records_and_the_changes_are_what_the_notebook_says(results_of):
    results = results_of("03_how_hours_became_minutes")
    assert results["rows"] == 21
    assert 0.05 < results["known_median"] <= 0.18
    assert 0.05 < results["median"] <= 0.20
    assert results["product"] == pytest.approx(results["factor"]) == pytest.approx(37800 / 76.95)
    assert results["efficiency"][0] == 1.0
    assert 0.55 < results["efficiency"][-1] < 0.7
    # The list price is what an hour costs times the hour's share; spot stands apart.
    assert results["list_usd"] == pytest.approx(118, abs=1)
    assert results["spot_usd"] == 40
    assert results["figures"] == 3
