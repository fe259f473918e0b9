"""What the tasks of a step do and send, for trace formats that ask for operations and bytes beside durations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from .kernels.optable import BACKWARD, FORWARD, REPLAY, UNREAD, WEIGHTS
from .lowering import Lowered
from .stack import RECOMPUTE_MODES
from .traffic import gradient_byte_of


@dataclass(frozen=True, kw_only=True)
class StepWork:
    """Work and messages of one rank, by name of the block and direction of the pass; of ONE repeat, one micro-batch.

    ``kernels``: operations [FLOP] and memory traffic [B]. ``tensor_byte``: messages inside layers. ``reduce_byte`` and
    ``gather_byte``: a block's gradients and parameters. ``update_flop``: of a block's update. ``send_byte``: what a
    stage hands on.
    """

    kernels: Mapping[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    tensor_byte: Mapping[tuple[str, str], int] = field(default_factory=dict)
    reduce_byte: Mapping[str, int] = field(default_factory=dict)
    gather_byte: Mapping[str, int] = field(default_factory=dict)
    update_flop: Mapping[str, int] = field(default_factory=dict)
    send_byte: int = 0


def step_work(lowered: Lowered) -> StepWork:
    """Work of the first lowered strategy: what its durations were priced from.

    Leaves out: replays of recomputation at less than every block, messages of experts, context and hybrid parallelism,
    what ranks that share the update leave to others.
    """
    table, shape = lowered.table, int(lowered.shape[0])
    context = lowered.contexts[int(lowered.context[0])]
    mode = RECOMPUTE_MODES[int(lowered.recompute[0])]
    kernels: dict[tuple[str, str], tuple[int, int]] = {}
    tensor_byte: dict[tuple[str, str], int] = {}
    reduce_byte, gather_byte, update_flop = {}, {}, {}
    storage_byte, gradient_byte = context.recipe.storage_byte, gradient_byte_of(context.stack, context.recipe)
    for place, name in enumerate(lowered.block_names):
        again = {"full": (FORWARD,) if lowered.wrapped[shape, place] else (), "selective": (REPLAY,)}.get(mode, ())
        phases = {
            "forward": (FORWARD,),
            "backward": (BACKWARD, WEIGHTS, *again),
            "backward_input": (BACKWARD, *again),
            "backward_weight": (WEIGHTS,),
        }
        here = (table.shape == shape) & (table.block == place)
        for direction, some in phases.items():
            rows = here & np.isin(table.phase, some)
            # A full replay repeats all of the forward pass but what nothing reads.
            sign = np.where(here & (table.phase == UNREAD), -1.0, rows) if FORWARD in some[1:] else rows
            kernels[name, direction] = round(float(table.flop @ sign)), round(float(table.byte @ sign))
        for direction, way in (("forward", "forward"), ("backward", "backward"), ("backward_input", "backward")):
            calls, byte = (getattr(lowered, f"{way}_{word}")[shape, place] for word in ("calls", "byte"))
            tensor_byte[name, direction] = round(float(calls * byte))
        held = float(lowered.parameters[shape, place])
        reduce_byte[name] = round(gradient_byte * held)
        gather_byte[name] = round(storage_byte * held)
        update_flop[name] = round(float(lowered.update_flop[shape, place]))
    return StepWork(
        kernels=kernels, tensor_byte=tensor_byte, reduce_byte=reduce_byte, gather_byte=gather_byte,
        update_flop=update_flop, send_byte=round(float(lowered.boundary_byte[shape])),
    )  # fmt: skip
