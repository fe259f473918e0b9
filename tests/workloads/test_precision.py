"""Precision recipes: bytes per number."""

import pytest

from workloads.optimizer import optimizer
from workloads.precision import PrecisionRecipe, recipe, recipe_names


def byte_per_parameter(name: str) -> float:
    numbers = recipe(name)
    state = optimizer("adam").state_per_parameter * numbers.state_byte
    return numbers.storage_byte + numbers.gradient_byte + numbers.master_byte + state


@pytest.mark.parametrize(
    ("name", "byte"), [("fp32", 16), ("tf32", 16), ("fp16_mixed", 16), ("bf16_mixed", 16), ("bf16_fp32_gradients", 18)]
)
def test_adam_holds_sixteen_bytes_a_parameter_eighteen_with_fp32_gradients(name: str, byte: float) -> None:
    # Rajbhandari et al. 2020 (ZeRO), section 3.1; Megatron-LM's distributed optimizer table.
    assert byte_per_parameter(name) == byte


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_keeps_one_fp32_copy_of_the_parameters(name: str) -> None:
    numbers = recipe(name)
    assert max(numbers.master_byte, numbers.storage_byte) == 4.0
    assert (numbers.master_byte == 0.0) == (numbers.storage_byte == 4.0)


def test_short_names_are_the_mixed_recipes() -> None:
    assert recipe("bf16") is recipe("bf16_mixed")
    assert recipe("FP16") is recipe("fp16-mixed")


def test_an_unknown_recipe_is_refused_with_the_nearest() -> None:
    with pytest.raises(LookupError, match=r"no precision recipe 'bf17' in the catalogue. Did you mean 'bf16'"):
        recipe("bf17")


def test_impossible_widths_are_refused() -> None:
    with pytest.raises(ValueError, match="storage_byte is -2"):
        PrecisionRecipe(name="x", matmul="fp32", storage_byte=-2, gradient_byte=4, master_byte=0, state_byte=4)
