"""Loss of language models against parameters, tokens and compute, by two published fits; for sizing a run.

Kaplan et al. 2020, Scaling Laws for Neural Language Models, arXiv:2001.08361 (parameters without embeddings, WebText2,
nats a token). Hoffmann et al. 2022, Training Compute-Optimal Large Language Models, arXiv:2203.15556 (MassiveText).
Their losses are of their own data and tokenizers: good for ratios and optima, not for the loss on other text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from .arrays import Floats, above_zero

#: FLOPs of training a parameter on a token: forward 2, backward 4 (both papers), attention left out.
FLOP_PER_PARAMETER_TOKEN: Final = 6.0

# Kaplan et al., equations 1.1, 1.2, 1.4, 1.5 and Table 2 (joint fit).
_ALPHA_N, _N_C = 0.076, 8.8e13
_ALPHA_D, _D_C = 0.095, 5.4e13
_JOINT_ALPHA_N, _JOINT_N_C = 0.076, 6.4e13
_JOINT_ALPHA_D, _JOINT_D_C = 0.103, 1.8e13
_B_STAR, _ALPHA_B = 2.1e8, 0.21

# Hoffmann et al., equation 10 and section D.3 (approach 3).
_E, _A, _B, _ALPHA, _BETA = 1.69, 406.4, 410.7, 0.34, 0.28


def kaplan_loss_of_parameters(parameters: Floats | float) -> Floats:
    """L(N) = (N_c / N)^0.076, N_c = 8.8e13 [nats a token]: unlimited data, equation 1.1 of arXiv:2001.08361."""
    return np.asarray((_N_C / above_zero("parameters", parameters)) ** _ALPHA_N)


def kaplan_loss_of_tokens(tokens: Floats | float) -> Floats:
    """L(D) = (D_c / D)^0.095, D_c = 5.4e13 [nats a token]: unlimited size, equation 1.2 of arXiv:2001.08361."""
    return np.asarray((_D_C / above_zero("tokens", tokens)) ** _ALPHA_D)


def kaplan_loss(parameters: Floats | float, tokens: Floats | float) -> Floats:
    """L(N, D) = ((N_c / N)^(a_N / a_D) + D_c / D)^a_D [nats a token], equation 1.5 and Table 2 of arXiv:2001.08361."""
    n, d = above_zero("parameters", parameters), above_zero("tokens", tokens)
    return np.asarray(((_JOINT_N_C / n) ** (_JOINT_ALPHA_N / _JOINT_ALPHA_D) + _JOINT_D_C / d) ** _JOINT_ALPHA_D)


def kaplan_critical_batch_tokens(loss: Floats | float) -> Floats:
    """B_crit(L) = 2.1e8 L^(-1 / 0.21) [tokens], equation 1.4 of arXiv:2001.08361: it grows as the loss falls."""
    return np.asarray(_B_STAR * above_zero("loss", loss) ** (-1.0 / _ALPHA_B))


def hoffmann_loss(parameters: Floats | float, tokens: Floats | float) -> Floats:
    """L(N, D) = 1.69 + 406.4 / N^0.34 + 410.7 / D^0.28 [nats a token], equation 10 of arXiv:2203.15556.

    Leaves out: repeated data, other mixtures, and the width of the published fit (a refit of its points gives other
    constants: Besiroglu et al. 2024, arXiv:2404.10102).
    """
    n, d = above_zero("parameters", parameters), above_zero("tokens", tokens)
    return np.asarray(_E + _A / n**_ALPHA + _B / d**_BETA)


@dataclass(frozen=True, kw_only=True)
class ComputeOptimum:
    """The size and data that a number of FLOPs is best spent on by a law."""

    parameters: float
    tokens: float
    loss: float


def hoffmann_optimum(flop: float) -> ComputeOptimum:
    """The least loss of C = 6 N D FLOPs.

    .. math:: N = G (C / 6)^{\\beta / (\\alpha + \\beta)}, \\quad D = (C / 6)^{\\alpha / (\\alpha + \\beta)} / G, \\quad
              G = (\\alpha A / \\beta B)^{1 / (\\alpha + \\beta)}

    Equation 4 of arXiv:2203.15556. Leaves out: what the model costs once it is trained.
    """
    budget = float(above_zero("flop", flop)) / FLOP_PER_PARAMETER_TOKEN
    total = _ALPHA + _BETA
    scale = (_ALPHA * _A / (_BETA * _B)) ** (1.0 / total)
    parameters = scale * budget ** (_BETA / total)
    tokens = budget ** (_ALPHA / total) / scale
    return ComputeOptimum(parameters=parameters, tokens=tokens, loss=float(hoffmann_loss(parameters, tokens)))


def tokens_to_loss(loss: float, *, parameters: float) -> float:
    """Tokens until a model of a size reaches a loss by `hoffmann_loss`; infinite where it never does."""
    rest = float(above_zero("loss", loss)) - _E - _A / float(above_zero("parameters", parameters)) ** _ALPHA
    return (_B / rest) ** (1.0 / _BETA) if rest > 0 else float("inf")
