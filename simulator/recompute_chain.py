"""A chain of layers that goes forward and back, the steps of a schedule over it, and what they hold and take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .kernels.optable import Floats

#: Forward with all kept; forward with the input kept; forward with nothing kept; backward.
StepKind = Literal["keep", "store", "pass", "back"]
#: Layers of one chain, at most: the search takes the cube of it.
MOST_LAYERS: Final = 256


class Step(NamedTuple):
    """One pass of one layer; ``variant`` says which of a layer's ways to keep its activations."""

    kind: StepKind
    layer: int
    variant: int = 0


@dataclass(frozen=True, kw_only=True)
class Chain:
    """n layers in forward order, each with V ways to keep what its backward pass needs.

    ``forward_s`` (n,); ``backward_s`` and ``kept_byte`` (n, V): what way v keeps, the layer's input among it where the
    backward pass needs it, and the backward pass then (selective recomputation: less kept, longer). ``input_byte``
    (n,): the input alone. ``gradient_byte`` (n,): the gradient of the input. ``working_byte`` (n,): what a backward
    pass holds besides. The loss's output counts nothing.
    """

    forward_s: Floats
    backward_s: Floats
    kept_byte: Floats
    input_byte: Floats
    gradient_byte: Floats
    working_byte: Floats

    @classmethod
    def of(
        cls,
        forward_s: ArrayLike,
        backward_s: ArrayLike,
        kept_byte: ArrayLike,
        input_byte: ArrayLike,
        *,
        gradient_byte: ArrayLike | None = None,
        working_byte: ArrayLike = 0.0,
    ) -> Chain:
        """A checked chain; gradients are as large as inputs unless told otherwise, the network's input has none.

        Raises
        ------
        ValueError
            For shapes that do not match, negative or endless numbers, too many layers.
        """
        forward = np.atleast_1d(np.asarray(forward_s, dtype=np.float64))
        if forward.ndim != 1 or not len(forward):
            raise ValueError(f"recomputation: forward_s has shape {forward.shape}; legal: one number for every layer.")
        n = len(forward)
        if n > MOST_LAYERS:
            raise ValueError(f"recomputation: {n} layers; at most {MOST_LAYERS}. Join neighbours to one.")
        backward, kept = (np.asarray(value, dtype=np.float64) for value in (backward_s, kept_byte))
        backward, kept = (each[:, None] if each.ndim == 1 else each for each in (backward, kept))
        inputs = np.asarray(input_byte, dtype=np.float64)
        if gradient_byte is None:
            gradient_byte = np.concatenate([[0.0], inputs[1:]]) if inputs.shape == (n,) else inputs
        ways = kept.shape[1] if kept.ndim == 2 else 1
        shapes = {
            "backward_s": (backward, (n, ways)), "kept_byte": (kept, (n, ways)), "input_byte": (inputs, (n,)),
            "gradient_byte": (gradient_byte, (n,)), "working_byte": (working_byte, (n,)),
        }  # fmt: skip
        found = {"forward_s": forward}
        for name, (value, shape) in shapes.items():
            try:
                found[name] = np.broadcast_to(np.asarray(value, dtype=np.float64), shape)
            except ValueError:
                raise ValueError(f"recomputation: {name} has shape {np.shape(value)}; legal: {shape}.") from None
        for name, array in found.items():
            if not np.isfinite(array).all() or (array < 0).any():
                raise ValueError(
                    f"recomputation: {name} has numbers that are negative or not finite; legal: 0 or more."
                )
        return cls(**found)

    @property
    def layers(self) -> int:
        """Number of layers."""
        return len(self.forward_s)

    @property
    def plain_s(self) -> float:
        """Forward and backward pass with all kept and nothing replayed [s]."""
        return float(self.forward_s.sum() + self.backward_s[:, 0].sum())

    @property
    def output_byte(self) -> Floats:
        """What every layer hands on; shape (n,) [B]."""
        return np.append(self.input_byte[1:], 0.0)

    @property
    def output_gradient_byte(self) -> Floats:
        """Gradient of what every layer hands on; shape (n,) [B]."""
        return np.append(self.gradient_byte[1:], 0.0)


@dataclass(frozen=True, kw_only=True)
class RecomputePlan:
    """A schedule of passes and what it takes.

    ``held_byte``: memory during every step, shape (steps,). ``extra_s``: over a step that keeps all. ``kept``: which
    way a layer keeps its activations from its first forward pass on, -1 where it is replayed; shape (n,).
    """

    steps: tuple[Step, ...]
    step_s: float
    extra_s: float
    held_byte: Floats
    kept: tuple[int, ...]

    @property
    def peak_byte(self) -> float:
        """Most memory held during a step [B]."""
        return float(self.held_byte.max())

    @property
    def replays(self) -> int:
        """Layers run forward again."""
        return len([step for step in self.steps if step.kind != "back"]) - len(self.kept)


def run_steps(chain: Chain, steps: Sequence[Step]) -> RecomputePlan:
    """Go through a schedule pass by pass and add up time and memory.

    A forward pass holds its input (or all it keeps, the input within) and its output, a backward pass what was kept and
    the gradients of output and input; everything else that is held comes on top. What is stored stays until the layer
    goes back.

    Raises
    ------
    ValueError
        Where a pass has not what it needs, or a layer does not go back.
    """
    stored: set[int] = {0}
    moving: int | None = None
    kept: dict[int, int] = {}
    first: dict[int, int] = {}
    back = chain.layers
    held, seconds = [], 0.0
    for place, (kind, layer, variant) in enumerate(steps):
        where = f"recomputation: step {place}, {kind} of layer {layer}"
        rest = sum(chain.input_byte[x] for x in stored if x != layer)
        rest += sum(chain.kept_byte[x, way] for x, way in kept.items() if x != layer)
        if kind == "back":
            if layer != back - 1 or layer not in kept:
                raise ValueError(f"{where}: not what goes back next, or nothing of it is kept.")
            way = kept.pop(layer)
            now = chain.kept_byte[layer, way] + chain.output_gradient_byte[layer] + chain.gradient_byte[layer]
            held.append(rest + now + chain.working_byte[layer])
            seconds += chain.backward_s[layer, way]
            back, moving = layer, None
            continue
        if layer not in stored and layer != moving:
            raise ValueError(f"{where}: its input is not there.")
        if layer >= back:
            raise ValueError(f"{where}: has gone back already.")
        first.setdefault(layer, variant if kind == "keep" else -1)
        seconds += chain.forward_s[layer]
        own = chain.input_byte[layer]
        if kind == "keep":
            own = max(own, chain.kept_byte[layer, variant])
            kept[layer] = variant
            stored.discard(layer)
        elif kind == "store":
            stored.add(layer)
        waiting = chain.output_gradient_byte[back - 1]
        held.append(rest + own + chain.output_byte[layer] + waiting)
        moving = layer + 1
    if back:
        raise ValueError(f"recomputation: layer {back - 1} does not go back.")
    return RecomputePlan(
        steps=tuple(steps), step_s=seconds, extra_s=seconds - chain.plain_s, held_byte=np.array(held),
        kept=tuple(first[layer] for layer in range(chain.layers)),
    )  # fmt: skip
