"""Optimizer: state, arithmetic and memory traffic per parameter of one update."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from hwmodels.datafile import unknown_name

#: Updates between two of the costly decompositions of Shampoo and K-FAC.
DECOMPOSED_EVERY: Final = 100


def newton_schulz_flop(short: float, long: float) -> float:
    """Muon: five steps X <- a X + (b A + c A A) X with A = X X^T: 5 (4 long short^2 + 2 short^3) [FLOP]."""
    return 5.0 * (4.0 * long * short**2 + 2.0 * short**3)


def shampoo_flop(short: float, long: float) -> float:
    """Shampoo: both statistics and both products, 4 (long short^2 + short long^2); roots by decomposition, 25 n^3 each.

    The roots are renewed every `DECOMPOSED_EVERY` updates. [FLOP]
    """
    return 4.0 * (long * short**2 + short * long**2) + 25.0 * (short**3 + long**3) / DECOMPOSED_EVERY


def kfac_flop(short: float, long: float) -> float:
    """K-FAC: the gradient times both inverse factors, 2 (long short^2 + short long^2), and inverting them, 2 n^3 each.

    Inverses are renewed every `DECOMPOSED_EVERY` updates. Leaves out: the factors themselves, products over the batch,
    which cost as much as the gradients where they are made in every step. [FLOP]
    """
    return 2.0 * (long * short**2 + short * long**2) + 2.0 * (short**3 + long**3) / DECOMPOSED_EVERY


MATRIX_RULES: Final[Mapping[str, Callable[[float, float], float]]] = {
    "newton_schulz": newton_schulz_flop, "shampoo": shampoo_flop, "kfac": kfac_flop,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """What one update costs per parameter, counted from the published update rule.

    Attributes
    ----------
    state_per_parameter
        Words of state kept (momentum, second moment). The parameter and its master copy are not state. Rules that keep
        products of a matrix with itself: the words for a square matrix; oblong ones keep more.
    flop_per_parameter
        Additions, multiplications, divisions and roots; bias corrections are scalars and left out. [FLOP]
    read_write_words_per_parameter
        Words read and written in fused passes: parameter, gradient, state. Layer-wise rules (LARS, LAMB) need norms
        first and so pass twice. Gradient clipping and the cast to a low-precision copy are left out.
    matrix_rule
        What an update multiplies besides, by matrix: a word of `MATRIX_RULES`, "" for element-wise rules. Tables and
        vectors are updated element by element.
    source
        The update rule counted.
    """

    name: str
    state_per_parameter: float
    flop_per_parameter: float
    read_write_words_per_parameter: float
    source: str
    matrix_rule: str = ""

    def __post_init__(self) -> None:
        for name in ("state_per_parameter", "flop_per_parameter", "read_write_words_per_parameter"):
            if getattr(self, name) < 0:
                raise ValueError(f"optimizer '{self.name}': {name} is {getattr(self, name)}; not negative.")
        if self.matrix_rule and self.matrix_rule not in MATRIX_RULES:
            raise ValueError(
                f"optimizer '{self.name}': matrix_rule is '{self.matrix_rule}'. Legal: {', '.join(MATRIX_RULES)}."
            )

    def matrix_flop(self, rows: float, columns: float) -> float:
        """Work of one update of a rows x columns matrix beyond its elements [FLOP]."""
        if not self.matrix_rule:
            return 0.0
        return MATRIX_RULES[self.matrix_rule](min(rows, columns), max(rows, columns))


def _optimizer(name: str, state: float, flop: float, words: float, source: str, rule: str = "") -> Optimizer:
    return Optimizer(
        matrix_rule=rule,
        name=name,
        state_per_parameter=state,
        flop_per_parameter=flop,
        read_write_words_per_parameter=words,
        source=source,
    )


OPTIMIZERS: Final = {
    rule.name: rule
    for rule in (
        # p -= lr g: reads p, g; writes p.
        _optimizer("sgd", 0, 2.0, 3.0, "Robbins and Monro 1951"),
        # m = mu m + g; p -= lr m: reads p, g, m; writes p, m.
        _optimizer("momentum", 1, 4.0, 5.0, "Polyak 1964; Sutskever et al. 2013"),
        # m: 3, v: 4, step: root, add, divide, multiply, subtract. Reads p, g, m, v; writes p, m, v.
        _optimizer("adam", 2, 12.0, 7.0, "arXiv:1412.6980, algorithm 1"),
        # Adam and a multiplication of p by (1 - lr decay).
        _optimizer("adamw", 2, 13.0, 7.0, "arXiv:1711.05101, algorithm 2"),
        # Moments 7, update with decay 5, two norms 4, step 2. First pass reads p, g, m, v, writes m, v, u; second
        # pass reads p, u, writes p.
        _optimizer("lamb", 2, 18.0, 10.0, "arXiv:1904.00962, algorithm 2"),
        # Two norms 4, decay 2, momentum 3, step 2. The norms read p, g; then momentum's five words.
        _optimizer("lars", 1, 11.0, 7.0, "arXiv:1708.03888, algorithm 1"),
        # Row and column means of the squared gradient are vectors; no momentum. Squares, two means, root, divide, clip,
        # step. Reads p, g twice (means first), writes p.
        _optimizer("adafactor", 0, 10.0, 5.0, "arXiv:1804.04235, algorithm 4"),
        # Momentum, then its orthogonal part; reads p, g, m, writes p, m; the iterates of the matrix are its products'.
        _optimizer("muon", 1, 6.0, 5.0, "Jordan et al. 2024, Muon; arXiv:2502.16982", "newton_schulz"),
        # Momentum, two statistics and their roots (square matrix: 4 words). Roots are read in every step and seldom
        # written.
        _optimizer("shampoo", 5, 8.0, 11.0, "arXiv:1802.09568, algorithm 1; arXiv:2309.06497", "shampoo"),
        # Momentum, two factors and their inverses (square matrix: 4 words).
        _optimizer("kfac", 5, 6.0, 11.0, "arXiv:1503.05671", "kfac"),
    )
}

ALIASES: Final = {"sgd_momentum": "momentum", "sgdm": "momentum", "nesterov": "momentum", "fused_adam": "adam"}


def optimizer(name: str) -> Optimizer:
    """The optimizer of that name or alias, any case.

    Raises
    ------
    LookupError
        For an unknown name, with the nearest one.
    """
    word = name.strip().lower().replace("-", "_").replace(" ", "_")
    word = ALIASES.get(word, word)
    if word not in OPTIMIZERS:
        raise LookupError(unknown_name("optimizer", name, (*OPTIMIZERS, *ALIASES)))
    return OPTIMIZERS[word]


def optimizer_names() -> tuple[str, ...]:
    """Names of all optimizers."""
    return tuple(OPTIMIZERS)
