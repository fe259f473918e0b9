"""PrecisionRecipe: which rate word multiplies, what is stored how wide, what scaling and casting cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hwmodels.datafile import unknown_name

#: How narrow numbers are kept in range. "loss": one factor on the loss, gradients checked and unscaled before the
#: update (Micikevicius et al. 2018, arXiv:1710.03740). "delayed": a factor per tensor from the largest values of
#: earlier steps, found while casting; "current": from this step's, one more pass over the tensor; "block": a factor for
#: every few elements, stored with them (OCP Microscaling Formats, v1.0, 2023); "shared": one exponent per tensor,
#: predicted from earlier steps (Flexpoint, Köster et al. 2017, arXiv:1711.02213).
SCALINGS: Final = ("none", "loss", "delayed", "current", "block", "shared")


@dataclass(frozen=True, kw_only=True)
class PrecisionRecipe:
    """How numbers are multiplied and kept during training.

    Attributes
    ----------
    matmul
        Rate word of matrix products (fp64, fp32, tf32, fp16, bf16, fp8, fp4, int8, flex16); a chip may or may not have
        it.
    matmul_byte
        Bytes of one operand element as products read it, its share of a block's scale included. [B]
    storage_byte
        Bytes of a stored activation and of the parameter copy between products. [B]
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
    scaling
        One of `SCALINGS`.
    transposed_copy
        Whether casting writes a second, transposed copy for the backward products (units that only multiply one
        layout: fp8 on Hopper).
    """

    name: str
    matmul: str
    matmul_byte: float
    storage_byte: float
    gradient_byte: float
    master_byte: float
    state_byte: float
    accumulate: str = "fp32"
    vector: str = "fp32"
    scaling: str = "none"
    transposed_copy: bool = False

    def __post_init__(self) -> None:
        for name in ("matmul_byte", "storage_byte", "gradient_byte", "master_byte", "state_byte"):
            value = getattr(self, name)
            if not 0.0 <= value <= 16.0:
                raise ValueError(f"precision recipe '{self.name}': {name} is {value}; bytes per number, 0 to 16.")
        if self.scaling not in SCALINGS:
            raise ValueError(
                f"precision recipe '{self.name}': scaling is {self.scaling!r}; one of {', '.join(SCALINGS)}."
            )

    @property
    def cast_byte(self) -> float:
        """Memory traffic of casting one stored element to what products read [B]; 0 where they read it as stored.

        Read once (twice where the largest value must be known first), written once (twice with a transposed copy).
        Leaves out: casts that a library fuses into the op before, whose read is free.
        """
        if self.matmul_byte >= self.storage_byte:
            return 0.0
        reads = 2.0 if self.scaling == "current" else 1.0
        return reads * self.storage_byte + (2.0 if self.transposed_copy else 1.0) * self.matmul_byte

    @property
    def unscale_byte(self) -> float:
        """Traffic per parameter of checking and unscaling gradients before the update under loss scaling [B]."""
        return 2.0 * self.gradient_byte if self.scaling == "loss" else 0.0


def _recipe(
    name: str, matmul: str, *, storage: float, gradient: float, master: float, operand: float | None = None,
    accumulate: str = "fp32", scaling: str = "none", transposed_copy: bool = False, state: float = 4.0,
) -> PrecisionRecipe:  # fmt: skip
    return PrecisionRecipe(
        name=name, matmul=matmul, matmul_byte=storage if operand is None else operand, storage_byte=storage,
        gradient_byte=gradient, master_byte=master, state_byte=state, accumulate=accumulate, scaling=scaling,
        transposed_copy=transposed_copy,
    )  # fmt: skip


#: Mixed recipes keep 2 + 2 + 4 bytes a parameter besides the state (Micikevicius et al. 2018, arXiv:1710.03740;
#: Rajbhandari et al. 2020, arXiv:1910.02054, section 3.1). Many bf16 runs (Megatron-LM, nanotron) accumulate and
#: exchange gradients in fp32: "bf16_fp32_gradients", 2 + 4 + 4. In "fp8" only the products change (Micikevicius et
#: al. 2022, arXiv:2209.05433): parameters and activations are kept in bf16. "mxfp8" shares a scale of one byte between
#: 32 elements (OCP Microscaling Formats), "nvfp4" one between 16 (NVIDIA, NVFP4). "int8_mixed" multiplies integers
#: scaled by this step's largest values (SwitchBack, Wortsman et al. 2023, arXiv:2304.13013). "fp16_storage" keeps
#: half-precision numbers and computes in fp32, as libraries do on chips without fast fp16 (P40). "flex16" is
#: Flexpoint's 16-bit mantissa with one shared exponent; no chip of the catalogue multiplies it.
RECIPES: Final = {
    recipe.name: recipe
    for recipe in (
        _recipe("fp64", "fp64", storage=8.0, gradient=8.0, master=0.0, accumulate="fp64", state=8.0),
        _recipe("fp32", "fp32", storage=4.0, gradient=4.0, master=0.0),
        _recipe("tf32", "tf32", storage=4.0, gradient=4.0, master=0.0),
        _recipe("fp16_mixed", "fp16", storage=2.0, gradient=2.0, master=4.0, scaling="loss"),
        _recipe("fp16_storage", "fp32", storage=2.0, gradient=2.0, master=4.0, scaling="loss"),
        _recipe("bf16_mixed", "bf16", storage=2.0, gradient=2.0, master=4.0),
        _recipe("bf16_fp32_gradients", "bf16", storage=2.0, gradient=4.0, master=4.0),
        _recipe("fp8", "fp8", storage=2.0, gradient=2.0, master=4.0, operand=1.0, scaling="delayed",
                transposed_copy=True),
        _recipe("fp8_current", "fp8", storage=2.0, gradient=2.0, master=4.0, operand=1.0, scaling="current",
                transposed_copy=True),
        _recipe("mxfp8", "fp8", storage=2.0, gradient=2.0, master=4.0, operand=1.0 + 1.0 / 32.0, scaling="block",
                transposed_copy=True),
        _recipe("nvfp4", "fp4", storage=2.0, gradient=2.0, master=4.0, operand=0.5 + 1.0 / 16.0, scaling="block",
                transposed_copy=True),
        _recipe("int8_mixed", "int8", storage=2.0, gradient=2.0, master=4.0, operand=1.0, accumulate="int32",
                scaling="current"),
        _recipe("flex16", "flex16", storage=2.0, gradient=2.0, master=0.0, accumulate="int32", scaling="shared"),
    )
}  # fmt: skip

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
