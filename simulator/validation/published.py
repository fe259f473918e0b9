"""What a run's own files say where its row of the table is blank, or holds another phase's value.

Competition entries and published configuration files state image sizes, batches, layouts and number formats that the
tables made from them leave out. Each line below is read in such a file; none is chosen by how well it fits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Published:
    """Columns of the rows whose source, model and software match, with ``chips`` chips where that is not 0."""

    source: str
    model: str
    columns: Mapping[str, str]
    software: str = ""
    chips: int = 0
    why: str


#: An entry's rate is that of its median epoch: its image size and batch are those of the phase that epoch lies in.
_ENTRY: Final = "the median epoch of the entry's own schedule"
_CONFIG: Final = "the source's configuration file"

#: The first line that matches holds.
TABLE: Final = (
    Published(
        source="DAWNBench", model="ResNet50", software="AIACC", chips=8, columns={"image_size": "96"}, why=_ENTRY
    ),
    Published(source="DAWNBench", model="ResNet50", software="AIACC", columns={"image_size": "128"}, why=_ENTRY),
    Published(source="DAWNBench", model="ResNet", software="Moxing", columns={"image_size": "128"}, why=_ENTRY),
    Published(
        source="DAWNBench", model="ResNet-50", software="Huawei Optimized MXNet", why=_ENTRY,
        columns={"image_size": "224", "global_batch": "20480"},
    ),
    Published(
        source="DAWNBench", model="ResNet-50", software=r"PyTorch 0\.4\.1", chips=128, why=_ENTRY,
        columns={"image_size": "224", "global_batch": "24576"},
    ),
    Published(
        source="DAWNBench", model="ResNet-50", software="ncluster", chips=32, why=_ENTRY,
        columns={"image_size": "224", "global_batch": "7168"},
    ),
    Published(
        source="DAWNBench", model="ResNet-50", software="ncluster", chips=64, why=_ENTRY,
        columns={"image_size": "224", "global_batch": "14336"},
    ),
    Published(
        source="DAWNBench", model="(?i)ResNet 50 v1$", software="horovod", chips=8, why=_ENTRY,
        columns={"image_size": "224", "global_batch": "2048"},
    ),
    # Half of the epochs are of 128 pixels, half of 224: the median lies between, as if of 182.
    Published(
        source="DAWNBench", model="ResNet-50", software="ncluster", chips=4, why=_ENTRY,
        columns={"image_size": "182", "global_batch": "448"},
    ),
    # Each of four workers takes 512.
    Published(
        source="DAWNBench", model="(?i)Custom ResNet 9", chips=4, columns={"global_batch": "2048"},
        why="the entry's command line",
    ),
    # tensorpack's cifar10-resnet.py: 18 units a stage unless told, batches of 128, in fp32.
    Published(
        source="DAWNBench", model="^ResNet-?50$", software="tensorpack", chips=1, why="the entry's program",
        columns={"model": "resnet110-cifar", "global_batch": "128", "precision": "fp32"},
    ),
    Published(
        source="DAWNBench", model="^ResNet-?50$", software="tensorpack", chips=8, why="the entry's program",
        columns={"image_size": "224", "global_batch": "512", "precision": "fp32"},
    ),
    Published(source="DAWNBench", model="DrQA|BiDAF|Fusion", columns={"precision": "fp32"}, why="the entry's program"),
    Published(
        source="Ying|1811.06992", model="ResNet-50", columns={"global_batch": "32768"}, why="the paper's abstract"
    ),
    Published(
        source="Pythia", model=r"Pythia-(70|160|410)M", why=_CONFIG,
        columns={"micro_batch": "32", "recompute": "full", "software": "GPT-NeoX, FlashAttention"},
    ),
    Published(source="Pythia", model=r"Pythia-1B", why=_CONFIG, columns={"micro_batch": "16", "recompute": "full"}),
    Published(
        source="Pythia", model=r"Pythia-6\.9B", why=_CONFIG,
        columns={"micro_batch": "8", "tp": "2", "pp": "1", "recompute": "full", "software": "GPT-NeoX, FlashAttention"},
    ),
    Published(
        source="Pythia", model=r"Pythia-12B", why=_CONFIG,
        columns={"micro_batch": "8", "tp": "4", "pp": "1", "recompute": "full", "software": "GPT-NeoX, FlashAttention"},
    ),
)  # fmt: skip

#: Images of ImageNet's training set, which a pass goes over.
_IMAGENET: Final = 1_281_167
#: (source, model, images of a pass) of entries whose file gives hours in its column of epochs and the reverse: the
#: table's "images/s" is images x (hours of an epoch) / 3600 s.
SWAPPED: Final = (("DAWNBench", "^ResNet152$", _IMAGENET),)


def swapped_value_per_s(config: Mapping[str, str], samples_per_step: float) -> float:
    """What a row's value is per second of a step where its file has hours and epochs swapped, else 0 [1/s^2].

    .. math:: v = \\frac{n}{3600} \\cdot \\frac{n\\, t_{step} / b}{3600}

    with n images of a pass and b of a step: the value is n over the "seconds of an epoch", 3600 s over its hours.
    """
    for source, model, images in SWAPPED:
        if re.search(source, config["source"]) and re.search(model, config["model"]):
            return (images / 3600.0) ** 2 / samples_per_step
    return 0.0


def completed(config: Mapping[str, str], assumed: list[str]) -> dict[str, str]:
    """A row with what its run's own files say, each filling listed in ``assumed``."""
    for line in TABLE:
        chips = not line.chips or config["num_chips"] == str(line.chips)
        named = re.search(line.source, config["source"]) and re.search(line.model, config["model"])
        if chips and named and re.search(line.software, config["software"]):
            words = ", ".join(f"{name} {value}" for name, value in line.columns.items())
            assumed.append(f"{words}: {line.why}")
            return {**config, **line.columns}
    return dict(config)
