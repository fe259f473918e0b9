"""The suites of the probe, one file each."""

from collections.abc import Mapping
from typing import Final

from ..case import Suite
from . import (
    attention,
    collectives,
    convolution,
    copies,
    embedding,
    gemm,
    launch,
    layers,
    memory,
    neighbours,
    optimizer,
    overlap,
    recurrent,
    training,
    vector,
)

#: In the order in which a round of the probe visits them.
SUITES: Final[Mapping[str, Suite]] = {
    module.SUITE.name: module.SUITE
    for module in (
        gemm, memory, vector, convolution, launch, attention, optimizer, embedding, layers, training, recurrent, copies,
        overlap, collectives, neighbours,
    )
}  # fmt: skip
