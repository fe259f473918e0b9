"""PyTorch profiler traces, streamed: how long kernels took by name, how far the host was, what overlapped what.

A trace may be gigabytes: events are read one by one and only sums, and the intervals of kernels, are kept. Names of
hosts, users and jobs that a trace carries are not.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from ..errors import InputError
from .kinds import opened

_CHUNK: Final = 1 << 20
#: One event longer than this is none.
_LONGEST: Final = 1 << 26
_COMMUNICATION: Final = re.compile(r"nccl|rccl|gloo:|c10d::|mscclpp|oneccl", re.IGNORECASE)
_LAUNCHES: Final = re.compile(r"^(cuda|hip|cu)(Ext)?(ModuleLaunch|Launch|LaunchCooperative)Kernel", re.IGNORECASE)
#: Launches of one thread further apart than this are not one after the other: the host did something else [us].
_APART_US: Final = 1000.0
_MOST_NAMES: Final = 20_000
_KEY: Final = '"traceEvents"'


@dataclass(frozen=True, kw_only=True)
class KernelSum:
    """All calls of one kernel: how many, and seconds of all."""

    name: str
    calls: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class TraceSummary:
    """What a trace shows.

    ``device`` is "gpu" where kernels ran on one, else "cpu". ``launch_s`` is the median time between launches of one
    thread, those that waited for the device left out, None where there are fewer than 20. ``compute_s``,
    ``communication_s`` and ``overlap_s`` are seconds in which kernels computed, communicated, and did both; ``idle_s``
    the rest of ``span_s``.
    """

    device: str
    events: int
    kernels: tuple[KernelSum, ...]
    launches: int
    launch_s: float | None
    compute_s: float
    communication_s: float
    overlap_s: float
    span_s: float
    ranks: int = 1

    @property
    def idle_s(self) -> float:
        """Seconds in which no kernel ran."""
        return max(0.0, self.span_s - (self.compute_s + self.communication_s - self.overlap_s))

    @property
    def overlap_share(self) -> float | None:
        """Share of the communication that ran beside compute; None where nothing was communicated."""
        return self.overlap_s / self.communication_s if self.communication_s else None


@dataclass
class _Sums:
    """What is kept while events pass by."""

    calls: dict[str, list[float]] = field(default_factory=dict)
    begin: array[float] = field(default_factory=lambda: array("d"))
    end: array[float] = field(default_factory=lambda: array("d"))
    talks: array[int] = field(default_factory=lambda: array("b"))
    launched: dict[Any, array[float]] = field(default_factory=dict)
    took: dict[Any, array[float]] = field(default_factory=dict)

    def add(self, name: str, begin: float, duration: float) -> None:
        if name in self.calls or len(self.calls) < _MOST_NAMES:
            entry = self.calls.setdefault(name, [0.0, 0.0])
            entry[0] += 1.0
            entry[1] += duration
        self.begin.append(begin)
        self.end.append(begin + duration)
        self.talks.append(bool(_COMMUNICATION.search(name)))


def events_of(stream: IO[str], name: str) -> Iterator[dict[str, Any]]:
    """The events of a trace one by one, whether it is an object with "traceEvents" or a bare list.

    Raises
    ------
    InputError
        Where the text ends inside an event or holds something else.
    """
    text, decoder = _list_of(stream, name), json.JSONDecoder()
    place = 0
    while True:
        place = _skip(text, place)
        while place >= len(text):
            text, place = stream.read(_CHUNK), 0
            if not text:
                raise InputError(f"{name}: ends inside traceEvents: the trace was cut off while it was written.")
            place = _skip(text, place)
        if text[place] == "]":
            return
        while True:
            try:
                event, end = decoder.raw_decode(text, place)
                break
            except (ValueError, RecursionError) as error:
                more = stream.read(_CHUNK)
                if not more or len(text) - place > _LONGEST or isinstance(error, RecursionError):
                    raise InputError(f"{name}: an event of traceEvents is no JSON, or cut off.") from None
                text, place = text[place:] + more, 0
        if isinstance(event, dict):
            yield event
        if end > _CHUNK // 2:
            text, end = text[end:], 0
        place = end


def _list_of(stream: IO[str], name: str) -> str:
    """What was read beyond the bracket that opens the list of events."""
    text = stream.read(_CHUNK).lstrip()
    if text[:1] == "{":
        while (place := text.find(_KEY)) < 0:
            more = stream.read(_CHUNK)
            if not more:
                raise InputError(f"{name}: {_KEY} is missing; a trace that the PyTorch profiler exports has it.")
            text = text[1 - len(_KEY) :] + more
        text = text[place + len(_KEY) :]
    while not (start := text.lstrip(" \t\r\n:")):
        text = stream.read(_CHUNK)
        if not text:
            break
    if start[:1] != "[":
        raise InputError(f"{name}: traceEvents is no list.")
    return start[1:]


def _skip(text: str, place: int) -> int:
    while place < len(text) and text[place] in " \t\r\n,":
        place += 1
    return place


def read_trace(path: str | Path) -> TraceSummary:
    """The summary of a trace, gzip or not. Raises `InputError`."""
    device, host, count = _Sums(), _Sums(), 0
    with opened(path) as stream:
        for event in events_of(stream, str(path)):
            count += 1
            if event.get("ph") != "X":
                continue
            begin, duration = _number(event.get("ts")), _number(event.get("dur"))
            if begin is None or duration is None or duration < 0.0:
                continue
            name, category = str(event.get("name", "")), str(event.get("cat", ""))
            if category in ("kernel", "gpu_memcpy", "gpu_memset"):
                device.add(name, begin, duration)
            elif category in ("cuda_runtime", "cuda_driver", "hip_runtime") and _LAUNCHES.match(name):
                device.launched.setdefault(event.get("tid"), array("d")).append(begin)
                device.took.setdefault(event.get("tid"), array("d")).append(duration)
            elif category == "cpu_op":
                host.add(name, begin, duration)
    kept = device if device.begin else host
    if not kept.begin:
        raise InputError(f"{path}: no kernels and no operators among {count} events; profile with activities on.")
    return _summary(kept, device, count)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _summary(kept: _Sums, device: _Sums, count: int) -> TraceSummary:
    begin, end = np.array(kept.begin), np.array(kept.end)
    talks = np.array(kept.talks, dtype=bool)
    compute, talk, either = (covered(begin[m], end[m]) for m in (~talks, talks, np.ones(len(begin), bool)))
    gaps = [_gaps(np.array(device.launched[t]), np.array(device.took[t])) for t in device.launched]
    gap = np.concatenate(gaps) if gaps else np.zeros(0)
    sums = [KernelSum(name=n, calls=int(c), seconds=s * 1e-6) for n, (c, s) in kept.calls.items()]
    return TraceSummary(
        device="gpu" if kept is device else "cpu", events=count,
        kernels=tuple(sorted(sums, key=lambda k: (-k.seconds, k.name))),
        launches=sum(len(times) for times in device.launched.values()),
        launch_s=float(np.median(gap)) * 1e-6 if len(gap) >= 20 else None, compute_s=compute * 1e-6,
        communication_s=talk * 1e-6, overlap_s=max(0.0, compute + talk - either) * 1e-6,
        span_s=float(end.max() - begin.min()) * 1e-6,
    )  # fmt: skip


def _gaps(begin: np.ndarray, took: np.ndarray) -> np.ndarray:
    """Times between launches that follow each other [us]; a launch that itself took long waited for the device."""
    order = np.argsort(begin, kind="stable")
    begin, took = begin[order], took[order]
    gap = np.diff(begin)
    return np.asarray(gap[(gap < _APART_US) & (took[:-1] < _APART_US / 10)])


def covered(begin: np.ndarray, end: np.ndarray) -> float:
    """Length of the union of intervals, in their unit."""
    if not len(begin):
        return 0.0
    order = np.argsort(begin, kind="stable")
    begin, reach = begin[order], np.maximum.accumulate(end[order])
    holes = np.maximum(0.0, begin[1:] - reach[:-1])
    return float(reach[-1] - begin[0] - holes.sum())


#: Kernels that a report lists.
LISTED: Final = 12


def trace_lines(summary: TraceSummary) -> list[str]:
    """The summary for a reader."""
    busy = summary.span_s or 1.0
    lines = [
        f"{summary.events} events, {summary.device}, {summary.span_s * 1e3:,.4g} ms: compute "
        f"{summary.compute_s / busy:.1%}, communication {summary.communication_s / busy:.1%}, idle "
        f"{summary.idle_s / busy:.1%}"
    ]
    if summary.overlap_share is not None:
        lines.append(f"{summary.overlap_share:.1%} of the communication ran beside compute")
    if summary.launch_s is not None:
        lines.append(f"{summary.launches} launches, {summary.launch_s * 1e6:.4g} us apart in the median")
    lines += [f"{k.seconds * 1e3:10.4g} ms {k.calls:7d} calls  {k.name[:80]}" for k in summary.kernels[:LISTED]]
    return lines
