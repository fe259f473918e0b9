"""Precision recipes: bytes per number, what scaling and casting cost."""

from dataclasses import replace

import pytest

from hwmodels.chip import PRECISIONS
from workloads.optimizer import optimizer
from workloads.precision import SCALINGS, PrecisionRecipe, recipe, recipe_names

each = pytest.mark.parametrize("name", recipe_names())


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


@each
def test_every_recipe_keeps_one_wide_copy_of_the_parameters_but_flexpoint(name: str) -> None:
    numbers = recipe(name)
    wide = max(numbers.master_byte, numbers.storage_byte)
    # Flexpoint keeps parameters in its own 16 bits, the point of arXiv:1711.02213.
    assert wide == {"fp64": 8.0, "flex16": 2.0}.get(name, 4.0)
    assert (numbers.master_byte == 0.0) == (numbers.storage_byte == wide)


@each
def test_every_recipe_multiplies_in_a_word_that_chips_use(name: str) -> None:
    assert recipe(name).matmul in PRECISIONS
    assert recipe(name).scaling in SCALINGS


@each
def test_only_what_is_narrower_than_it_is_kept_is_cast(name: str) -> None:
    numbers = recipe(name)
    assert (numbers.cast_byte > 0) == (numbers.matmul_byte < numbers.storage_byte)
    assert (numbers.unscale_byte > 0) == (name in ("fp16_mixed", "fp16_storage"))


def test_block_scales_are_carried_in_the_operands() -> None:
    assert recipe("mxfp8").matmul_byte == 33 / 32  # one byte for 32 elements
    assert recipe("nvfp4").matmul_byte == 9 / 16  # half a byte, and one byte for 16 elements


def test_a_scale_of_this_step_costs_one_more_read_than_a_delayed_one() -> None:
    delayed, current = recipe("fp8"), recipe("fp8_current")
    assert current.cast_byte - delayed.cast_byte == delayed.storage_byte
    assert delayed.cast_byte == 2 + 1 + 1  # read 16 bit, write 8 bit in both layouts
    assert replace(delayed, transposed_copy=False).cast_byte == 3


def test_short_names_are_the_mixed_recipes() -> None:
    assert recipe("bf16") is recipe("bf16_mixed")
    assert recipe("FP16") is recipe("fp16-mixed")


def test_an_unknown_recipe_is_refused_with_the_nearest() -> None:
    with pytest.raises(LookupError, match=r"no precision recipe 'bf17' in the catalogue. Did you mean 'bf16'"):
        recipe("bf17")


@pytest.mark.parametrize(
    ("change", "message"), [({"storage_byte": -2.0}, "storage_byte is -2"), ({"scaling": "lost"}, "one of none, loss")]
)
def test_impossible_recipes_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(recipe("fp16"), **change)


def test_a_recipe_can_be_made_by_hand() -> None:
    made = PrecisionRecipe(
        name="x", matmul="fp32", matmul_byte=4, storage_byte=4, gradient_byte=4, master_byte=0, state_byte=4
    )
    assert made.cast_byte == 0
