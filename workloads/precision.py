"""PrecisionRecipe: which rate word multiplies, and what is stored how wide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hwmodels.datafile import unknown_name


@dataclass(frozen=True, kw_only=True)
class PrecisionRecipe:
    """How numbers are multiplied and kept during training.

    Attributes
    ----------
    matmul
        Rate word of matrix products (fp32, tf32, fp16, bf16, fp8); a chip may or may not have it.
    storage_byte
        Bytes of a stored activation and of the parameter copy that products read. [B]
    gradient_byte
        Bytes of a stored and exchanged parameter gradient. [B]
    master_byte
        Bytes of the optimizer's own copy of a parameter; 0 when the stored parameter is that copy. [B]
    state_byte
        Bytes of one word of optimizer state. [B]
    accumulate
        Word of the sums inside a product.
    vector
        Rate word of element-wise work.
    """

    name: str
    matmul: str
    storage_byte: float
    gradient_byte: float
    master_byte: float
    state_byte: float
    accumulate: str = "fp32"
    vector: str = "fp32"

    def __post_init__(self) -> None:
        for name in ("storage_byte", "gradient_byte", "master_byte", "state_byte"):
            value = getattr(self, name)
            if not 0.0 <= value <= 16.0:
                raise ValueError(f"precision recipe '{self.name}': {name} is {value}; bytes per number, 0 to 16.")


def _recipe(name: str, matmul: str, *, storage: float, gradient: float, master: float) -> PrecisionRecipe:
    return PrecisionRecipe(
        name=name,
        matmul=matmul,
        storage_byte=storage,
        gradient_byte=gradient,
        master_byte=master,
        state_byte=4.0,
    )


#: Mixed recipes keep 2 + 2 + 4 bytes a parameter besides the state (Micikevicius et al. 2018, arXiv:1710.03740;
#: Rajbhandari et al. 2020, arXiv:1910.02054, section 3.1). Many bf16 runs (Megatron-LM, nanotron) accumulate and
#: exchange gradients in fp32: "bf16_fp32_gradients", 2 + 4 + 4. In "fp8" only the products change (Micikevicius et
#: al. 2022, arXiv:2209.05433): parameters and activations are kept in bf16.
RECIPES: Final = {
    recipe.name: recipe
    for recipe in (
        _recipe("fp32", "fp32", storage=4.0, gradient=4.0, master=0.0),
        _recipe("tf32", "tf32", storage=4.0, gradient=4.0, master=0.0),
        _recipe("fp16_mixed", "fp16", storage=2.0, gradient=2.0, master=4.0),
        _recipe("bf16_mixed", "bf16", storage=2.0, gradient=2.0, master=4.0),
        _recipe("bf16_fp32_gradients", "bf16", storage=2.0, gradient=4.0, master=4.0),
        _recipe("fp8", "fp8", storage=2.0, gradient=2.0, master=4.0),
    )
}

ALIASES: Final = {"bf16": "bf16_mixed", "fp16": "fp16_mixed", "amp": "fp16_mixed", "mixed": "fp16_mixed"}


def recipe(name: str) -> PrecisionRecipe:
    """The recipe of that name or alias, any case.

    Raises
    ------
    LookupError
        For an unknown name, with the nearest one.
    """
    word = name.strip().lower().replace("-", "_")
    word = ALIASES.get(word, word)
    if word not in RECIPES:
        raise LookupError(unknown_name("precision recipe", name, (*RECIPES, *ALIASES)))
    return RECIPES[word]


def recipe_names() -> tuple[str, ...]:
    """Names of all recipes."""
    return tuple(RECIPES)
