"""The step time in closed form, one strategy at a time, in exact integers.

The plain twin of the array engine: the same equations, written to be read and checked against by hand. The critical
path of a pipeline of like stages with nothing contending; the word for its result is "bound".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

from simulator.schedules import SCHEDULES
from simulator.stepspec import BlockSpec, StageSpec, StepSpec, StepSpecError, StepTime


def bound(spec: StepSpec) -> StepTime:
    """Length of one step and its parts, in closed form [ps].

    With ``F'_i``, ``B'_i`` the time stage ``i`` of ``p`` needs for one micro-batch, its sends included, ``v`` chunks,
    ``m`` micro-batches and ``k`` the stage with the largest ``F' + B'`` (the first of equals)::

        pipeline  = m (F'_k + B'_k) + ceil(sum_{i != k} (F'_i + B'_i) / v)
        left_i    = pipeline - ceil(sum_{j < i} B'_j / v)             stage i's last backward pass is done
        gradients = max(pipeline, max_i(left_i + exposed_i))
        total     = fixed + gradients + max_i optimizer_i + max_i update_gather_i

    ``exposed_i`` is 0 in mode "none", the whole exchange in mode "after", and in mode "backward" what does not hide
    under the stage's last backward pass (`exposed_reduce_ps`). Mode "sharded" replaces pipeline and gradients by
    `sharded_passes_ps`. The parts are those of stage ``k``; what is left over is the bubble.

    Leaves out: contention; waits that come from stages being unlike or from sends that hold the sender. It equals the
    event engine to the tick where stages (and their chunks) are alike and sends are free. Otherwise it is no strict
    lower bound: a 1F1B pipeline of unlike stages can be faster (a slow first stage hides the others), a GPipe one is
    slower (forward and backward passes each follow their own slowest stage), an interleaved one either.

    Raises
    ------
    StepSpecError
        In mode "sharded" with more than one pipeline stage.

    References
    ----------
    Narayanan et al., Efficient Large-Scale Language Model Training on GPU Clusters Using Megatron-LM, 2021,
    section 2.2.
    """
    stages, m, v = spec.stages, spec.micro_batches, spec.virtual_stages
    last = len(stages) - 1
    forward = [forward_ps(stage) + forward_sends(i, last, v) * spec.send_ps for i, stage in enumerate(stages)]
    backward = [backward_ps(stage) + backward_sends(i, last, v) * spec.send_ps for i, stage in enumerate(stages)]
    both = [f + b for f, b in zip(forward, backward, strict=True)]
    k = both.index(max(both))
    pipeline = m * both[k] + _divide_up(sum(both) - both[k], v)

    if spec.gradient_mode == "sharded":
        gradients = sharded_passes_ps(spec)
    else:
        before = list(accumulate(backward, initial=0))[:-1]
        left = [pipeline - _divide_up(backward_before, v) for backward_before in before]
        gradients = max(pipeline, *(end + _exposed_ps(spec, stage) for end, stage in zip(left, stages, strict=True)))

    pace = stages[k].blocks
    compute = m * sum(b.repeat * (b.forward_ps + b.backward_ps) for b in pace)
    tensor = m * sum(b.repeat * (b.forward_tensor_ps + b.backward_tensor_ps) for b in pace)
    return StepTime(
        engine="bound",
        compute_ps=compute,
        tensor_ps=tensor,
        pipeline_ps=m * both[k] - compute - tensor,
        bubble_ps=pipeline - m * both[k],
        data_ps=gradients - pipeline,
        optimizer_ps=max(s.optimizer_ps for s in stages) + max(s.update_gather_ps for s in stages),
        fixed_ps=spec.fixed_ps,
    )


def forward_ps(stage: StageSpec) -> int:
    """Forward pass of one micro-batch through all chunks of a stage, without sends [ps]."""
    return sum(b.repeat * (b.forward_ps + b.forward_tensor_ps) for b in stage.blocks)


def backward_ps(stage: StageSpec) -> int:
    """Backward pass of one micro-batch through all chunks of a stage, without sends [ps]."""
    return sum(b.repeat * (b.backward_ps + b.backward_tensor_ps) for b in stage.blocks)


def forward_sends(stage: int, last: int, virtual_stages: int) -> int:
    """Sends of one micro-batch's forward pass: one per chunk, but none after the model's last chunk."""
    return 0 if last == 0 else virtual_stages - (stage == last)


def backward_sends(stage: int, last: int, virtual_stages: int) -> int:
    """Sends of one micro-batch's backward pass: one per chunk, but none before the model's first chunk."""
    return 0 if last == 0 else virtual_stages - (stage == 0)


def _exposed_ps(spec: StepSpec, stage: StageSpec) -> int:
    if spec.gradient_mode == "after":
        return stage.reduce_after_ps
    return exposed_reduce_ps(stage) if spec.gradient_mode == "backward" else 0


def exposed_reduce_ps(stage: StageSpec) -> int:
    """Gradient exchange that does not hide under the stage's last backward pass, in mode "backward" [ps].

    The last pass is that of chunk 0. With its blocks in backward order, repeats expanded, ``ready_j`` the time block
    ``j``'s backward is done after the pass began, and an in-order stream::

        end = max_j(ready_j + sum_{k >= j} reduce_k),   exposed = max(0, end - B)

    Gradients of the other chunks count as ready when the pass begins and go first.
    """
    first, *others = stage.chunks
    still_to_come = sum(block.repeat * block.reduce_ps for block in first)
    ready = 0
    end = still_to_come + sum(block.repeat * block.reduce_ps for chunk in others for block in chunk)
    for block in _in_backward_order(first):
        ready += block.backward_ps + block.backward_tensor_ps
        end = max(end, ready + still_to_come)
        still_to_come -= block.reduce_ps
    return max(0, end - ready)


def sharded_passes_ps(spec: StepSpec) -> int:
    """All passes of a step whose parameters are gathered block by block, to the last gradient [ps].

    Number the blocks of all passes, repeats expanded, in the order the rank visits them. Visit ``u`` gathers ``g_u``,
    computes ``c_u`` and reduces ``r_u`` (0 in a forward pass). One in-order data stream runs gather ``u + 1`` before
    reduce ``u`` and never looks further ahead than one visit, across passes and micro-batches too::

        G_u = max(R_{u-2}, S_{u-1}) + g_u       gathered: stream free, and the visit before has begun
        S_u = max(E_{u-1}, G_u)                 compute begins
        E_u = S_u + c_u                         compute ends
        R_u = max(G_{u+1}, E_u) + r_u           reduced: behind the gather of the next visit

    The answer is ``max(E_n, R_n)`` for the last visit ``n`` (no gather follows it). The last gathered block of a
    forward pass is gathered again for the backward pass.

    Raises
    ------
    StepSpecError
        With more than one pipeline stage.
    """
    if len(spec.stages) > 1:
        raise StepSpecError(
            f'StepSpec: gradient_mode "sharded" with {len(spec.stages)} pipeline stages; it needs 1. '
            'With a pipeline use "backward" or "after".'
        )
    reduced_two_ago = reduced = 0  # R_{u-2}, R_{u-1}; the latter still lacks its wait for G_u
    begun = done = 0  # S_{u-1}, E_{u-1}
    to_reduce: int | None = None  # r_{u-1}, None where the pass has no reduce
    for block, is_forward in _sharded_visits(spec):
        gathered = max(reduced_two_ago, begun) + block.gather_ps
        reduced = gathered if to_reduce is None else max(gathered, done) + to_reduce
        begun = max(done, gathered)
        if is_forward:
            done = begun + block.forward_ps + block.forward_tensor_ps
            to_reduce = None
        else:
            done = begun + block.backward_ps + block.backward_tensor_ps
            to_reduce = block.reduce_ps
        reduced_two_ago = reduced
    return max(done, reduced) + (to_reduce or 0)


def _sharded_visits(spec: StepSpec) -> Iterator[tuple[BlockSpec, bool]]:
    chunks = spec.stages[0].chunks
    for task in SCHEDULES[spec.schedule].order(0, 1, spec.micro_batches, spec.virtual_stages):
        if task.kind == "forward":
            for block in chunks[task.chunk]:
                yield from ((block, True) for _ in range(block.repeat))
        else:
            yield from ((block, False) for block in _in_backward_order(chunks[task.chunk]))


def _in_backward_order(blocks: Sequence[BlockSpec]) -> Iterator[BlockSpec]:
    for block in reversed(blocks):
        for _ in range(block.repeat):
            yield block


def _divide_up(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)
