"""What software that was measured does with memory: what its figure is, and habits that no column of a row states.

A release keeps other tensors than the one before, on the same stack of steps; so these stand apart from `Stack`, whose
memory fields they replace. Constants that were fitted stand in ``memory_constants.toml``, each within its range here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Final

from hwmodels.datafile import read_toml

GIB: Final = 2.0**30
GB: Final = 1e9
MIB: Final = 2.0**20

READINGS: Final = ("allocated", "reserved", "device")

#: Fields of `Stack` that are fitted for a software, with the range that is plausible: context, libraries and workspace
#: [B]; what eager kernels keep beyond fused ones, as a share; bytes of a logit at the loss; how much of what is
#: gathered stays; what the caching allocator holds beyond the peak, as a share.
RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "framework_reserve_byte": (0.3e9, 4.0e9),
    "eager_kept_share": (0.0, 1.0),
    "loss_byte": (0.0, 20.0),
    "gathered_share": (0.0, 1.0),
    "allocator_share": (0.0, 0.6),
}


@dataclass(frozen=True, kw_only=True)
class MemorySoftware:
    """What one software's memory figure is and rests on.

    ``source``, ``software`` and ``family`` are regular expressions on a row's columns and its workload's family.
    ``reading``: "allocated" (the peak of tensors), "reserved" (what the caching allocator holds), "device" (what the
    driver reports: context and library buffers too). ``unit_byte``: bytes of the printed unit [B]. ``first_rank``: the
    figure is rank 0's, on the first pipeline stage, and not the fullest chip's. ``keeps_alone``: runs
    without a pipeline keep all that sequence parallelism gathers, where that fits (`Stack.gathered_share`). ``usual``:
    the constants that are fitted, with the value they are drawn to. ``fixed``: fields that differ from the stack's.
    ``pure``: parameters, gradients and optimizer state are all in the stored format, without master copies.
    ``doubles``: the allocator takes memory in powers of two. ``unloads``: a state that does not fit stands in the
    host's memory.
    """

    name: str
    source: str
    reading: str
    unit_byte: float
    software: str = ""
    family: str = ""
    first_rank: bool = False
    keeps_alone: bool = False
    usual: Mapping[str, float] = field(default_factory=dict)
    fixed: Mapping[str, bool | float] = field(default_factory=dict)
    pure: bool = False
    doubles: bool = False
    unloads: bool = False

    def __post_init__(self) -> None:
        if self.reading not in READINGS:
            raise ValueError(f"{self.name}: reading is {self.reading!r}; legal: {', '.join(READINGS)}.")
        for name, value in self.usual.items():
            low, high = RANGES[name]
            if not low <= value <= high:
                raise ValueError(f"{self.name}: {name} is {value:g}; from {low:g} to {high:g}.")


_EAGER: Final = {"framework_reserve_byte": 1.5e9, "eager_kept_share": 0.3, "allocator_share": 0.08}
_ARENA: Final = {"framework_reserve_byte": 0.5e9, "allocator_share": 0.08}
#: Context and libraries of CUDA 9 and 10 without a caching framework on top: what a network of 5 million parameters
#: shows [B].
_CONTEXT_BYTE: Final = 0.5e9

#: The first that matches a row. GPU tables print binary units unless the driver's MiB were converted.
SOFTWARE: Final = (
    MemorySoftware(
        name="nanotron", source="nanotron", reading="allocated", unit_byte=GIB, first_rank=True, keeps_alone=True,
        usual={"eager_kept_share": 0.3, "gathered_share": 0.2},
    ),
    MemorySoftware(name="simumax", source="SimuMax", reading="allocated", unit_byte=GIB),
    MemorySoftware(name="zero-bubble", source="Zero Bubble", reading="allocated", unit_byte=GIB),
    MemorySoftware(
        name="primus", source="Primus", reading="device", unit_byte=GIB, usual={"allocator_share": 0.08},
    ),
    MemorySoftware(
        name="torchtitan", source="torchtitan|awsome-distributed", reading="reserved", unit_byte=GIB,
    ),
    MemorySoftware(name="internevo", source="InternEvo", reading="device", unit_byte=GB),
    MemorySoftware(name="bigscience", source="bigscience|Megatron-DeepSpeed", reading="device", unit_byte=GB),
    MemorySoftware(name="oneflow", source="DLPerf", reading="device", unit_byte=GIB),
    # The networks of one framework's examples, in two releases of its containers: kernels scripted in 1.4 keep every
    # step of an element-wise chain.
    MemorySoftware(
        name="pytorch-1.4-transformer", source="lambdal", software=r"PyTorch 1\.4", family="transformer|bert",
        reading="device", unit_byte=GB, usual={**_EAGER, "loss_byte": 8.0},
    ),
    MemorySoftware(
        name="pytorch-1.10-transformer", source="lambdal", family="transformer|bert", reading="device", unit_byte=GB,
        usual={**_EAGER, "loss_byte": 8.0},
    ),
    MemorySoftware(
        name="pytorch-recurrent", source="lambdal", family="recurrent", reading="device", unit_byte=GB,
        usual={"framework_reserve_byte": 1.5e9, "loss_byte": 12.0, "allocator_share": 0.3},
    ),
    MemorySoftware(
        name="pytorch-detector", source="lambdal", family="detector", reading="device", unit_byte=GB, usual=_ARENA,
    ),
    MemorySoftware(name="pytorch-convnet", source="lambdal", reading="device", unit_byte=GB, usual=_ARENA),
    MemorySoftware(
        name="tensorflow-1", source="PaddlePaddle/benchmark", software="TensorFlow", reading="device", unit_byte=GB,
        doubles=True,
        fixed={"unrolls_recurrence": True, "framework_reserve_byte": _CONTEXT_BYTE, "allocator_share": 0.08},
    ),
    MemorySoftware(
        name="paddle-1", source="PaddlePaddle/benchmark", reading="device", unit_byte=GB,
        usual={"allocator_share": 0.08}, fixed={"unrolls_recurrence": True, "framework_reserve_byte": _CONTEXT_BYTE},
    ),
    MemorySoftware(name="vdnn", source="vDNN", reading="device", unit_byte=GB),
    # Recipes for one chip and for few: everything in bf16, and in the host's memory what does not fit.
    MemorySoftware(
        name="torchtune", source="torchtune", reading="allocated", unit_byte=GIB, pure=True, unloads=True,
        usual={"loss_byte": 4.0},
    ),
    MemorySoftware(name="deepspeed", source="stas00", reading="allocated", unit_byte=GIB),
    MemorySoftware(name="colossalai", source="ColossalAI", reading="allocated", unit_byte=GIB),
)  # fmt: skip
#: Of a source that is not in the table.
OTHER: Final = MemorySoftware(name="other", source="", reading="allocated", unit_byte=GB)

#: (source, model) -> sequence length or image size of the largest batch, where shapes vary and the peak is its: steps
#: that the program allocates for first, the largest of its random image sizes.
LARGEST: Final = (("lambdal", "^GNMT", 50), ("PaddlePaddle", "^YOLOv3", 608))


@cache
def software_of(source: str, software: str, family: str) -> MemorySoftware:
    """The software that a row was measured on, as far as its memory goes."""
    for one in SOFTWARE:
        if all(re.search(p, t) for p, t in ((one.source, source), (one.software, software), (one.family, family))):
            return one
    return OTHER


@cache
def _file() -> Mapping[str, Mapping[str, Mapping[str, float]]]:
    found = files("simulator") / "data" / "memory_constants.toml"
    return {part: table for part, table in read_toml(str(found)).data.items() if isinstance(table, dict)}


def constants_of(software: MemorySoftware) -> Mapping[str, float]:
    """A software's constants: those fitted on all measured rows, the usual where nothing was."""
    return {**software.usual, **_file().get("constants", {}).get(software.name, {})}


def factors_of(software: MemorySoftware) -> tuple[float, float]:
    """Ends of the 80 % interval of measured over predicted, from rows of groups left out."""
    table = _file().get("intervals", {})
    found = table.get(software.name) or table.get(OTHER.name) or {"low": 0.7, "high": 1.4}
    return found["low"], found["high"]
