"""Gradient exchange that does not hide under the last backward pass, in exact integers."""

from __future__ import annotations

from collections.abc import Sequence

from simulator.composition.passes import Pipeline, compute_ps, in_backward_order, tensor_ps
from simulator.schedules.route import Stop
from simulator.schedules.task import Kind, Task
from simulator.stepspec import BlockSpec, StageSpec


def exposed_ps(pipeline: Pipeline, rank: int) -> int:
    """Exchange that a rank waits for after its last pass: none, all of it, or what does not hide, by mode [ps]."""
    spec = pipeline.spec
    if spec.gradient_mode == "after":
        return sum(stage.reduce_after_ps for stage in pipeline.stages_of(rank))
    if spec.gradient_mode != "backward":
        return 0
    kind, _, chunk = last_task(pipeline, rank)
    others = [b for c in pipeline.chunks if c != chunk for b in pipeline.blocks(Stop(rank, c))]
    # The exchange runs beside the send that ends the last pass, where that holds the rank.
    before = pipeline.stops[Stop(rank, chunk)].before
    sends = pipeline.traits.sends_hold and before is not None and before.rank != rank
    return _exposed_ps(pipeline.blocks(Stop(rank, chunk)), others, kind, spec.send_ps if sends else 0)


def last_task(pipeline: Pipeline, rank: int) -> Task:
    """The task under which a rank's gradients are exchanged: its last."""
    # A short run ends as a long one does.
    spec, stages = pipeline.spec, len(pipeline.spec.stages)
    short = min(spec.micro_batches, 2 * stages)
    *_, last = pipeline.order(rank, short)
    return last


def exposed_reduce_ps(stage: StageSpec, send_ps: int = 0) -> int:
    """Gradient exchange that does not hide under the stage's last backward pass, in mode "backward" [ps].

    The last pass is that of chunk 0 (where weight gradients run apart, that of the last weight gradients). With its
    blocks in backward order, repeats expanded, ``ready_j`` the time block ``j``'s backward is done after the pass
    began, ``B`` that of the last, ``send_ps`` the send behind it, and an in-order stream::

        end = max_j(ready_j + sum_{k >= j} reduce_k),   exposed = max(0, end - B - send)

    Gradients of the other chunks count as ready when the pass begins and go first.
    """
    first, *others = stage.chunks
    return _exposed_ps(first, [block for chunk in others for block in chunk], "backward", send_ps)


def _exposed_ps(blocks: Sequence[BlockSpec], others: Sequence[BlockSpec], kind: Kind, send_ps: int) -> int:
    still_to_come = sum(block.repeat * block.reduce_ps for block in blocks)
    ready = 0
    end = still_to_come + sum(block.repeat * block.reduce_ps for block in others)
    for block in in_backward_order(blocks):
        ready += compute_ps(kind, block) + tensor_ps(kind, block)
        end = max(end, ready + still_to_come)
        still_to_come -= block.reduce_ps
    return max(0, end - ready - send_ps)
