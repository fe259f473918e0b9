"""Rows that measure a whole training: time to a target, epochs to it, and how much faster more chips are.

A time is samples to the target over the rate; both are read from configuration columns alone (`rows.COLUMNS`). How many
samples a program trains for is a fact of its recipe that a row rarely states: it comes from other measured runs of the
same recipe (`training_lengths`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ..outcome.convergence.points import Point, recipe_of
from .cells import Unsupported, count
from .rows import COLUMNS, RunJob, resolve

TIME: Final = "time_to_train_s"
EPOCHS: Final = "epochs"
SCALING: Final = ("speedup", "scaling_efficiency")
#: Metrics of whole trainings.
METRICS: Final = (TIME, EPOCHS, *SCALING)

#: Sources whose target depends on the data set, which their rows do not state.
_OWN_TARGETS: Final = (("DAWNBench", "DAWNBench"),)
#: What a ratio's unit says of the run that it is over.
_OVER_ONE: Final = re.compile(r"^(ratio$|x vs 1 (GPU|node)$)")


@dataclass(frozen=True, kw_only=True)
class TrainingRow:
    """A row of a whole training. ``job``: a step of it, None for epochs; ``reference``: a step of what a ratio is over.

    ``point`` says which recipe's length it has. ``group`` is (source, model, chip), left out together.
    """

    metric: str
    point: Point
    group: tuple[str, str, str]
    job: RunJob | None = None
    reference: RunJob | None = None

    @property
    def batch(self) -> float:
        """Samples of a step as the row is run."""
        return float(self.job.parallelism.global_batch) if self.job else 0.0


def resolve_training(row: Mapping[str, str]) -> TrainingRow:
    """A row of one of `METRICS`; raises `Unsupported` with the reason it cannot be predicted."""
    config = {name: (row.get(name) or "").strip() for name in COLUMNS}
    metric = config["metric"]
    group = (config["source"], config["model"], config["chip"])
    if metric == EPOCHS:
        batch = float(count(config, "global_batch")) or None
        return TrainingRow(metric=metric, point=_point(config, batch, EPOCHS), group=group)
    job = _job(config)
    point = _point(config, float(job.parallelism.global_batch), "samples")
    if metric not in SCALING:
        return TrainingRow(metric=metric, point=point, group=group, job=job)
    if metric == "speedup" and not _OVER_ONE.search(config["unit"]):
        raise Unsupported(f"a speed-up in {config['unit']!r}: over which run is not stated")
    chips = count(config, "num_chips")
    stated = count(config, "global_batch")
    alone = config | {"num_chips": "1", "dp": "", "tp": "", "pp": "", "cp": "", "chips_per_node": "1"}
    if metric == "scaling_efficiency" and stated and stated % max(chips, 1) == 0:
        # Efficiency is stated of weak scaling: each chip has its own samples.
        alone["global_batch"] = str(stated // chips)
    return TrainingRow(metric=metric, point=point, group=group, job=job, reference=_job(alone))


def _job(config: Mapping[str, str]) -> RunJob:
    """A step of the run, priced as a rate: what a row leaves open is filled as for one."""
    priced = {**config, "metric": "samples_per_s"}
    # One benchmark under two names; the rules for its encoders' padding go by the first.
    if config["model"].lower().startswith("bert"):
        priced["source"] = re.sub(r"mlcommons/training_results_v", "MLPerf Training v", config["source"])
    return resolve(priced)


def _point(config: Mapping[str, str], batch: float | None, counted: str) -> Point:
    """The recipe that a row trains by: a benchmark's round, or a program of its own."""
    recipe, own = recipe_of(config["source"])
    task = next((word for begin, word in _OWN_TARGETS if begin in config["source"]), "published runs")
    software = re.match(r"[A-Za-z]+", config["software"])
    return Point(
        task=task if own else "MLPerf", model=config["model"], network=config["model"].lower(), dataset="",
        target="|".join((config["kind"], config["seq_len"], config["image_size"])) if own else "",
        batch=batch, batch_in_tokens=False, open_division=False,
        optimizer=(software.group(0).lower() if software else "") if own else config["optimizer"].lower(),
        recipe=config["source"] if own else recipe, own_recipe=own, counted=counted, per_unit=1.0,
    )  # fmt: skip
