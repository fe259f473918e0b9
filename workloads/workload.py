"""Workload: a network as work, one sample, forward."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from workloads.layer import Layer
from workloads.op import TENSOR_SPLITS, WorkloadError

Hyper = int | float | str | bool

#: Kinds of networks; a word for reports and for pooling errors, never a switch of behaviour.
FAMILIES = ("convnet", "detector", "transformer", "recurrent", "recommender", "scientific", "generative")
#: What one sample is: an image or a volume has no tokens, a record is one row of a table.
SAMPLES = ("image", "volume", "sequence", "utterance", "record")


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The forward work of one training sample, layer by layer; the simulator derives backward, splits and time.

    Attributes
    ----------
    family, sample
        What kind of network it is and what one sample is, as in `FAMILIES` and `SAMPLES`.
    layers
        In forward order; identical blocks are one `Layer` with ``repeat``.
    tokens_per_sample
        Positions of a sequence; 1 for an image.
    hyper
        Hyper-parameters by name (hidden, heads, layers, vocab, seq_len, image_size, ...).
    tied_embeddings
        The head multiplies by the embedding table. Both layers then carry the table's parameters, because each
        pipeline stage that holds one of them holds a copy; `parameters` counts it once.
    source
        Where the shape was published, or that it is recalled.
    assumed
        What the source left open and we filled in, one phrase each.
    """

    name: str
    family: str
    sample: str
    layers: tuple[Layer, ...]
    tokens_per_sample: int = 1
    hyper: Mapping[str, Hyper] = field(default_factory=dict, hash=False)
    tied_embeddings: bool = False
    causal: bool = False
    source: str = ""
    assumed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, legal in (("family", FAMILIES), ("sample", SAMPLES)):
            if getattr(self, name) not in legal:
                raise WorkloadError(
                    f"workload '{self.name}': {name} is '{getattr(self, name)}'. Legal: {', '.join(legal)}."
                )
        if not self.layers:
            raise WorkloadError(f"workload '{self.name}' has no layers; at least one.")
        if self.tokens_per_sample < 1:
            raise WorkloadError(f"workload '{self.name}': tokens_per_sample is {self.tokens_per_sample}; at least 1.")

    @property
    def parameters(self) -> int:
        """Learned parameters; a tied embedding table counts once."""
        return sum(layer.repeat * layer.parameters for layer in self.layers) - self.tied_parameters

    @property
    def tied_parameters(self) -> int:
        """Parameters that two layers share (the embedding table when it is tied, else 0)."""
        if not self.tied_embeddings:
            return 0
        return max((op.parameters for op in self.layers[0].ops if op.kind == "embedding"), default=0)

    @property
    def forward_flop(self) -> int:
        """Forward work of one sample: products, convolutions and full (not causally halved) attention. [FLOP]"""
        return sum(layer.repeat * layer.forward_flop for layer in self.layers)

    @property
    def experts(self) -> int:
        """Experts among which expert parallelism may divide: the greatest number of ranks it can use; 1 without any."""
        counts = [op.experts for layer in self.layers for op in layer.ops if op.experts]
        return math.gcd(*counts) if counts else 1

    @property
    def splits_tensors(self) -> bool:
        """Whether some op has a rule by which tensor parallelism splits it."""
        return any(op.split in TENSOR_SPLITS for layer in self.layers for op in layer.ops)

    @property
    def num_blocks(self) -> int:
        """Repeated blocks (transformer blocks, residual or inception blocks): where a pipeline may be cut evenly."""
        return sum(layer.repeat for layer in self.layers if layer.kind == "block")
