"""Optimizers: what an update costs per parameter."""

import pytest

from workloads.optimizer import Optimizer, optimizer, optimizer_names


@pytest.mark.parametrize(
    ("name", "state"), [("sgd", 0), ("momentum", 1), ("lars", 1), ("adam", 2), ("adamw", 2), ("lamb", 2)]
)
def test_state_words_follow_the_update_rule(name: str, state: int) -> None:
    assert optimizer(name).state_per_parameter == state


@pytest.mark.parametrize("name", optimizer_names())
def test_every_rule_reads_parameter_gradient_and_state_and_writes_back_all_but_the_gradient(name: str) -> None:
    rule = optimizer(name)
    assert rule.read_write_words_per_parameter >= 3 + 2 * rule.state_per_parameter
    assert rule.flop_per_parameter >= 2
    assert rule.source


def test_layer_wise_rules_pass_over_memory_twice() -> None:
    assert optimizer("lars").read_write_words_per_parameter > optimizer("momentum").read_write_words_per_parameter
    assert optimizer("lamb").read_write_words_per_parameter > optimizer("adam").read_write_words_per_parameter


def test_names_are_found_in_any_case_and_by_alias() -> None:
    assert optimizer("AdamW") is optimizer("adamw")
    assert optimizer("SGD momentum") is optimizer("momentum")


def test_an_unknown_optimizer_is_refused_with_the_nearest() -> None:
    with pytest.raises(LookupError, match="Did you mean 'adam"):
        optimizer("adamm")


def test_negative_costs_are_refused() -> None:
    with pytest.raises(ValueError, match="flop_per_parameter is -1"):
        Optimizer(
            name="x", state_per_parameter=0, flop_per_parameter=-1, read_write_words_per_parameter=3, source="none"
        )
