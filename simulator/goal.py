"""Samples to a target quality at a batch, from published points: the goal of a question that names a quality."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

from hwmodels.datafile import did_you_mean
from workloads import catalog as models
from workloads.workload import Workload

from .convergence_calibration import load_convergence, shipped_points, shipped_pool
from .outcome import OutcomeError
from .outcome.convergence.points import Point, training_samples

#: Networks of published points -> the catalogue's model, where the names differ by more than spelling.
_MODELS: Final[Mapping[str, str]] = {"BERT-large phase 2": "BERT-Large", "Llama-2 70B LoRA": "Llama-2-70B"}
#: Tokens of a sample of published points that count samples of a length of their own.
_LENGTHS: Final[Mapping[str, int]] = {"GPT-3 175B": 2048}


class NotReachedError(OutcomeError):
    """A target that no published run reached at so large a batch."""


@dataclass(frozen=True, kw_only=True)
class TargetAmount:
    """Samples to a target at a batch: the mean, the 80 % interval, and what it rests on."""

    target: str
    network: str
    samples: float
    low_samples: float
    high_samples: float
    points: int
    largest_batch: float
    assumed: str


def samples_to_target(
    workload: Workload, target: str, *, global_batch: int, optimizer: str = "", dataset_samples: float = 0.0
) -> TargetAmount:
    """Samples until published runs of a network reached a target, at any batch up to the largest they reached it at.

    Parameters
    ----------
    workload
        What is trained; its name must be one that points were published of.
    target
        As published, "75.9% top-1"; spaces, case and "(recalled)" do not count.
    global_batch
        Samples of one step.
    optimizer
        Name of the update rule if the question pins one: its own largest batch then holds. "" takes that of the
        published run nearest in batch.
    dataset_samples
        Samples of an epoch, for tasks counted in epochs of a set whose size is not known here.

    Leaves out: accuracy beyond the target, models changed in any way, and the spread between runs of one setting; a
    mean over crossings as they were evaluated.

    Raises
    ------
    OutcomeError
        For a model or a target without published points.
    NotReachedError
        For a batch at which none reached it, with the nearest.
    """
    own = _points_of(workload.name)
    if not own:
        known = ", ".join(sorted({name for p, _ in shipped_points() if (name := _model_of(p.network))}))
        raise OutcomeError(
            f"no published run of {workload.name} to a target; legal: samples or epochs, or one of {known}."
        )
    reached = _of_target(workload.name, own, target)
    reference = _nearest(workload.name, reached, global_batch, optimizer)
    words = (optimizer and reference.optimizer, reference.recipe)
    point = replace(reference, batch=float(global_batch), batch_in_tokens=False)
    answer = shipped_pool().answer(point)
    assert answer is not None, point
    size = _unit_samples(point, workload, dataset_samples)
    ends = load_convergence().record.interval(answer, point)
    mean = math.exp(answer.log_mean)
    low, high = ends or (mean, mean)
    mine = [p for p in reached if p.optimizer == reference.optimizer] if optimizer else reached
    ceiling = max(p.batch or 0.0 for p in mine)
    return TargetAmount(
        target=reference.target, network=point.network, samples=mean * size, low_samples=low * size,
        high_samples=high * size, points=answer.own_points, largest_batch=max(p.batch or 0.0 for p in reached),
        assumed=f"samples to {reference.target}: the mean crossing of {answer.own_points} published points of "
        f"{point.network}, tuned as {', '.join(w for w in words if w)} at batch {reference.batch:,.0f}; "
        f"published runs{f' with {reference.optimizer}' if optimizer else ''} reached it up to batch {ceiling:,.0f}"
        f"{f', none with {optimizer}' if _rule_of(optimizer) not in ('', reference.optimizer) else ''}",
    )  # fmt: skip


@cache
def _points_of(model: str) -> tuple[Point, ...]:
    """Published points of a model of the catalogue at a stated batch in samples, none of an open division."""
    found = models.resolve_model(model)
    return tuple(
        p
        for p, _ in shipped_points()
        if found and _model_of(p.network) == found and p.batch and not p.batch_in_tokens and not p.open_division
    )


@cache
def _model_of(network: str) -> str:
    return models.resolve_model(_MODELS.get(network, network)) or ""


def _plain(target: str) -> str:
    return re.sub(r"\(recalled\)|\s+", "", target.lower())


def _of_target(model: str, points: Sequence[Point], target: str) -> tuple[Point, ...]:
    found = tuple(p for p in points if _plain(p.target) == _plain(target))
    if not found:
        legal = sorted({p.target for p in points})
        near = did_you_mean(target, legal)
        raise OutcomeError(
            f"no published run of {model} to {target[:60]!r}; legal: {', '.join(map(repr, legal))}.{near}"
        )
    return found


def _rule_of(optimizer: str) -> str:
    """What published runs call an update rule."""
    return "sgd" if optimizer.startswith(("sgd", "momentum")) else "adam" if optimizer.startswith("adam") else optimizer


def _nearest(model: str, reached: Sequence[Point], batch: int, optimizer: str) -> Point:
    """The published run nearest in batch, of benchmark rounds before others; raises where none reached so far."""
    word = _rule_of(optimizer)
    mine = [p for p in reached if p.optimizer == word] if word else []
    pool = mine or list(reached)
    far = max(pool, key=lambda p: p.batch or 0.0)
    largest = far.batch or 0.0
    if batch > largest * (1.0 + 1e-9):
        text = f"{far.target!r} was not reached at batch {batch:,} by any published run of {model}"
        text += f" with {word}; up to {largest:,.0f}" if mine else f"; the nearest is {largest:,.0f} ({_how(far)})"
        beyond = [p for p in reached if (p.batch or 0.0) > largest]
        if beyond:
            best = max(beyond, key=lambda p: p.batch or 0.0)
            text += f", and up to {best.batch:,.0f} with {_how(best)}"
        raise NotReachedError(f"{text}. Legal: global_batch up to {largest:,.0f}, or samples or epochs of your own.")
    return min(pool, key=lambda p: (p.own_recipe, abs(math.log((p.batch or 1.0) / batch)), p.recipe, p.optimizer))


def _how(point: Point) -> str:
    return " of ".join(w for w in (point.optimizer, point.recipe) if w)


def _unit_samples(point: Point, workload: Workload, dataset_samples: float) -> float:
    """Samples of the workload in one unit of a point's curve."""
    if point.counted == "epochs":
        size = dataset_samples or training_samples(point.dataset)
        if not size:
            raise OutcomeError(
                f"runs of {point.network} are counted in epochs of {point.dataset}, whose size is not known here; "
                "legal: dataset_samples beside the target."
            )
        return size
    length = _LENGTHS.get(point.network, 0)
    return length / workload.tokens_per_sample if length else 1.0
