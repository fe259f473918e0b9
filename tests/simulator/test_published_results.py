"""Statements of papers: whole, each with a source, and found by what they are of."""

import pytest

from simulator.outcome import OutcomeError
from simulator.published_results import PROVENANCES, published, published_value

TOPICS = ("backups", "batch one", "compression", "groups", "servers", "sparsity")


@pytest.mark.parametrize("topic", TOPICS)
def test_every_statement_has_a_source_and_says_how_it_was_read(topic):
    found = published(topic)
    for one in found:
        assert one.provenance in PROVENANCES
        assert one.source
        assert one.chips >= 1
        assert one.value > 0
    keys = [(one.case, one.chips, one.quantity) for one in found]
    assert len(keys) == len(set(keys))


def test_speed_ups_are_below_linear_and_shares_below_one():
    for one in published("compression", quantity="speed-up over one chip"):
        assert 1 < one.value < one.chips
    for topic in ("backups", "servers"):
        assert all(
            one.value < 1 for one in published(topic) if one.quantity in ("share of steps within 2 s", "efficiency")
        )


def test_one_value_is_found_by_its_case_and_its_chips():
    assert published_value("compression", "VGG16, dgc", chips=64) == 41.3
    with pytest.raises(OutcomeError, match="4 values of compression"):
        published_value("compression", "VGG16, dgc")


def test_what_is_not_there_is_refused_with_what_is():
    with pytest.raises(OutcomeError, match=r"no topic 'sparsety'; legal: backups.*Did you mean 'sparsity'"):
        published("sparsety")
    with pytest.raises(OutcomeError, match=r"nothing on groups of 'gpt' '' ?.*; legal: climate-cnn"):
        published("groups", "gpt")
