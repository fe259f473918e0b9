"""The curve of one collective over message sizes: seconds, bandwidths, which algorithm runs, what limits each point."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from .cluster import Cluster, system
from .collective_calibration import CollectiveRecord, load_collectives
from .collective_question import CollectiveQuestion, ask
from .collectives.exchange import Exchanges, Wires
from .collectives.library_cost import CHOICES, LIMITS, exchange_cost
from .group_wires import wires_of
from .kernels.optable import Floats

#: Sizes from here on are large; the record keeps smaller ones apart.
LARGE_BYTE: Final = 1 << 20
#: How sizes are classed in the record, in words.
CLASSES: Final = {
    "inside": "from 1 MiB in one server or rack", "across": "from 1 MiB over several", "small": "below 1 MiB",
}  # fmt: skip
#: What was held out together, by how near the question is to what was measured, in words.
HOLDS: Final = {
    "groups": "other ranks and collectives of measured systems", "systems": "systems held out whole",
    "fabrics": "systems held out whole, alone on their wires",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """One size of the full tensor [B] and what it costs.

    ``low_s`` and ``high_s`` end the 80 % interval. ``algorithm_byte_per_s`` is the size over the time, and
    ``bus_byte_per_s`` that times `bus_factor`. ``choice`` is one of `library_cost.CHOICES`, ``limit`` one of its
    `LIMITS`. ``wire_share`` is the nominal time of the busiest wire over the time. ``flow_s`` and ``flow_algorithm``:
    the quickest textbook algorithm as flows on the system's graph, 0 and "" where that was not asked for.
    """

    message_byte: int
    seconds: float
    low_s: float | None
    high_s: float | None
    algorithm_byte_per_s: float
    bus_byte_per_s: float
    choice: str
    limit: str
    wire_share: float
    size_class: str
    flow_s: float = 0.0
    flow_algorithm: str = ""


@dataclass(frozen=True, kw_only=True)
class CurveLine:
    """The points of one number of ranks, their wires at nominal rates, and the measured rows of such wires."""

    ranks: int
    domains: int
    wires: Wires
    measured_rows: int
    points: tuple[CurvePoint, ...]


@dataclass(frozen=True, kw_only=True)
class HeldOutError:
    """Mean error of a class of sizes in held-out validation: of what is held out whole, rows, and the baseline's."""

    size_class: str
    hold: str
    rows: int
    error: float
    baseline_error: float


@dataclass(frozen=True, kw_only=True)
class CollectiveCurve:
    """Curves of one collective on one system; ``question`` is what was asked.

    ``system_rows`` counts measured rows of this very system, whose name in the record is ``known_as`` ("": none).
    """

    question: CollectiveQuestion
    lines: tuple[CurveLine, ...]
    calibration: str
    known_as: str
    system_rows: int
    errors: tuple[HeldOutError, ...]


def scale_collective(
    collective: str,
    *,
    system: str,
    message_byte: Sequence[int] | None = None,
    ranks: Sequence[int] | None = None,
    stride: int = 1,
    library: str | None = None,
    algorithm: str | None = None,
    cards: int = 0,
    degraded_share: float = 1.0,
    flows: bool = False,
) -> CollectiveCurve:
    """What a collective costs over sizes of its full tensor and numbers of ranks.

    Parameters
    ----------
    message_byte
        Full tensors [B]: an all-gather's output, a reduce-scatter's input; in an all-to-all and a permute what one rank
        holds. Default: 1 KiB to 1 GiB in powers of two.
    ranks
        Members of a group. Default: the chips of one server.
    stride
        Members are so many ranks apart, and as many groups run at once.
    library, algorithm
        Words of `collective_question.LIBRARIES` and `WORDS`. Default: the chip maker's library, which chooses.
    cards
        Network cards of a server that the library uses; 0: all.
    degraded_share
        Rate that is left of the slowest link and card. A ring or a tree is one coupled flow: all hops run at its rate.
    flows
        Also run textbook algorithms as flows on the system's graph.

    Raises
    ------
    InputError
        With every problem of the question.
    """
    return curve_of(
        ask(
            collective=collective, system_name=system, message_byte=message_byte, ranks=ranks, stride=stride,
            library=library, algorithm=algorithm, cards=cards, degraded_share=degraded_share, flows=flows,
            called=lambda key: "system" if key == "system_name" else key,
        )
    )  # fmt: skip


