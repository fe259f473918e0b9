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
    # Inverses and roots are read in every update and seldom written.
    seldom = 2 if rule.name in ("shampoo", "kfac") else 0
    assert rule.read_write_words_per_parameter >= 3 + 2 * rule.state_per_parameter - seldom
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


def test_newton_schulz_is_the_work_of_its_products() -> None:
    # X X^T of 3 x 7, its square, and their sum times X, five times over.
    assert optimizer("muon").matrix_flop(3, 7) == 5 * (2 * 3 * 7 * 3 + 2 * 3 * 3 * 3 + 2 * 3 * 3 * 7)


@pytest.mark.parametrize("name", optimizer_names())
def test_a_matrix_and_its_transpose_take_the_same_update(name: str) -> None:
    rule = optimizer(name)
    assert rule.matrix_flop(64, 256) == rule.matrix_flop(256, 64)
    assert (rule.matrix_flop(64, 256) > 0) == bool(rule.matrix_rule)
    assert rule.matrix_flop(128, 512) == pytest.approx(8 * rule.matrix_flop(64, 256))


def test_a_rule_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="Legal: newton_schulz, shampoo, kfac"):
        Optimizer(
            name="x",
            state_per_parameter=0,
            flop_per_parameter=1,
            read_write_words_per_parameter=3,
            source="none",
            matrix_rule="newton",
        )
