"""Optimizer: state, arithmetic and memory traffic per parameter of one update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hwmodels.datafile import unknown_name


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """What one update costs per parameter, counted from the published update rule.

    Attributes
    ----------
    state_per_parameter
        Words of state kept (momentum, second moment). The parameter and its master copy are not state.
    flop_per_parameter
        Additions, multiplications, divisions and roots; bias corrections are scalars and left out. [FLOP]
    read_write_words_per_parameter
        Words read and written in fused passes: parameter, gradient, state. Layer-wise rules (LARS, LAMB) need norms
        first and so pass twice. Gradient clipping and the cast to a low-precision copy are left out.
    source
        The update rule counted.
    """

    name: str
    state_per_parameter: int
    flop_per_parameter: float
    read_write_words_per_parameter: float
    source: str

    def __post_init__(self) -> None:
        for name in ("state_per_parameter", "flop_per_parameter", "read_write_words_per_parameter"):
            if getattr(self, name) < 0:
                raise ValueError(f"optimizer '{self.name}': {name} is {getattr(self, name)}; not negative.")


def _optimizer(name: str, state: int, flop: float, words: float, source: str) -> Optimizer:
    return Optimizer(
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
