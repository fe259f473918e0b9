"""Passes of one-stage strategies whose parameters are gathered block by block (ZeRO-3, FSDP)."""

from __future__ import annotations

import numpy as np

from ..kernels.optable import Ints
from ..stepspec import SCHEDULES
from .steps import StepBatch

#: Micro-batches of sharded passes that are followed one by one, at most; from then on each takes as long as the last.
_FOLLOWED = 64


def sharded_ps(steps: StepBatch, chosen: Ints) -> Ints:
    """All passes of strategies whose parameters are gathered block by block; (chosen,) [ps].

    The recurrence of `composition.sharded.sharded_passes_ps`, over arrays. GPipe runs all forward passes first, the
    others forward and backward in turn; where nothing learns there are forward passes only.
    """
    if steps.forward_only:
        visits = _ShardedVisits(steps, chosen)
        visits.follow((True,))
        return visits.done
    gpipe = steps.lowered.schedule[chosen] == SCHEDULES.index("gpipe")
    result = np.zeros(len(chosen), np.int64)
    for members, turns in ((~gpipe, ((True, False),)), (gpipe, ((True,), (False,)))):
        if members.any():
            visits = _ShardedVisits(steps, chosen[members])
            for passes in turns:
                visits.follow(passes)
            result[members] = np.maximum(visits.done, visits.reduced) + visits.to_reduce
    return result


class _ShardedVisits:
    """Where the compute stream and the data stream of sharded strategies stand, block after block; fields (rows,) [ps].

    ``reduced``: the data stream is done with what came before the last gather. ``begun`` and ``done``: the last block's
    compute. ``to_reduce``: the gradient exchange that waits for it, 0 in a forward pass.
    """

    def __init__(self, steps: StepBatch, chosen: Ints) -> None:
        low = steps.lowered
        self.repeat = low.repeat[chosen, 0]
        self.micro_batches = low.micro_batches[chosen]
        self.forward = (steps.forward_ps + steps.forward_tensor_ps)[chosen]
        self.backward = (steps.backward_ps + steps.backward_tensor_ps)[chosen]
        self.gather, self.reduce = steps.gather_ps[chosen], steps.reduce_ps[chosen]
        self.reduced, self.begun, self.done, self.to_reduce = (np.zeros(len(chosen), np.int64) for _ in range(4))
        self.no_reduce = np.ones(len(chosen), bool)

    def follow(self, passes: tuple[bool, ...]) -> None:
        """Run the passes (True: forward) of every micro-batch.

        Each micro-batch does the same, so that once the streams stand to each other as they stood one micro-batch
        before, every further one takes as long as the last. Rows are followed until that is so.
        """
        rows = np.arange(len(self.done))
        apart_before = done_before = None
        for followed in range(1, _FOLLOWED + 1):
            for is_forward in passes:
                self._run(rows, is_forward)
            left = self.micro_batches[rows] - followed
            done, reduced, begun = self.done[rows], self.reduced[rows], self.begun[rows]
            apart = np.stack([np.maximum(reduced, begun) - done, reduced - done])
            steady = left == 0
            if apart_before is not None and done_before is not None:
                # What is still unlike after many micro-batches differs by next to nothing.
                steady |= np.all(apart == apart_before, axis=0) | (followed == _FOLLOWED)
                shift = np.where(steady, left * (done - done_before), 0)
                for state in (self.reduced, self.begun, self.done):
                    state[rows] += shift
            rows, apart_before, done_before = rows[~steady], apart[:, ~steady], done[~steady]
            if not len(rows):
                return

    def _run(self, rows: Ints, is_forward: bool) -> None:
        """One pass over all blocks of one micro-batch."""
        repeat, gather, reduce_ps = self.repeat[rows], self.gather[rows], self.reduce[rows]
        time = (self.forward if is_forward else self.backward)[rows]
        reduced, begun, done, to_reduce = (a[rows] for a in (self.reduced, self.begun, self.done, self.to_reduce))
        no_reduce = self.no_reduce[rows]
        blocks = range(repeat.shape[1])
        for block in blocks if is_forward else reversed(blocks):
            for position in range(int(repeat[:, block].max())):
                active = position < repeat[:, block]
                gathered = np.maximum(reduced, begun) + gather[:, block]
                start = np.maximum(done, gathered)
                finish = start + time[:, block]
                before = np.where(no_reduce, gathered, np.maximum(gathered, done) + to_reduce)
                reduced = np.where(active, before, reduced)
                begun = np.where(active, start, begun)
                done = np.where(active, finish, done)
                no_reduce = np.where(active, is_forward, no_reduce)
                to_reduce = np.where(active, 0 if is_forward else reduce_ps[:, block], to_reduce)
        self.reduced[rows], self.begun[rows], self.done[rows] = reduced, begun, done
        self.to_reduce[rows], self.no_reduce[rows] = to_reduce, no_reduce
