"""What hosts add to the step of measured runs: input pipelines that bind, and tables that stand on the hosts.

A run is bound by its input only where its host and its program are known: how many cores prepare samples, and how long
a core takes. Both are read from the program or timed apart; a run of any other program is fed in time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..constants import Constants
from ..kernels.optable import Floats
from ..outcome.input import IMAGE_CORE_S


@dataclass(frozen=True, kw_only=True)
class Reader:
    """How a program prepares samples: ``core_s`` of one sample, the ``cores`` of one job that do it, and ``prefetch``.

    ``cores`` 0: as many as the readers of one process of Python keep busy, a fitted constant; ``in_python``: an
    iterator in Python hands over sample after sample, whose time is fitted too.

    It holds for rows whose words match ``source``, ``model``, ``software``, ``chip`` and ``data`` (their input).

    ``prefetch`` 0: a batch is begun when it is asked for, and the chips wait for all of it.
    """

    source: str
    model: str
    software: str = ""
    chip: str = ""
    data: str = ""
    core_s: float
    cores: float
    in_python: bool = False
    prefetch: int = 2
    why: str


#: Pixels that an image of ImageNet has when it is read, and when it is fed: what `IMAGE_CORE_S` stands for.
_IMAGENET_PIXELS: Final = 500 * 375 + 224 * 224


def image_core_s(read_pixels: float, fed_pixels: float) -> float:
    """Core-seconds to decode and augment an image, by the pixels it is read and fed with [s]."""
    return IMAGE_CORE_S * (read_pixels + fed_pixels) / _IMAGENET_PIXELS


READERS: Final = (
    Reader(
        source="DAWNBench", model="DrQA", core_s=2.0e-3, cores=1.0, prefetch=0,
        why="the program fills tensors token by token before a step: 140 tokens of 4 assignments, 3.5 us each",
    ),
    Reader(
        source="DLPerf", model="ArcFace MobileFaceNet", software="^MXNet", core_s=image_core_s(112 * 112, 112 * 112),
        cores=1.0, in_python=True, why="the program's iterator of faces is one Python process for all chips",
    ),
    # TensorFlow 2.3 on servers of two 64-core hosts, as most with this chip have; the table does not say.
    Reader(
        source="lambda-tensorflow-benchmark", model="", chip="A100", data="real", core_s=IMAGE_CORE_S, cores=128.0,
        why="128 cores, assumed, decode images",
    ),
    Reader(
        source="PaddlePaddle/benchmark", model="YOLOv3", core_s=image_core_s(640 * 480, 608 * 608),
        cores=0.0, why="the source's readers are Python programs of one process",
    ),
    Reader(
        source="PaddlePaddle/benchmark", model="DeepLab", core_s=image_core_s(2048 * 1024, 769 * 769),
        cores=0.0, why="the source's readers are Python programs of one process",
    ),
    Reader(
        source="PaddlePaddle/benchmark", model="SE-ResNeXt", core_s=image_core_s(500 * 375, 224 * 224),
        cores=0.0, why="the source's readers are Python programs of one process",
    ),
)  # fmt: skip

#: (source, model, look-ups of a sample, bytes of a row) of runs whose table is on the hosts, updated there.
HOST_TABLES: Final = (("MindSpore benchmark", "host-device", 39, 320.0),)


@dataclass(frozen=True, kw_only=True)
class HostWork:
    """What hosts do for a step; ``waited`` for by the chips, or running beside them.

    ``seconds`` are known; ``core_s`` [s] is shared by the readers of one process, ``handed`` counts samples of an
    iterator in Python, ``rows`` look-ups of one process in tables on hosts, ``summed_byte`` what each process sums [B].
    """

    waited: bool
    seconds: float = 0.0
    core_s: float = 0.0
    handed: float = 0.0
    rows: float = 0.0
    summed_byte: float = 0.0

    @property
    def amounts(self) -> tuple[float, ...]:
        """As `host_seconds` takes them."""
        return self.seconds, self.core_s, self.handed, self.rows, self.summed_byte


#: Hosts that feed their chips in time.
NO_HOST_WORK: Final = HostWork(waited=False)


def host_seconds(amounts: Floats, constants: Constants) -> Floats:
    r"""Seconds that hosts work for a step; amounts (jobs, 5) as `HostWork.amounts`, result (jobs,).

    .. math:: t = t_0 + c / k + n\, t_{sample} + r\, t_{row} + b / B

    with the constants ``reader_cores`` k, ``reader_sample_s``, ``host_row_s`` and ``host_sum_rate`` B.
    """
    each_s = (
        1.0 / constants.get("reader_cores"), constants.get("reader_sample_s"), constants.get("host_row_s"),
        1.0 / constants.get("host_sum_rate"),
    )  # fmt: skip
    total = amounts[:, 0].copy()
    for column, seconds in enumerate(each_s, start=1):
        some = amounts[:, column] > 0.0
        total[some] += amounts[some, column] * seconds
    return total


def fed_s(step_s: Floats, host_s: Floats, waited: NDArray[np.bool_]) -> Floats:
    """Seconds from step to step with what hosts work for each, shape (jobs,) each.

    .. math:: T = t_{step} + t_{host} \\text{ where chips wait}, \\qquad T = \\max(t_{step}, t_{host}) \\text{ else}

    `outcome.input.fed_step_s` of one stage, over jobs. Leaves out: a queue that runs empty now and then.
    """
    return np.asarray(np.where(waited, step_s + host_s, np.maximum(step_s, host_s)))


def host_work(config: Mapping[str, str], samples: float, chips: int, assumed: list[str]) -> HostWork:
    """What the hosts do for one step of a row of so many samples, nothing where that is not known."""
    for source, model, lookups, row_byte in HOST_TABLES:
        if re.search(source, config["source"]) and re.search(model, config["model"]):
            rows = samples * lookups
            assumed.append(f"tables on the hosts: {rows:.3g} look-ups of a step")
            return HostWork(waited=True, rows=rows / chips, summed_byte=rows * row_byte)
    for reader in READERS:
        words = (
            (reader.source, "source"), (reader.model, "model"), (reader.software, "software"), (reader.chip, "chip"),
            (reader.data, "input_data"),
        )  # fmt: skip
        if config["input_data"] != "synthetic" and all(re.search(word, config[column]) for word, column in words):
            core_s, waited = samples * reader.core_s, reader.prefetch == 0
            if not reader.cores:
                assumed.append(f"input {1.0 / reader.core_s:.0f} samples/s of a core at most: {reader.why}")
                return HostWork(waited=waited, core_s=core_s)
            assumed.append(f"input {reader.cores / reader.core_s:.0f} samples/s at most: {reader.why}")
            handed = samples if reader.in_python else 0.0
            return HostWork(waited=waited, seconds=core_s / reader.cores, handed=handed)
    return NO_HOST_WORK
