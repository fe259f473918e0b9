"""The step time in closed form, one strategy at a time, in exact integers.

The plain twin of the array engine: the same equations, written to be read and checked against by hand. The longest of
a few chains of passes with nothing contending, which no run of the schedule can beat; the word for its result is
"bound".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from simulator.schedules import SCHEDULES
from simulator.stepspec import BlockSpec, StageSpec, StepSpec, StepSpecError, StepTime


def bound(spec: StepSpec) -> StepTime:
    """Length of one step and its parts, in closed form [ps].

    ``done_i`` is when stage ``i``'s last backward pass ends (`last_passes_done_ps`); stage 0 is the last to end. With
    ``m`` micro-batches, ``T_i`` the time one of them keeps stage ``i`` busy, sends included, and ``k`` the stage with
    the largest ``T`` (the first of equals)::

        gradients = max_i(done_i + exposed_i)
        total     = fixed + gradients + max_i optimizer_i + max_i update_gather_i
        bubble    = done_0 - m T_k,     data = gradients - done_0

    ``exposed_i`` is 0 in mode "none", the whole exchange in mode "after", and in mode "backward" what does not hide
    under the stage's last backward pass (`exposed_reduce_ps`). Mode "sharded" replaces ``gradients`` by
    `sharded_passes_ps`. The other parts are those of stage ``k``.

    Leaves out: contention; in 1F1B, interleaved or not, waits that pass between several slow stages. So the event
    engine never takes less time. It takes the same, to the tick, with GPipe and in mode "sharded" always, and otherwise
    where stages (and their chunks) are alike and sends are free. Where it takes more, measured on random pipelines
    of up to 8 stages, passes only, the bound falls short of it by at most

    ================================================ ======= ===========
    stages                                           1F1B    interleaved
    ================================================ ======= ===========
    alike, sends of 2 % or 90 % of a forward pass    0.00 %  0.00 %
    first and last one up to 10 and 20 % heavier     0.00 %  0.3 %
    every pass of every chunk differs by +-10 %      0.00 %  5.5 %
    by +-50 %                                        3.5 %   18 % (mean 2.5 %)
    ================================================ ======= ===========

    Raises
    ------
    StepSpecError
        In mode "sharded" with more than one pipeline stage.

    References
    ----------
    Narayanan et al., Efficient Large-Scale Language Model Training on GPU Clusters Using Megatron-LM, 2021,
    section 2.2, for the schedules. The chains for unlike stages are our own derivation.
    """
    stages, m = spec.stages, spec.micro_batches
    done = last_passes_done_ps(spec)
    if spec.gradient_mode == "sharded":
        gradients = sharded_passes_ps(spec)
    else:
        gradients = max(end + _exposed_ps(spec, i) for i, end in enumerate(done))

    busy = [passes.both for passes in _passes(spec)]
    k = busy.index(max(busy))
    pace = stages[k].blocks
    compute = m * sum(b.repeat * (b.forward_ps + b.backward_ps) for b in pace)
    tensor = m * sum(b.repeat * (b.forward_tensor_ps + b.backward_tensor_ps) for b in pace)
    return StepTime(
        engine="bound",
        compute_ps=compute,
        tensor_ps=tensor,
        pipeline_ps=m * busy[k] - compute - tensor,
        bubble_ps=done[0] - m * busy[k],
        data_ps=gradients - done[0],
        optimizer_ps=max(s.optimizer_ps for s in stages) + max(s.update_gather_ps for s in stages),
        fixed_ps=spec.fixed_ps,
    )


@dataclass(frozen=True, slots=True)
class _StagePasses:
    """Passes of one micro-batch through each chunk of a stage, sends included [ps]."""

    forward: tuple[int, ...]
    backward: tuple[int, ...]

    @property
    def both(self) -> int:
        return sum(self.forward) + sum(self.backward)


def _passes(spec: StepSpec) -> list[_StagePasses]:
    last, chunks, send_ps = (
        len(spec.stages) - 1,
        range(spec.virtual_stages),
        spec.send_ps if len(spec.stages) > 1 else 0,
    )
    passes = []
    for i, stage in enumerate(spec.stages):
        # Nothing is sent after the model's last chunk, nor back before its first.
        forward_sends = [send_ps * ((i, c) != (last, chunks[-1])) for c in chunks]
        backward_sends = [send_ps * ((i, c) != (0, 0)) for c in chunks]
        forward = tuple(forward_ps(chunk) + s for chunk, s in zip(stage.chunks, forward_sends, strict=True))
        backward = tuple(backward_ps(chunk) + s for chunk, s in zip(stage.chunks, backward_sends, strict=True))
        passes.append(_StagePasses(forward, backward))
    return passes


def forward_ps(chunk: Sequence[BlockSpec]) -> int:
    """Forward pass of one micro-batch through one chunk, without its send [ps]."""
    return sum(b.repeat * (b.forward_ps + b.forward_tensor_ps) for b in chunk)


def backward_ps(chunk: Sequence[BlockSpec]) -> int:
    """Backward pass of one micro-batch through one chunk, without its send [ps]."""
    return sum(b.repeat * (b.backward_ps + b.backward_tensor_ps) for b in chunk)


def last_passes_done_ps(spec: StepSpec) -> list[int]:
    """When each stage's last backward pass ends, counted from the first forward pass [ps].

    Every term is the length of a chain of passes, each of which waits for the one before it, so that no run of the
    schedule is shorter. Of stage ``i`` of ``p``, sends included: ``f_i, b_i`` forward and backward pass of one
    micro-batch through its first chunk, ``g_i, h_i`` through its last (the same for one chunk), ``F_i, B_i`` through
    all ``v``, ``T_i = F_i + B_i``.

    GPipe is one flow shop after another, each as slow as its slowest stage; this is exact::

        done_i = sum_j F_j + (m - 1) max_j F_j + sum_{j >= i} B_j + (m - 1) max_{j >= i} B_j

    In the other schedules a chain stays on one stage ``k``, which the first micro-batch reaches through the stages
    before it and whose last one returns through them::

        done_i = max_{k >= i}(sum_{j < k} f_j + m T_k + idle_k + sum_{i <= j < k} b_j)

    ``idle_k`` is what stage ``k`` waits for at either end of it. The first micro-batch is away for
    ``S = sum_{j > k} (g_j + h_j)`` before its first backward pass, while stage ``k`` runs ``a`` forward passes more, in
    ``A``: ``w = p - 1 - k`` in 1F1B, ``2 w`` if interleaved, ``p - 1`` of them through its last chunk and the others
    through its first. The last micro-batch is away as long, while stage ``k`` runs ``a`` backward passes, in ``Z``. A
    stage before ``k`` may feed it more slowly, or be slower with what it hands back::

        U = d max(0, max_{j < k} f_j - f_k),    D = d max(0, max_{i <= j < k} b_j - b_k)

    over ``d = a`` passes for one chunk, else the ``p - 1`` first and last ones, which go through the first chunk
    and come on top::

        v = 1:   idle = max(U, S - A) + max(D, S - Z)
        v > 1:   idle = U + max(0, S - A) + D + max(0, S - Z)

    If all forward passes precede the first backward pass (``a`` reaches ``m v - 1 - (v - 1) p``, where it is cut off)
    only one micro-batch can be waited for: ``max(U + D, S - A + D, U + S - Z)``, or ``U + D + max(0, S - A, S - Z)``.

    A stage ``k < i`` may hold up stage ``i`` with its last forward pass, which goes down the pipeline and back up to
    ``i``; ``R = h + p (B - h)`` are the backward passes of a stage from there on::

        done_i >= sum_{j < k} f_j + m T_k + start_k - Z_k - R_k + sum_{j > k} g_j + sum_{j > i} h_j + R_i

    with ``start_k`` the first summands of ``idle_k`` (``U`` alone if all forward passes come first). Last, a stage
    waits for the one behind it: ``done_i >= done_{i+1} + b_i``.
    """
    passes = _passes(spec)
    if spec.schedule == "gpipe":
        return _gpipe_done_ps(passes, spec.micro_batches)
    # Sums up to and including a stage's predecessor.
    forward_before = list(accumulate((s.forward[0] for s in passes), initial=0))
    backward_before = list(accumulate((s.backward[0] for s in passes), initial=0))
    forward_from = _sums_from([s.forward[-1] for s in passes])
    backward_from = _sums_from([s.backward[-1] for s in passes])
    chains = [_Chain.on(k, passes, spec) for k in range(len(passes))]
    done = []
    for i in range(len(passes)):
        through = [
            forward_before[chain.k] + chain.busy + chain.idle(i) + backward_before[chain.k] - backward_before[i]
            for chain in chains[i:]
        ]
        held_up = [
            forward_before[chain.k] + chain.busy + chain.start - chain.returning - chain.rest
            + forward_from[chain.k + 1] + backward_from[i + 1] + chains[i].rest
            for chain in chains[:i]
        ]  # fmt: skip
        done.append(max(through + held_up))
    for i in reversed(range(len(passes) - 1)):
        done[i] = max(done[i], done[i + 1] + passes[i].backward[0])
    return done


def _gpipe_done_ps(passes: Sequence[_StagePasses], micro_batches: int) -> list[int]:
    forward, backward = [s.forward[0] for s in passes], [s.backward[0] for s in passes]
    turned = sum(forward) + (micro_batches - 1) * max(forward)
    return [turned + sum(backward[i:]) + (micro_batches - 1) * max(backward[i:]) for i in range(len(passes))]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Chain:
    """The chain that stays on stage ``k``; the letters of `last_passes_done_ps` are in the comments [ps]."""

    k: int
    busy: int  # m T
    trip: int  # S
    ahead: int  # A
    returning: int  # Z
    rest: int  # R
    backward: tuple[int, ...]  # b_j for all j <= k
    fed_late: int  # U
    handed: int  # d
    apart: bool
    chunks: int

    @classmethod
    def on(cls, k: int, passes: Sequence[_StagePasses], spec: StepSpec) -> _Chain:
        here, p, v = passes[k], len(passes), spec.virtual_stages
        most = spec.micro_batches * v - 1 - (v - 1) * p
        wanted = (2 if spec.schedule == "interleaved" else 1) * (p - 1 - k)
        count = min(wanted, most)
        in_last = min(count, p - 1)
        handed = count if v == 1 else p - 1
        return cls(
            k=k,
            busy=spec.micro_batches * here.both,
            trip=sum(s.forward[-1] + s.backward[-1] for s in passes[k + 1 :]),
            ahead=in_last * here.forward[-1] + (count - in_last) * here.forward[0],
            returning=in_last * here.backward[-1] + (count - in_last) * here.backward[0],
            rest=here.backward[-1] + p * sum(here.backward[:-1]),
            backward=tuple(s.backward[0] for s in passes[: k + 1]),
            fed_late=handed * (max(s.forward[0] for s in passes[: k + 1]) - here.forward[0]),
            handed=handed,
            apart=wanted < most,
            chunks=v,
        )

    @property
    def start(self) -> int:
        """Waits before the first backward pass, and before the last forward pass too."""
        if not self.apart:
            return self.fed_late
        return (
            max(self.fed_late, self.trip - self.ahead)
            if self.chunks == 1
            else self.fed_late + max(0, self.trip - self.ahead)
        )

    def idle(self, i: int) -> int:
        """All waits of the chain that ends on stage ``i <= k``."""
        taken_late = self.handed * (max(self.backward[i:]) - self.backward[-1])
        first, last = self.trip - self.ahead, self.trip - self.returning
        on_top, fed, taken = 0, self.fed_late, taken_late
        if self.chunks > 1:
            on_top, fed, taken = fed + taken, 0, 0
        if self.apart:
            return on_top + max(fed, first) + max(taken, last)
        return on_top + max(fed + taken, first + taken, fed + last)


def _sums_from(values: Sequence[int]) -> list[int]:
    """Sums from each place to the end, and a zero behind."""
    return list(accumulate(reversed(values), initial=0))[::-1]


def _exposed_ps(spec: StepSpec, i: int) -> int:
    if spec.gradient_mode == "after":
        return spec.stages[i].reduce_after_ps
    # The exchange runs beside the send that ends the last backward pass of all stages but the first.
    return exposed_reduce_ps(spec.stages[i], spec.send_ps if i else 0) if spec.gradient_mode == "backward" else 0


def exposed_reduce_ps(stage: StageSpec, send_ps: int = 0) -> int:
    """Gradient exchange that does not hide under the stage's last backward pass, in mode "backward" [ps].

    The last pass is that of chunk 0. With its blocks in backward order, repeats expanded, ``ready_j`` the time block
    ``j``'s backward is done after the pass began, ``B`` that of the last, ``send_ps`` the send behind it, and an
    in-order stream::

        end = max_j(ready_j + sum_{k >= j} reduce_k),   exposed = max(0, end - B - send)

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
    return max(0, end - ready - send_ps)


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