def curve_of(
    question: CollectiveQuestion, *, progress: Callable[[Sequence[Wires]], Iterable[Wires]] = iter
) -> CollectiveCurve:
    """The answer to a checked question; ``progress`` passes its numbers of ranks on, one by one."""
    calibration = load_collectives()
    record = calibration.record
    q = question
    nominal = [wires_of(q.cluster, ranks=n, stride=q.stride, library=q.library, cards=q.cards) for n in q.ranks]
    cases = [(_degraded(wires, q.degraded_share), q.collective, q.algorithm) for wires in nominal]
    points = len(q.message_byte)
    exchanges = Exchanges.of(
        [case for case in cases for _ in range(points)], [float(size) for size in q.message_byte * len(cases)]
    )
    cost = exchange_cost(exchanges, calibration.constants.rows(exchanges))
    sizes = np.array(q.message_byte, dtype=np.float64)
    known_as = name_in_record(q.cluster, record)
    lines = []
    for i, wires in enumerate(progress(nominal)):
        own = slice(i * points, (i + 1) * points)
        seconds, choices = cost.seconds[own], [CHOICES[c] for c in cost.choice[own]]
        wire_s = busiest_wire_s(wires, q.collective, choices, sizes)
        flow = _flows(q, wires.ranks)
        listed = []
        for j, size in enumerate(q.message_byte):
            size_class = class_of(wires, size)
            factors = record.factors(size_class, fabric=_fabric(wires), system=known_as)
            rate = size / float(seconds[j])
            listed.append(
                CurvePoint(
                    message_byte=size, seconds=float(seconds[j]), size_class=size_class,
                    low_s=float(seconds[j]) * factors[0] if factors else None,
                    high_s=float(seconds[j]) * factors[1] if factors else None,
                    algorithm_byte_per_s=rate, bus_byte_per_s=rate * bus_factor(q.collective, wires.ranks),
                    choice=choices[j], limit=LIMITS[int(cost.limit[own][j])], wire_share=float(wire_s[j] / seconds[j]),
                    flow_s=flow[j][0], flow_algorithm=flow[j][1],
                )
            )  # fmt: skip
        lines.append(
            CurveLine(
                ranks=wires.ranks, domains=math.ceil(wires.ranks / wires.domain_ranks), wires=wires,
                measured_rows=record.fabrics.get(_fabric(wires), 0), points=tuple(listed),
            )
        )  # fmt: skip
    return CollectiveCurve(
        question=q, lines=tuple(lines), calibration=calibration.name, known_as=known_as,
        system_rows=record.systems.get(known_as, 0), errors=_errors(record, known_as, lines),
    )  # fmt: skip


def bus_factor(collective: str, ranks: int) -> float:
    """Bus bandwidth over algorithm bandwidth, as nccl-tests defines it: bytes that a rank must send, over the tensor.

    2 (n-1) / n of an all-reduce, (n-1) / n of an all-gather, reduce-scatter and all-to-all, 1 of a send. It makes large
    messages comparable with the wire's rate whatever the number of ranks. Reference: NVIDIA/nccl-tests,
    doc/PERFORMANCE.md.
    """
    passes = {"all_reduce": 2.0, "permute": 0.0}.get(collective, 1.0)
    return passes * (ranks - 1.0) / ranks if passes else 1.0


