"""The largest language model worth training with a budget of operations, by published scaling laws."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from simulator.outcome.failures import RunError
from simulator.whole_run import WholeRun

#: Loss = E + A / N^alpha + B / D^beta. Hoffmann et al. 2022, arXiv:2203.15556, approach 3: (E, A, alpha, B, beta).
HOFFMANN: Final = (1.69, 406.4, 0.34, 410.7, 0.28)
#: The same data fitted again: Besiroglu et al. 2024, arXiv:2404.10102.
BESIROGLU: Final = (1.8172, 482.01, 0.3478, 2085.43, 0.3658)
LAWS: Final = {"hoffmann": HOFFMANN, "besiroglu": BESIROGLU}
#: Tokens per parameter after approaches 1 and 2 of Hoffmann et al.
TOKENS_PER_PARAMETER: Final = 20.0


@dataclass(frozen=True, kw_only=True)
class Largest:
    """Parameters, tokens and predicted loss [nats per token] of the best use of so many operations."""

    parameters: float
    tokens: float
    loss: float
    law: str


def loss_of(parameters: float, tokens: float, law: str = "besiroglu") -> float:
    """Loss after one pass over so many tokens.

    .. math:: L = E + A / N^\\alpha + B / D^\\beta
    """
    if law not in LAWS:
        raise RunError(f"law: {law!a}; legal: {', '.join(LAWS)}.")
    floor, a, alpha, b, beta = LAWS[law]
    return float(floor + a / parameters**alpha + b / tokens**beta)


def largest_model(flop: float, *, law: str = "besiroglu", most_tokens: float = math.inf) -> Largest:
    """The model with the least loss for so many operations, C = 6 N D.

    .. math:: N = G (C / 6)^{\\beta / (\\alpha + \\beta)}, \\quad D = C / (6 N), \\quad
              G = (\\alpha A / \\beta B)^{1 / (\\alpha + \\beta)}

    With fewer tokens than that, the model that uses them all up. Larger models fit the budget, but with too few tokens
    to be worth it. Leaves out attention's share, repeated data, and what a model costs to serve.
    """
    if not (math.isfinite(flop) and flop > 0 and most_tokens > 0):
        raise RunError(f"largest model: {flop:g} operations and {most_tokens:g} tokens; legal: above 0.")
    if law not in LAWS:
        raise RunError(f"law: {law!a}; legal: {', '.join(LAWS)}.")
    _, a, alpha, b, beta = LAWS[law]
    scale = (alpha * a / (beta * b)) ** (1 / (alpha + beta))
    parameters = scale * (flop / 6) ** (beta / (alpha + beta))
    tokens = flop / (6 * parameters)
    if tokens > most_tokens:
        tokens, parameters = most_tokens, flop / (6 * most_tokens)
    return Largest(parameters=parameters, tokens=tokens, loss=loss_of(parameters, tokens, law), law=law)


def worth_training(run: WholeRun, within_s: float, *, law: str = "besiroglu") -> Largest:
    """The same on a run's chips in a time, with as many operations a second as that run did.

    Another size reaches another utilisation: ask again with a model near the answer.
    """
    if not (math.isfinite(within_s) and within_s > 0):
        raise RunError(f"largest model: {within_s:g} s; legal: above 0.")
    share = run.bound_s / run.time.training_s
    chip = run.job.context.cluster.chip
    flop = operations(
        chips=run.job.chips, peak_flop_per_s=chip.peak(run.job.context.recipe.matmul), mfu=share, time_s=within_s,
        goodput=run.time.goodput,
    )  # fmt: skip
    return largest_model(flop, law=law)


def operations(*, chips: int, peak_flop_per_s: float, mfu: float, time_s: float, goodput: float = 1.0) -> float:
    """Operations that chips do in a time at a utilisation, failures counted. [FLOP]"""
    return chips * peak_flop_per_s * mfu * time_s * goodput
