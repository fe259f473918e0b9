"""Notebook 04 runs from top to bottom, and its answers hold."""


def test_servers_that_prepare_for_others_are_as_fast_as_their_cores(results_of):
    results = results_of("04_a_program_of_your_own")
    rates, hand = results["rates"], results["hand"]
    assert rates == sorted(rates)
    # One server: the cores bind, and nothing but the first batch and the last step is lost.
    assert 0.9 < rates[0] / hand[0] <= 1.0
    assert rates[-1] < min(hand[-1], results["ceiling"])
    # With all eight preparing for themselves gradients alone cross the cards.
    assert results["sent_share"] < 1.0
    assert results["figures"] == 1
