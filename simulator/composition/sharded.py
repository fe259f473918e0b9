"""The one-stage step whose parameters are gathered block by block (ZeRO-3, FSDP), in exact integers."""

from __future__ import annotations

from collections.abc import Iterator

from simulator.composition.passes import in_backward_order
from simulator.schedules import order_alone
from simulator.stepspec import BlockSpec, StepSpec, StepSpecError


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
    for task in order_alone(spec.schedule, spec.micro_batches, spec.virtual_stages):
        if spec.forward_only and task.kind != "forward":
            continue
        if task.kind == "forward":
            for block in chunks[task.chunk]:
                yield from ((block, True) for _ in range(block.repeat))
        else:
            yield from ((block, False) for block in in_backward_order(chunks[task.chunk]))
