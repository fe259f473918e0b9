"""When 1F1B, interleaved or not, and GPipe are done: the longest of a few chains of passes, in exact integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from simulator.composition.passes import pass_ps
from simulator.stepspec import StepSpec


@dataclass(frozen=True, slots=True)
class StagePasses:
    """Passes of one micro-batch through each chunk of a stage, sends included [ps]."""

    forward: tuple[int, ...]
    backward: tuple[int, ...]

    @property
    def both(self) -> int:
        """Both passes of one micro-batch through the whole stage [ps]."""
        return sum(self.forward) + sum(self.backward)


def stage_passes(spec: StepSpec) -> list[StagePasses]:
    """Passes of every stage, the sends that hold it included."""
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
        forward = tuple(pass_ps("forward", chunk) + s for chunk, s in zip(stage.chunks, forward_sends, strict=True))
        backward = tuple(pass_ps("backward", chunk) + s for chunk, s in zip(stage.chunks, backward_sends, strict=True))
        passes.append(StagePasses(forward, backward))
    return passes


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
    passes = stage_passes(spec)
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


def _gpipe_done_ps(passes: Sequence[StagePasses], micro_batches: int) -> list[int]:
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
    def on(cls, k: int, passes: Sequence[StagePasses], spec: StepSpec) -> _Chain:
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
