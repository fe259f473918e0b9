"""Storage against depth: what keeping less and replaying more saves, and what it costs.

The planner of an optimal schedule is elsewhere; these are the closed forms that it can be held against.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, comb, sqrt

from workloads.layer import COUNTED_KINDS, Layer
from workloads.workload import Workload


@dataclass(frozen=True, kw_only=True)
class Storage:
    """``kept``: activations held at the peak, in those of one layer. ``replays``: layers run forward again."""

    kept: float
    replays: int


def even_storage(depth: int, segments: int) -> Storage:
    """Keep the input of every one of ``segments`` equal stretches, replay one at a time.

    Kept: segments + ceil(depth / segments), least (2 sqrt(depth)) at sqrt(depth) segments. Every layer but those of the
    last stretch, whose activations are still there, runs forward once more.

    References
    ----------
    Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost, section 4, arXiv:1604.06174.
    """
    if depth < 1 or not 1 <= segments <= depth:
        raise ValueError(f"even_storage: {segments} segments of {depth} layers; 1 to the number of layers.")
    if segments == 1:
        return Storage(kept=float(depth), replays=0)
    longest = ceil(depth / segments)
    return Storage(kept=float(segments + longest), replays=longest * (ceil(depth / longest) - 1))


def recursive_storage(depth: int, snapshots: int) -> Storage:
    """Keep ``snapshots`` inputs at a time and replay stretches of stretches: the fewest replays there can be.

    With s inputs kept at a time (the network's own among them) and no layer run forward more than r times before its
    reversal, comb(s + r, s) layers can be reversed. With the least such r, the layers run
    r depth - comb(s + r, s + 1) times in all, of which the first sweep, depth - 1, is no replay. Held besides are the
    activations of the one layer that is going back.

    References
    ----------
    Griewank and Walther 2000, Algorithm 799: revolve, theorem 1, ACM TOMS 26(1).
    """
    if depth < 1 or snapshots < 1:
        raise ValueError(f"recursive_storage: {depth} layers and {snapshots} snapshots; at least 1 of each.")
    repeats = 0
    while comb(snapshots + repeats, snapshots) < depth:
        repeats += 1
    runs = repeats * depth - comb(snapshots + repeats, snapshots + 1)
    return Storage(kept=float(min(snapshots, depth) + 1), replays=max(runs - (depth - 1), 0))


def storage_against_depth(depths: Sequence[int], *, way: str) -> tuple[Storage, ...]:
    """Storage of networks of equal layers: ``all`` kept, ``even`` (sqrt(n) stretches), ``recursive`` (log2 n inputs).

    Raises
    ------
    ValueError
        For another way.
    """
    if way == "all":
        return tuple(Storage(kept=float(n), replays=0) for n in depths)
    if way == "even":
        return tuple(even_storage(n, max(1, round(sqrt(n)))) for n in depths)
    if way == "recursive":
        return tuple(recursive_storage(n, max(1, (n - 1).bit_length())) for n in depths)
    raise ValueError(f"storage_against_depth: way is {way!r}; legal: all, even, recursive.")


@dataclass(frozen=True, kw_only=True)
class BlockInputs:
    """Keeping only what enters a block, against keeping every tensor that an op writes.

    ``all_byte`` and ``kept_byte``: one copy of the weights and the tensors, the second with those of the one block that
    is being replayed [B]. ``compute_share``: replayed forward work over that of a step.
    """

    all_byte: float
    kept_byte: float
    compute_share: float

    @property
    def saved_share(self) -> float:
        """Share of memory that is saved."""
        return 1.0 - self.kept_byte / self.all_byte


def block_inputs(workload: Workload, *, batch: int, element_byte: float = 2.0) -> BlockInputs:
    """What a network takes that memorises tensors at the input of residual blocks only (layers of kind ``block``).

    A block is replayed up to its last product: what that writes only enters the sum that the next block's input already
    holds. Stem and head keep their inputs likewise. Work of a step is three forward passes.

    Leaves out: workspace, and that normalisations need the last product's output too where they follow it.

    References
    ----------
    Knowles, Graphcore Intelligent Processing Unit, NIPS 2017 workshop (batch 16, 16-bit weights and activations, one
    copy of the weights, total memory allocated).
    """
    weights = element_byte * workload.parameters
    everything = kept = tallest = replayed = 0.0
    for layer in workload.layers:
        tensors = element_byte * batch * sum(op.write_elements for op in layer.ops)
        everything += layer.repeat * tensors
        tallest = max(tallest, tensors)
        kept += layer.repeat * element_byte * batch * layer.ops[0].read_elements
        if layer.kind == "block":
            replayed += layer.repeat * _replayed_flop(layer)
    forward = sum(layer.repeat * layer.forward_flop for layer in workload.layers)
    return BlockInputs(
        all_byte=weights + everything, kept_byte=weights + kept + tallest, compute_share=replayed / (3.0 * forward)
    )


def _replayed_flop(layer: Layer) -> float:
    """Forward work of one repeat of a block without its last product."""
    products = [op.forward_flop for op in layer.ops if op.kind in COUNTED_KINDS]
    return float(sum(products[:-1]))
