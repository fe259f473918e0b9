"""Which change bought what, from the first record to the last: one thing changed at a time, in a stated order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from ..calibration_data import load
from ..outcome.convergence.phases import total_s
from .predicted import Steps, TimelineRow, predicted_epochs
from .published import RecordRun, Stretch, published_runs
from .setup import Setup

FIRST, LAST = "firecaffe", "tpu-1024"


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change: ``before_s`` and ``after_s`` are predicted times; it made training ``factor`` times as fast."""

    name: str
    before_s: float
    after_s: float

    @property
    def factor(self) -> float:
        """Before over after; below 1 where the change costs time."""
        return self.before_s / self.after_s


@dataclass(frozen=True, kw_only=True)
class Waterfall:
    """Changes from one record to another, and what the predictions at both ends leave of the measured times.

    ``start_factor``: measured over predicted time of the first record, ``end_factor``: predicted over measured of the
    last. Both and the changes' factors multiply to the whole, measured first over measured last.
    """

    first_s: float
    last_s: float
    changes: tuple[Change, ...]
    start_factor: float
    end_factor: float

    @property
    def factor(self) -> float:
        """How many times as fast the last record is as the first, measured."""
        return self.first_s / self.last_s

    @property
    def product(self) -> float:
        """The same from all factors."""
        return self.start_factor * math.prod(c.factor for c in self.changes) * self.end_factor


#: What is changed, in order: its name, fields of `Setup`, the batch (0: as before), the epochs (0: as before).
_STEPS: Final[tuple[tuple[str, dict[str, Any], int, float], ...]] = (
    ("exchange: from a tree through hosts to a ring under the backward pass", {"exchange": ""}, 0, 0.0),
    ("task: from GoogLeNet, 60 epochs, to ResNet-50, 90 epochs", {"model": "resnet50"}, 0, 90.0),
    ("software: from Caffe of 2016 to Caffe2 of 2017", {"stack": "caffe2-2017"}, 0, 0.0),
    ("chip: from K20X to P100", {"chip": "p100-sxm2"}, 0, 0.0),
    ("wires: from Gemini to NVLink and 50 Gbit/s Ethernet", {"system": "big-basin", "chip": ""}, 0, 0.0),
    ("batch: from 1,024 to 8,192", {}, 8192, 0.0),
    ("chips: from 128 to 256", {"chips": 256}, 0, 0.0),
    ("chip, number format, compiler: from P100 in fp32 to TPU v3 in bf16",
     {"chip": "tpu-v3", "stack": "mlperf-tf", "precision": "bf16_mixed"}, 0, 0.0),
    ("wires: to a torus that joins all chips", {"system": "tpu-v3-pod", "chip": ""}, 0, 0.0),
    ("batch: from 8,192 to 32,768, by LARS", {"optimizer": "lars"}, 32768, 0.0),
    ("chips: from 256 to 1,024", {"chips": 1024}, 0, 0.0),
)  # fmt: skip
_STOP: Final = "length: from 90 epochs to the first crossing of the target"


def waterfall(rows: Sequence[TimelineRow], *, calibration: str = "default") -> Waterfall:
    """FireCaffe to the TPU pod; ``rows`` of both ends are looked up in a timeline.

    A factor depends on what was changed before it: batch and chips help one another. Leaves out: other orders.
    """
    ends = {row.run.id: row for row in rows}
    first, last = ends[FIRST], ends[LAST]
    price = Steps(load(calibration).constants)
    setup, stretch = first.run.setups[0], first.run.phases[0]
    before = time_s(setup, stretch, price)
    changes = []
    for name, fields, batch, epochs in _STEPS:
        setup = replace(setup, **fields)
        stretch = replace(stretch, batch=batch or stretch.batch, epochs=epochs or stretch.epochs)
        after = time_s(setup, stretch, price)
        changes.append(Change(name=name, before_s=before, after_s=after))
        before = after
    stretch = replace(stretch, epochs=predicted_epochs(_run(LAST)))
    after = time_s(setup, stretch, price)
    changes.append(Change(name=_STOP, before_s=before, after_s=after))
    return Waterfall(
        first_s=first.measured_s, last_s=last.measured_s, changes=tuple(changes),
        start_factor=first.measured_s / changes[0].before_s, end_factor=after / last.measured_s,
    )  # fmt: skip


def _run(id: str) -> RecordRun:
    return next(run for run in published_runs() if run.id == id)


def time_s(setup: Setup, stretch: Stretch, price: Steps) -> float:
    """A run of one stretch on a setup [s]."""
    return total_s([stretch.phase()], [price.of(setup, stretch.batch, stretch.image_size).total_s])
