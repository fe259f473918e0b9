"""A published point of convergence: what was trained to what at which batch, read from the words of its source.

A point's answer (epochs, samples, steps, tokens) is counted in the unit of its curve: epochs where the training set's
size is known, else the unit it was printed in. What says how good the answer was never enters: of a source only what
stands before its first semicolon is read.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from ..data import OutcomeError

#: Columns that a prediction may look at.
COLUMNS: Final = ("task", "model", "dataset", "batch", "target", "unit", "optimizer", "source")

#: What can be held out together (`Point.key`).
HOLDS: Final = ("points", "sources")
#: Tokens of one sequence, of tasks that count both.
_TOKENS: Final[Mapping[str, int]] = {"GPT-3 175B": 2048}
_OPTIMIZERS: Final[Mapping[str, str]] = {
    "stochastic_gradient_descent_with_momentum": "sgd", "sgd_with_momentum": "sgd", "distributed shampoo": "shampoo",
    "adamw": "adam", "sgd with momentum": "sgd",
}  # fmt: skip
#: Sources whose entries of one round share their rules of what may be tuned: one recipe.
_ROUNDS: Final = re.compile(r"training_results_v\d+\.\d+|mlcommons/logging")
_ROUND_WORDS: Final = re.compile(r"MLPerf Training v(\d+\.\d+)")
_PHASE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*x\s*(\d+(?:\.\d+)?)\s*ep")
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?(?:e\d+)?")


class PointError(OutcomeError):
    """A row of convergence that cannot be read; the message is the reason."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """What a point of convergence is of.

    ``model`` is as printed, ``network`` without optimizer and division. ``batch`` in samples, or in tokens where
    ``batch_in_tokens``; None where it is not stated. ``counted`` is what its curve counts: "epochs" or "samples".
    ``per_unit``: the row's own unit times this is the curve's. ``recipe`` names the rules it was tuned by, those of a
    benchmark's round or (``own_recipe``) the entry's own.
    """

    task: str
    model: str
    network: str
    dataset: str
    target: str
    batch: float | None
    batch_in_tokens: bool
    optimizer: str
    open_division: bool
    recipe: str
    own_recipe: bool
    counted: str
    per_unit: float
    assumed: tuple[str, ...] = ()

    @property
    def curve(self) -> tuple[str, str, str, bool]:
        """Points with this in common inform one another: task, training set, unit, unit of the batch."""
        return self.task, self.dataset or self.network, self.counted, self.batch_in_tokens

    @property
    def group(self) -> tuple[str, str]:
        """(task, model) as printed: what errors are averaged over."""
        return self.task, self.model

    def key(self, hold: str) -> str:
        """Points of one key are held out together: by "points" a network's at one batch, whoever measured them; by
        "sources" a network's of one round or entry, at whatever batch."""
        what = (self.recipe,) if hold == "sources" else (self.batch, self.batch_in_tokens)
        return "|".join(map(str, (hold, self.task, self.network, *what)))

    @property
    def keys(self) -> frozenset[str]:
        """Its key in every way of holding out."""
        return frozenset(self.key(hold) for hold in HOLDS)


def read_point(row: Mapping[str, str]) -> Point:
    """The point of a row, from `COLUMNS` alone; raises `PointError` with the reason it has none."""
    cell = {name: (row.get(name) or "").strip() for name in COLUMNS}
    for name in ("task", "model", "unit"):
        if not cell[name]:
            raise PointError(f"{name} is blank")
    network, optimizer, is_open = _model(cell["model"], cell["optimizer"])
    batch, in_tokens, assumed = _batch(cell["batch"])
    counted, per_unit = _unit(cell["unit"], cell["dataset"], network, batch, in_tokens)
    recipe, own = recipe_of(cell["source"])
    return Point(
        task=cell["task"], model=cell["model"], network=network, dataset=cell["dataset"], target=cell["target"],
        batch=batch, batch_in_tokens=in_tokens, optimizer=optimizer, open_division=is_open, recipe=recipe,
        own_recipe=own, counted=counted, per_unit=per_unit, assumed=assumed,
    )  # fmt: skip


def _model(model: str, stated: str) -> tuple[str, str, bool]:
    """Network, optimizer ("" if unstated) and whether the entry is in an open division."""
    inside = re.search(r"\[([^\]]*)\]", model)
    word = (stated or (inside.group(1).partition(",")[0] if inside else "")).strip().lower()
    network = re.sub(r"\s*\[[^\]]*\]", "", model).replace(" OPEN division", "").strip()
    return network, _OPTIMIZERS.get(word, word), "OPEN division" in model


def recipe_of(source: str) -> tuple[str, bool]:
    """The rules that a source's entries were tuned by, and whether they are the entry's own; an unstated source is some
    round's."""
    place = source.partition(";")[0].strip()
    if not place:
        return "", False
    if match := _ROUND_WORDS.search(place):
        return f"training_results_v{match.group(1)}", False
    if match := _ROUNDS.search(place):
        return match.group(0), False
    return re.sub(r"\s+commit [0-9a-f]+", "", place).strip(), True


def _batch(text: str) -> tuple[float | None, bool, tuple[str, ...]]:
    """A batch, whether it counts tokens, and what was assumed.

    Batches that change in training count as the one that takes as many steps for the same samples (`phases`).
    """
    if not text:
        return None, False, ("batch: not stated, the usual one of its curve",)
    phases = [(float(size), float(epochs)) for size, epochs in _PHASE.findall(text)]
    if phases:
        mean = sum(e for _, e in phases) / sum(e / size for size, e in phases) if all(s > 0 for s, _ in phases) else 0.0
        note: tuple[str, ...] = (f"batch {mean:.0f}: as many steps for the same samples",)
    else:
        match = _NUMBER.search(text.replace(",", ""))
        mean = float(match.group(0)) if match else 0.0
        note = (f"batch {mean:g}: the largest of {text!r}",) if text.startswith("<") else ()
    if not (math.isfinite(mean) and 0.0 < mean <= 1e12):
        raise PointError(f"batch is {text[:60]!r}; legal: a number above 0, or phases as '128x14ep / 64x28ep'")
    return mean, "token" in text.lower(), note


def _unit(text: str, dataset: str, network: str, batch: float | None, in_tokens: bool) -> tuple[str, float]:
    """What the curve counts, and how much of it one of the row's unit is."""
    word = (re.match(r"[a-z]+", text.lower()) or [""])[0].rstrip("s")
    size = training_samples(dataset)
    if word == "epoch":
        return "epochs", 1.0
    samples = {"sample": 1.0, "sequence": 1.0, "image": 1.0, "token": 0.0, "step": 0.0, "update": 0.0, "iteration": 0.0}
    if word not in samples:
        raise PointError(f"unit is {text[:60]!r}; legal: epochs, samples, steps, tokens")
    each = samples[word]
    if word == "token":
        if not (length := _TOKENS.get(network, 0)):
            return "tokens", 1.0
        each = 1.0 / length
    elif word in ("step", "update", "iteration"):
        if batch is None:
            raise PointError("steps at a batch that is not stated")
        if in_tokens:
            return "tokens", batch
        each = batch
    return ("epochs", each / size) if size else ("samples", each)


@cache
def _sets() -> Mapping[str, float]:
    text = files("simulator").joinpath("data", "training_sets.csv").read_text(encoding="utf-8")
    return {line["name"].lower(): float(line["samples"]) for line in csv.DictReader(io.StringIO(text))}


def training_samples(dataset: str) -> float:
    """Samples of one epoch of a training set, 0 where its size is not known here."""
    return _sets().get(dataset.strip().lower(), 0.0)
