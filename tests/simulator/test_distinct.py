"""Distinct rows are those that sorting whole rows finds."""

import numpy as np
import pytest

from simulator import distinct
from simulator.distinct import distinct_rows


@pytest.mark.parametrize("count", [0, 1, 7, 5000])
@pytest.mark.parametrize("odd", [distinct._ODD, 0])
def test_rows_and_their_kinds_are_those_of_sorting(count, odd, monkeypatch):
    # With the factor 0 all rows share a sum, so that they are sorted.
    monkeypatch.setattr(distinct, "_ODD", odd)
    table = np.random.default_rng(count).integers(-3, 3, (count, 4)) * np.array([1, 2**40, -(2**62), 5])
    first, kind = distinct_rows(tuple(table.T))
    assert len(first) == len(np.unique(table, axis=0))
    assert np.array_equal(table[first][kind], table)
    assert len(np.unique(kind)) == len(first)
