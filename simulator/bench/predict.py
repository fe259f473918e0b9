"""The seconds of a step from its calls and the laws of the probe; no constant here was fitted on a step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ..errors import InputError
from ..machine_fit.memory_levels import Traffic
from ..machine_fit.neighbour_laws import NeighbourLaws
from ..machine_fit.step_laws import StepLaws
from .calls import StepCall, StepCalls
from .reuse import traffic_of_step
from .shared import SharedPasses, shared_step

#: A view costs so much of what issuing a kernel does.
_VIEW_SHARE: Final = 0.2
_DENSE: Final = {"NT": "dense fwd", "NN": "dense data", "TN": "dense weights", "TT": "dense weights"}
_CONV: Final = {"fwd": "conv fwd", "bwd_data": "conv data", "bwd_weights": "conv weights"}


@dataclass(frozen=True, kw_only=True)
class PredictedStep:
    """A step's seconds, of the passes and of the update, and by kind of call; ``unknown`` calls were left out.

    Of several ranks ``shared`` says how their exchange runs beside the passes, which ``whole_s`` has in it.
    """

    passes_s: float
    update_s: float
    by_kind: Mapping[str, float]
    issue_s: float
    unknown: Mapping[str, int]
    whole_s: float
    shared: SharedPasses | None = None


def _law_of(call: StepCall) -> tuple[str, str]:
    """The suite and kind whose law prices a call."""
    if call.suite == "gemm":
        return "layers", _DENSE.get(call.kind, "dense data")
    if call.suite == "convolution":
        first = call.lengths["conv_c"] <= 4 and call.kind != "bwd_data"
        return "layers", {"fwd": "first fwd", "bwd_weights": "first weights"}[call.kind] if first else _CONV[call.kind]
    return call.suite, call.kind


def predicted(
    step: StepCalls, laws: StepLaws, *, ranks: int = 1, neighbours: NeighbourLaws | None = None
) -> PredictedStep:
    """Price every call of a step by the law of its kind, with the memory that serves it.

    Raises
    ------
    InputError
        For several ranks, where the probe has no collectives and neighbours.
    """
    if ranks > 1:
        if neighbours is None:
            raise InputError(
                "bench: the probe has no exchanges between ranks; go on with --suites collectives,neighbours."
            )
        laws = laws.beside(neighbours.product_share, neighbours.near_share, neighbours.memory_share)
    parts = {"passes": 0.0, "update": 0.0}
    kinds: dict[str, float] = {}
    unknown = dict(step.unknown)
    views = laws.issue_s * _VIEW_SHARE * step.views / max(len(step.calls), 1)
    issued, reached = 0.0, [0.0]
    for call, traffic in zip(step.calls, traffic_of_step(step.calls), strict=True):
        t = _priced(call, traffic, laws, unknown)
        issue = views + (max(0.0, laws.issue_s - _start_s(call, laws)) if call.touched else 0.0)
        name = " ".join(_law_of(call)) if call.suite else call.word
        kinds[name] = kinds.get(name, 0.0) + t
        parts[call.part] += t + issue
        issued += issue
        reached.append(parts["passes"])
    whole, shared = sum(parts.values()), None
    if ranks > 1 and neighbours is not None:
        gradients = [(byte, reached[after]) for byte, after in step.gradients]
        whole, shared = shared_step(
            passes_s=parts["passes"], update_s=parts["update"], gradients=gradients, buffers=step.buffers, laws=laws,
            neighbours=neighbours,
        )  # fmt: skip
    return PredictedStep(
        passes_s=parts["passes"], update_s=parts["update"], by_kind=kinds, issue_s=issued, unknown=unknown,
        whole_s=whole, shared=shared,
    )  # fmt: skip


def _start_s(call: StepCall, laws: StepLaws) -> float:
    fit = laws.fits.get(_law_of(call)) if call.suite else None
    return min(fit.value("start_s"), laws.issue_s / 2) if fit else 0.0


def _priced(call: StepCall, traffic: Traffic, laws: StepLaws, unknown: dict[str, int]) -> float:
    if not call.suite:
        return 0.0
    try:
        return laws.seconds(*_law_of(call), call.lengths, traffic)
    except KeyError:
        unknown[call.word] = unknown.get(call.word, 0) + 1
        return 0.0