def busiest_wire_s(wires: Wires, collective: str, choices: Sequence[str], message_byte: Floats) -> Floats:
    """Seconds in which the busiest wire carries what the chosen algorithms put on it, at nominal rate; shape (points,).

    .. math:: t = \\max(V_{in} / \\beta, V_{out} / B)

    with the bytes of a chip's links in a domain and of a domain's cards: a ring's p (n-1)/n M on both; a tree's 2 M and
    M (two domains) or 2 M; in the switches (1 + 1/m) M and as a tree; an all-to-all's M (m-1)/n and M m (1 - m/n); a
    send's M and m M. Leaves out reduction in switches between domains, which halves V_out.
    """
    n, m, one = float(wires.ranks), float(wires.domain_ranks), wires.ranks <= wires.domain_ranks
    tree_out = 1.0 if math.ceil(n / m) == 2 else 2.0
    ring = bus_factor("all_reduce" if collective == "all_reduce" else "all_gather", wires.ranks)
    sends = ((m - 1.0) / n, m * (1.0 - m / n)) if collective == "all_to_all" else (1.0, m)
    volumes = {"ring": (ring, ring), "tree": (2.0, tree_out), "reduction": (1.0 + 1.0 / m, tree_out), "sends": sends}
    up = wires.pair_byte_per_s if collective == "permute" else wires.up_byte_per_s
    factor = []
    for choice in choices:
        inside, outside = volumes[re.split(r"[ ,]", choice)[0]]
        factor.append(max(inside / up, 0.0 if one else outside / wires.out_byte_per_s))
    return np.asarray(np.array(factor) * message_byte)


def class_of(wires: Wires, message_byte: float) -> str:
    """The class of `CLASSES` under which the record keeps such a collective."""
    if message_byte < LARGE_BYTE:
        return "small"
    return "across" if wires.domain_ranks < wires.ranks else "inside"


def name_in_record(cluster: Cluster, record: CollectiveRecord) -> str:
    """The name under which a system's measured rows are recorded: its id or alias, alone or after its owner's name."""
    own = [_plain(word) for word in (cluster.id, cluster.name, *system(cluster.id).aliases)] if cluster.id else []
    names = sorted(record.systems)
    same = [name for name in names if _plain(name) in own]
    ending = [name for name in names if any(_plain(name).endswith(f" {word}") for word in own)]
    return next(iter(same + ending), "")


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[^a-z0-9]", " ", text.lower()).split())


def _degraded(wires: Wires, share: float) -> Wires:
    """The wires when the slowest link and card have a share of their rate: a coupled flow runs at that throughout."""
    if share == 1.0:
        return wires
    return replace(
        wires, up_byte_per_s=share * wires.up_byte_per_s, pair_byte_per_s=share * wires.pair_byte_per_s,
        out_byte_per_s=share * wires.out_byte_per_s,
    )  # fmt: skip


def _fabric(wires: Wires) -> str:
    """The wires inside a domain and between domains, as the record counts measured rows."""
    return f"{wires.fabric}|{wires.out_link}"


def _errors(record: CollectiveRecord, known_as: str, lines: Sequence[CurveLine]) -> tuple[HeldOutError, ...]:
    """The record of the classes of sizes that the curve has points in, in the ways of holding out that fit."""
    used = {
        (point.size_class, ("groups" if known_as else "systems") if line.measured_rows else "fabrics")
        for line in lines
        for point in line.points
    }
    entries = [(word, hold, record.classes.get(f"{hold}/{word}")) for word in CLASSES for hold in HOLDS]
    return tuple(
        HeldOutError(
            size_class=word, hold=hold, rows=entry.rows, error=entry.macro, baseline_error=entry.baseline_macro
        )
        for word, hold, entry in entries
        if entry is not None and (word, hold) in used
    )


def _flows(q: CollectiveQuestion, ranks: int) -> Sequence[tuple[float, str]]:
    if not q.flows:
        return [(0.0, "")] * len(q.message_byte)
    from .collective_flows import flow_seconds

    return flow_seconds(q, ranks)
