"""Messages on wires: rounds of a collective one after another, or any flows at any time; seconds, and bytes by link."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from .classes import certify, fold
from .clock import PS_PER_S, finish_ps, to_ps
from .colours import coloured
from .routes import Routes
from .shares import FlowError, Ints, Sharing
from .wires import Wires


class RoundLike(Protocol):
    """Transfers that start together: ranks and whole bytes, each shape (T,); run `repeat` times in a row."""

    @property
    def source(self) -> Ints: ...
    @property
    def target(self) -> Ints: ...
    @property
    def byte(self) -> Ints: ...
    @property
    def repeat(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class Flow:
    """Bytes that take links together, at one rate.

    Parameters
    ----------
    links
        The links it uses: `wires.route(a, b)` for a message; all links of a running ring or tree for a coupled flow.
    factor
        Bytes on each link for one byte of the flow; all 1 if left out.
    byte
        Whole bytes; 0 is a message without payload, which takes its latency.
    start_s, after
        It starts when both have come: this time [s], and the end of the flows with these indices.
    latency_s
        Before its first byte [s]; the sum over its links if left out.
    weight, bound_byte_per_s
        Its share against others', and what it can take at most [B/s].
    """

    links: tuple[int, ...]
    byte: int
    factor: tuple[float, ...] = ()
    start_s: float = 0.0
    after: tuple[int, ...] = ()
    latency_s: float | None = None
    weight: float = 1.0
    bound_byte_per_s: float = float("inf")


@dataclass(frozen=True, kw_only=True)
class FlowResult:
    """What a simulation of flows found.

    Parameters
    ----------
    seconds
        Until the last byte has arrived [s].
    finish_s
        Of each flow, or of each round the time it took once, in the order given [s].
    link_byte
        What each link carried, shape (L,), whole bytes: exactly the sum over the flows on it. Where a message is split
        over several ways each part is rounded to whole bytes.
    flows, classes
        Flows simulated, equal rounds counted once; and the classes of equal flows that were solved instead.
    settlements
        Times that shares were settled.
    """

    seconds: float
    finish_s: tuple[float, ...]
    link_byte: Ints
    flows: int
    classes: int
    settlements: int


def run_rounds(
    wires: Wires, rounds: Sequence[RoundLike], *, background: Mapping[int, float] | None = None
) -> FlowResult:
    """Run the rounds of a collective, each when the one before has ended.

    All transfers of a round start together; each takes the latency of its links, then its bytes at its max-min fair
    share. A transfer of 0 bytes is a message without payload: its latency, no share. Rounds that are equal are solved
    once and counted as often as they run. Times are whole picoseconds within a round, so a round is half a picosecond
    off at most for every change of its shares.

    `background` is other traffic: the bytes a second offered on a link by one flow of weight 1 without end. It shares
    max-min fairly, so it slows to make room like any other flow; it takes less than offered where the link is full.
    Its bytes are not in the result.
    """
    traffic = _checked_background(wires, background)
    known: dict[bytes, _OneRound] = {}
    routes: dict[bytes, Routes] = {}
    total_ps, link_byte = 0, np.zeros(len(wires.capacity_byte_per_s), np.int64)
    finish_s = []
    for index, one in enumerate(rounds):
        source, target, byte = _checked_round(index, one)
        way = hashlib.blake2b(source.tobytes() + target.tobytes()).digest()
        key = hashlib.blake2b(way + byte.tobytes()).digest()
        if key not in known:
            if way not in routes:
                routes.clear()  # neighbouring rounds often join the same ranks; older ones are not kept
                routes[way] = wires.routes(source, target)
            known[key] = _run_round(wires, routes[way], byte, traffic)
        found = known[key]
        total_ps += found.duration_ps * int(one.repeat)
        link_byte += found.link_byte * int(one.repeat)
        finish_s.append(found.duration_ps / PS_PER_S)
    return FlowResult(
        seconds=total_ps / PS_PER_S,
        finish_s=tuple(finish_s),
        link_byte=link_byte,
        flows=sum(found.flows for found in known.values()),
        classes=sum(found.classes for found in known.values()),
        settlements=sum(found.settlements for found in known.values()),
    )


def run_flows(wires: Wires, flows: Sequence[Flow], *, background: Mapping[int, float] | None = None) -> FlowResult:
    """Run flows that start at any time or after one another; see `Flow`, and `run_rounds` for `background`."""
    traffic = _checked_background(wires, background)
    for index, flow in enumerate(flows):
        _check_flow(index, flow, flows)
    other = [Flow(links=(link,), byte=0, latency_s=0.0, bound_byte_per_s=rate) for link, rate in traffic.items()]
    every = [*flows, *other]
    sharing = Sharing.of(
        wires.capacity_byte_per_s,
        [flow.links for flow in every],
        factor=[flow.factor or (1.0,) * len(flow.links) for flow in every],
        weight=[flow.weight for flow in every],
        bound_byte_per_s=[flow.bound_byte_per_s for flow in every],
    )
    latency_s = [
        float(wires.latency_s[list(flow.links)].sum()) if flow.latency_s is None else flow.latency_s for flow in every
    ]
    times_ps, refill = finish_ps(
        sharing,
        byte=[float(flow.byte) for flow in flows] + [float("inf")] * len(other),
        start_ps=[to_ps(flow.start_s) for flow in every],
        latency_ps=[to_ps(each) for each in latency_s],
        after=[flow.after for flow in every],
    )
    own = slice(0, int(sharing.start[len(flows)]))
    routes = Routes(start=sharing.start[: len(flows) + 1], link=sharing.link[own], factor=sharing.factor[own])
    mine = times_ps[: len(flows)]
    return FlowResult(
        seconds=max(mine, default=0) / PS_PER_S,
        finish_s=tuple(time / PS_PER_S for time in mine),
        link_byte=_bytes_by_link(wires, routes, np.array([flow.byte for flow in flows], np.int64)),
        flows=len(flows),
        classes=len(flows),
        settlements=refill.settlements,
    )


@dataclass(frozen=True, kw_only=True)
class _OneRound:
    duration_ps: int
    link_byte: Ints
    flows: int
    classes: int
    settlements: int


def _run_round(wires: Wires, routes: Routes, byte: Ints, traffic: Mapping[int, float]) -> _OneRound:
    """One round by classes of equal transfers."""
    if not len(byte):
        return _OneRound(
            duration_ps=0, link_byte=_bytes_by_link(wires, routes, byte), flows=0, classes=0, settlements=0
        )
    latency_ps = np.rint(wires.latency_of(routes) * PS_PER_S).astype(np.int64)
    size_of, bound, every = byte.astype(np.float64), np.full(len(byte), np.inf), routes
    if traffic:
        links, rates = np.array(list(traffic), np.int64), np.array(list(traffic.values()), np.float64)
        every = Routes(
            start=np.concatenate([routes.start, routes.start[-1] + 1 + np.arange(len(links))]),
            link=np.concatenate([routes.link, links]),
            factor=np.concatenate([routes.factor, np.ones(len(links))]),
        )
        size_of = np.concatenate([size_of, np.full(len(links), np.inf)])
        latency_ps = np.concatenate([latency_ps, np.zeros(len(links), np.int64)])
        bound = np.concatenate([bound, rates])
    colour = coloured(size_of, latency_ps.astype(np.float64), bound)
    folded = fold(wires.capacity_byte_per_s, every, colour, bound)
    certify(folded, wires.capacity_byte_per_s, every, bound)
    size = size_of[folded.first].tolist()
    times, refill = finish_ps(
        folded.sharing,
        byte=size,
        start_ps=[0] * len(size),
        latency_ps=latency_ps[folded.first].tolist(),
    )
    return _OneRound(
        duration_ps=max(times),
        link_byte=_bytes_by_link(wires, routes, byte),
        flows=len(byte),
        classes=len(folded.first),
        settlements=refill.settlements,
    )


def _bytes_by_link(wires: Wires, routes: Routes, byte: Ints) -> Ints:
    """Whole bytes that each link carries, without rounding where messages are whole."""
    links = len(wires.capacity_byte_per_s)
    if routes.whole and len(byte) and (byte == byte[0]).all():
        return np.asarray(np.bincount(routes.link, minlength=links) * byte[0], np.int64)
    each = np.repeat(byte, np.diff(routes.start))
    if not routes.whole:
        each = np.where(routes.factor == 1, each, np.rint(each * routes.factor).astype(np.int64))
    # Sums in floating point are exact below 2^53: add the low and the high 26 bits apart.
    low = np.bincount(routes.link, (each & 0x3FFFFFF).astype(np.float64), links).astype(np.int64)
    high = np.bincount(routes.link, (each >> 26).astype(np.float64), links).astype(np.int64)
    return low + (high << 26)


def _checked_round(index: int, one: RoundLike) -> tuple[Ints, Ints, Ints]:
    source, target, byte = (np.atleast_1d(np.asarray(part)) for part in (one.source, one.target, one.byte))
    if not source.shape == target.shape == byte.shape or source.ndim != 1:
        raise FlowError(
            f"round {index}: source, target and byte have shapes {source.shape}, {target.shape} and {byte.shape}; "
            "one value a transfer in each."
        )
    if byte.size and byte.dtype.kind not in "iu":
        raise FlowError(f"round {index}: byte is of type {byte.dtype}; whole bytes.")
    if byte.size and byte.min() < 0:
        raise FlowError(f"round {index}: a transfer of {byte.min()} bytes; 0 or more.")
    if isinstance(one.repeat, bool) or not isinstance(one.repeat, int | np.integer) or one.repeat < 0:
        raise FlowError(f"round {index}: repeat is {one.repeat!r}; a whole number, 0 or more.")
    return source, target, byte.astype(np.int64)


def _check_flow(index: int, flow: Flow, flows: Sequence[Flow]) -> None:
    where = f"flow {index}"
    if isinstance(flow.byte, bool) or not isinstance(flow.byte, int) or flow.byte < 0:
        raise FlowError(f"{where}: byte is {flow.byte!r}; whole bytes, 0 or more.")
    for name in ("start_s", "latency_s"):
        value: Any = getattr(flow, name)
        if value is not None and not 0 <= value < float("inf"):
            raise FlowError(f"{where}: {name} is {value!r}; 0 or more, finite.")
    for earlier in flow.after:
        if not 0 <= earlier < len(flows) or earlier == index:
            raise FlowError(f"{where}: comes after {earlier!r}; another flow's index, 0 to {len(flows) - 1}.")
    if flow.factor and len(flow.factor) != len(flow.links):
        raise FlowError(f"{where}: {len(flow.factor)} factors for {len(flow.links)} links; one each, or none.")


def _checked_background(wires: Wires, background: Mapping[int, float] | None) -> dict[int, float]:
    traffic = dict(sorted((background or {}).items()))
    for link, rate in traffic.items():
        if isinstance(link, bool) or not isinstance(link, int | np.integer) or not 0 <= link < len(wires.latency_s):
            raise FlowError(f"background: no link {link!r}; 0 to {len(wires.latency_s) - 1}, see Wires.link.")
        if not (rate >= 0 and np.isfinite(rate)):
            raise FlowError(f"background: link {link} has {rate!r} B/s of other traffic; 0 or more, finite.")
    return {link: rate for link, rate in traffic.items() if rate > 0}
