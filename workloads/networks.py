"""Networks that are laid out in code: the names a data file may use, and the functions behind them.

A module that lays out networks names them in a dictionary ``NETWORKS``; a data file picks one by its key and gives its
options. Nothing else can be called from a file.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import Final, get_type_hints

from workloads.workload import Workload

Network = Callable[..., Workload]

#: Modules of this package with a dictionary ``NETWORKS``.
MODULES: Final = (
    "classic_convnets", "compressed_attention", "convnet", "dalle", "deeplab", "densenet", "detection",
    "diffusion", "dlrm", "efficientdet", "efficientnet", "electra", "encoder_decoder", "equivariant",
    "googlenet", "interest", "latent_attention", "linear_attention", "mixture", "mobile", "moflow", "nasnet",
    "perceiver", "reading", "recommender", "recurrent", "reinforcement", "residual", "science_nets",
    "segmentation", "speech", "state_space", "switch", "synthesis", "transformer_xl", "translation",
    "two_stage", "vision_transformer", "volumes", "wan", "yolo",
)  # fmt: skip

#: Options that a question sets, not a data file.
SIZES: Final = ("seq_len", "image_size")


@cache
def networks() -> Mapping[str, Network]:
    """Every network that is laid out in code, by the key that data files use."""
    found: dict[str, Network] = {}
    for module in MODULES:
        own: Mapping[str, Network] = import_module(f"workloads.{module}").NETWORKS
        for key, function in own.items():
            if key in found:
                raise ValueError(f"workloads.{module}: network '{key}' is also in another module.")
            found[key] = function
    return found


@cache
def options(key: str) -> Mapping[str, type]:
    """Options of a network that a data file may set, and their types (a list for pairs and triples)."""
    function = networks()[key]
    hints = get_type_hints(function)
    found: dict[str, type] = {}
    for name in inspect.signature(function).parameters:
        if name not in ("name", "source", "assumed"):
            found[name] = hints[name] if hints[name] in (int, float, str, bool) else list
    return found


def takes(key: str, option: str) -> bool:
    """Whether a network has an option."""
    return option in inspect.signature(networks()[key]).parameters
