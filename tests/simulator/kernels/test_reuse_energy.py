"""Energy of a product by where its weights lie and how often they are used."""

import numpy as np
import pytest

from simulator.kernels.reuse_energy import STORES, WORD_PJ, ReuseError, flop_per_joule, samples_to_match


@pytest.mark.parametrize("store", STORES)
def test_more_samples_for_a_fetch_never_cost_more_and_end_at_the_arithmetic(store):
    rates = flop_per_joule(store, samples=np.array([1.0, 2.0, 10.0, 1e3, 1e12]))
    assert np.all(np.diff(rates) > 0)
    arithmetic_pj = WORD_PJ["add"] + WORD_PJ["multiply"] + 3 * WORD_PJ["register"]
    assert rates[-1] == pytest.approx(2e12 / arithmetic_pj, rel=1e-6)


def test_batch_one_from_sram_is_as_efficient_as_a_batch_of_the_ratio_of_the_accesses_from_dram():
    for near in ("sram 4k", "sram 32k"):
        batch = samples_to_match("dram", near)
        assert batch == WORD_PJ["dram"] / WORD_PJ[near]
        assert flop_per_joule("dram", samples=batch) == pytest.approx(float(flop_per_joule(near, samples=1)))
    assert samples_to_match("sram 4k", "dram") == 1.0


def test_batch_one_from_sram_comes_near_what_caterpillar_states():
    """arXiv:1706.00517, abstract: 177 and 211 GFLOPS/W at 45 nm, weights in local SRAM."""
    low, high = (float(flop_per_joule(store, samples=1)) / 1e9 for store in ("sram 32k", "sram 4k"))
    assert low == pytest.approx(177, rel=0.1)
    assert high == pytest.approx(211, rel=0.1)
    # The same from DRAM is what no machine could afford.
    assert float(flop_per_joule("dram", samples=1)) / 1e9 < 177 / 50


def test_a_place_or_a_reuse_that_cannot_be_is_refused():
    with pytest.raises(ReuseError, match="store is 'flash'; legal: sram 4k"):
        flop_per_joule("flash", samples=1)
    with pytest.raises(ReuseError, match="each 1 or more"):
        flop_per_joule("dram", samples=0.5)
