"""The exchange of gradients in a trace of DistributedDataParallel over gloo: when messages were on their way, and how
much of that the passes ran beside.

Gloo marks a message on a thread of its own, but not every one reaches the trace; of those that do not the end shows
where the thread that computes goes on after waiting.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from ..errors import InputError
from .kinds import opened
from .kineto import covered, events_of

_SENT: Final = "c10d::allreduce_"
_MARK: Final = "gloo:all_reduce"
_BACK: Final = "copy_bucket_to_grad"


@dataclass(frozen=True, kw_only=True)
class SeenExchange:
    """Messages of a trace, seconds in which any was on its way, and of those the seconds beside compute."""

    messages: int
    exchange_s: float
    overlap_s: float

    @property
    def overlap_share(self) -> float:
        """Share of the exchange that ran beside compute."""
        return self.overlap_s / self.exchange_s if self.exchange_s else 0.0


def read_exchange(path: str | Path) -> SeenExchange:
    """The exchange in a trace, gzip or not.

    Raises
    ------
    InputError
        Where no gradients were exchanged in it.
    """
    sent: list[float] = []
    marks: list[tuple[float, float]] = []
    ops: list[tuple[float, float, bool]] = []
    with opened(path) as stream:
        for event in events_of(stream, str(path)):
            if event.get("ph") != "X" or event.get("cat") not in ("cpu_op", "user_annotation"):
                continue
            name, begin = str(event.get("name", "")), float(event["ts"])
            end = begin + float(event.get("dur", 0.0))
            if name == _SENT:
                sent.append(begin)
            elif name == _MARK:
                marks.append((begin, end))
            elif event["cat"] == "cpu_op":
                ops.append((begin, end, _BACK in name))
    if not sent:
        raise InputError(f"{path}: no {_SENT} among its events: no gradients were exchanged over gloo.")
    sent.sort()
    ops.sort()
    spans = [
        (begin, _end(begin, after, marks, ops)) for begin, after in zip(sent, [*sent[1:], float("inf")], strict=True)
    ]
    exchange, compute = np.array(spans), np.array([op[:2] for op in ops]).reshape(-1, 2)
    both = np.concatenate([exchange, compute])
    talk, work, either = (covered(x[:, 0], x[:, 1]) for x in (exchange, compute, both))
    return SeenExchange(messages=len(sent), exchange_s=talk * 1e-6, overlap_s=max(0.0, talk + work - either) * 1e-6)


def _end(begin: float, after: float, marks: list[tuple[float, float]], ops: list[tuple[float, float, bool]]) -> float:
    """When a message that left at ``begin`` was there: its mark's end, else where copying back begins after the longest
    wait before the next message leaves."""
    mark = next((end for start, end in marks if begin <= start < after), None)
    if mark is not None:
        return mark
    inside = [op for op in ops if begin <= op[0] < after]
    reach, longest, end = begin, 0.0, begin
    for start, stop, copies in inside:
        if copies and start - reach > longest:
            longest, end = start - reach, start
        reach = max(reach, stop)
    return end
