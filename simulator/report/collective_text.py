"""The curve of one collective as text and as plain values: a table, a small plot, and what it rests on."""

from __future__ import annotations

import math
import re
import string
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

import hwmodels.catalog as hardware

from ..collective_curve import CLASSES, HOLDS, CollectiveCurve, CurveLine, CurvePoint, HeldOutError
from .quantities import digits, percent, scaled, seconds
from .tables import fold, table

WIDTH: Final = 100
#: Columns of the table that are set left.
LEFT: Final = (6, 7, 9)
#: What each of the two columns about flows adds to the width of the table.
_FLOW_COLUMN: Final = 14
_ROWS: Final = 10
_SHORT: Final = {
    "ring, large-message protocol": "ring, large", "ring, small-message protocol": "ring, small",
    "tree, large-message protocol": "tree, large", "tree, small-message protocol": "tree, small",
    "reduction in the switches": "in switches", "sends": "sends",
}  # fmt: skip
_BINARY: Final = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
_DECIMAL: Final = (("GB", 10**9), ("MB", 10**6), ("kB", 10**3))


def size_word(byte: int) -> str:
    """A size as it was most likely written [B]: ``64 KiB``, ``10 MB``, ``1,001 B``.

    Examples
    --------
    >>> size_word(65536), size_word(10**7), size_word(1001)
    ('64 KiB', '10 MB', '1,001 B')
    """
    for unit, factor in (*_BINARY, *_DECIMAL):
        if byte and byte % factor == 0:
            return f"{byte // factor:,} {unit}"
    return f"{byte:,} B"


def collective_text(curve: CollectiveCurve) -> str:
    """The whole answer, ending in a newline."""
    lines = fold(title(curve), WIDTH)
    lines += fold(conditions(curve), WIDTH) if conditions(curve) else []
    wide = WIDTH + 2 * _FLOW_COLUMN if curve.question.flows else WIDTH
    for line in curve.lines:
        lines += ["", *fold(line_title(curve, line), WIDTH, rest="  ")]
        lines += table(header(curve), cells(curve, line), left=LEFT, width=wide)
    lines += ["", *plot(curve), ""]
    for text in footer(curve):
        lines += fold(text, WIDTH)
    return "\n".join(lines) + "\n"


def title(curve: CollectiveCurve) -> str:
    """What the curve is of, in one line."""
    q = curve.question
    ranks = _listed([f"{n:,}" for n in q.ranks])
    how = f"{q.algorithm.replace('_', ' ')} forced" if q.algorithm else "which chooses the algorithm"
    return f"{q.collective} on {q.cluster.id}: {ranks} ranks, library {q.library}, {how}"


def conditions(curve: CollectiveCurve) -> str:
    """What is not as usual: groups side by side, fewer cards, a degraded link; "" if nothing."""
    q = curve.question
    said = []
    if q.stride > 1:
        said.append(f"Ranks are {q.stride} apart and {q.stride} such groups run at once.")
    if q.cards:
        said.append(f"The library uses {q.cards} of {q.cluster.network_cards} network cards of a server.")
    if q.degraded_share < 1.0:
        said.append(
            f"The slowest link and the slowest card have {percent(q.degraded_share, 0)} of their rate: a ring or a "
            "tree is one coupled flow, so its slowest hop sets the pace of all."
        )
    return " ".join(said)


def line_title(curve: CollectiveCurve, line: CurveLine) -> str:
    """Ranks, where they sit, and their wires at nominal rates."""
    domain = "rack" if line.wires.up_kind == "rack" else "server"
    places = f"{line.domains:,} {domain}{'s' if line.domains > 1 else ''}"
    words = [text for text in (inside_words(line), outside_words(curve, line, domain)) if text]
    return f"{line.ranks:,} ranks in {places}: {'; '.join(words)}"


def inside_words(line: CurveLine) -> str:
    """The wires inside a domain, nominal, one direction; "" where no two members share one."""
    w = line.wires
    if w.domain_ranks < 2 or not w.up_link:
        return ""
    link = hardware.link(w.up_link)
    rate, count = _rate(link.bandwidth_byte_per_s), w.up_byte_per_s / link.bandwidth_byte_per_s
    number = f"{count:.3g}"
    name = link.name.split(",")[0]
    if w.up_kind == "pairs":
        pairs = w.domain_ranks - 1
        return f"{pairs} pair{'s' if pairs > 1 else ''} of {_rate(w.pair_byte_per_s)} a chip ({name})"
    if w.up_kind == "cube_mesh":
        if count < 1.0:
            return f"no ring of direct links, {_rate(w.up_byte_per_s)} through the host ({name})"
        return f"{number} ring{'s' if count != 1 else ''} of {rate} ({name})"
    how = {"torus": " in a torus", "pcie_tree": " in a tree"}.get(w.up_kind, " through switches")
    return f"{number} link{'s' if count != 1 else ''} of {rate} a chip{how} ({name})"


def outside_words(curve: CollectiveCurve, line: CurveLine, domain: str) -> str:
    """The wires between domains, nominal, one direction; "" where the group stays inside one."""
    if line.domains < 2:
        return ""
    cluster, out = curve.question.cluster, line.wires.out_byte_per_s
    card = cluster.out_byte_per_s / cluster.network_cards
    cards = out / card
    number = f"{cards:.3g} card{'s' if cards != 1 else ''} of {_rate(card)}" if cards >= 1.0 else _rate(out)
    shared = " for each of the groups" if curve.question.stride > 1 else ""
    return f"{number} out of each {domain}{shared} ({cluster.out_fabric})"


def header(curve: CollectiveCurve) -> list[str]:
    """Columns of the table."""
    names = ["size", "time", "80 % interval", "alg GB/s", "bus GB/s", "of wire", "limited by", "algorithm"]
    return [*names, "as flows", "by"] if curve.question.flows else names


def cells(curve: CollectiveCurve, line: CurveLine) -> list[list[str]]:
    """The rows of one number of ranks."""
    rows = []
    for p in line.points:
        row = [
            size_word(p.message_byte), seconds(p.seconds), interval(p), digits(p.algorithm_byte_per_s / 1e9),
            digits(p.bus_byte_per_s / 1e9), percent(p.wire_share, 0), p.limit, _SHORT[p.choice],
        ]  # fmt: skip
        rows.append([*row, seconds(p.flow_s), p.flow_algorithm.replace("_", " ")] if curve.question.flows else row)
    return rows


def interval(point: CurvePoint) -> str:
    """The 80 % interval; "-" where nothing like it was ever measured."""
    if point.low_s is None or point.high_s is None:
        return "-"
    low, high = seconds(point.low_s), seconds(point.high_s)
    unit = high.rpartition(" ")[2]
    return f"{low.removesuffix(f' {unit}')} to {high}"


def plot(curve: CollectiveCurve) -> list[str]:
    """Bus bandwidth by size on logarithmic axes, a letter for each number of ranks."""
    values = [[p.bus_byte_per_s / 1e9 for p in line.points] for line in curve.lines]
    low, high = math.log10(min(map(min, values))), math.log10(max(map(max, values)))
    span = max(high - low, 1e-9)
    sizes = curve.question.message_byte
    step = max(1, min(4, (WIDTH - 14) // len(sizes)))
    rows = [[" "] * (step * (len(sizes) - 1) + 1) for _ in range(_ROWS)]
    marks = "o" if len(values) == 1 else string.ascii_letters + string.digits + "+#"
    for mark, line in zip(marks, values, strict=False):
        for i, value in enumerate(line):
            row = rows[_ROWS - 1 - round((math.log10(value) - low) / span * (_ROWS - 1))]
            row[step * i] = mark if row[step * i] in (" ", mark) else "*"
    ends = {
        0: 10.0**high,
        _ROWS // 2: 10.0 ** (low + span * (_ROWS - 1 - _ROWS // 2) / (_ROWS - 1)),
        _ROWS - 1: 10**low,
    }
    shown = [f"{digits(ends[i]) if i in ends else '':>9} |{''.join(row)}".rstrip() for i, row in enumerate(rows)]
    first, last = size_word(sizes[0]), size_word(sizes[-1])
    axis = f"{first}{last.rjust(max(len(rows[0]) - len(first), len(last) + 1))}" if len(sizes) > 1 else first
    keys = [f"{mark} {line.ranks:,}" for mark, line in zip(marks, curve.lines, strict=False)]
    named = f" ({', '.join(keys)} ranks; * several)" if len(values) > 1 else ""
    return [
        *fold(f"Bus bandwidth [GB/s] by size, both axes logarithmic{named}:", WIDTH),
        *shown, f"{'':>9} +{'-' * len(rows[0])}", f"{'':>11}{axis}",
    ]  # fmt: skip


def footer(curve: CollectiveCurve) -> list[str]:
    """What the columns mean and what the numbers rest on, a paragraph each."""
    q = curve.question
    of_wire = (
        "of wire: what the algorithm puts on its busiest wire against what that carries at its nominal rate in the "
        "time; bus bandwidth is the size over the time, times "
    )
    factor = {"all_reduce": "2 (n-1)/n.", "permute": "1."}.get(q.collective, "(n-1)/n.")
    said = [of_wire + factor]
    choices = {point.choice for line in curve.lines for point in line.points}
    if any(", " in choice for choice in choices):
        said.append("small, large: the library's protocol for small or for large messages.")
    if q.flows:
        said.append(
            "as flows: the quickest textbook algorithm as flows on the system's own graph, at nominal rates and with "
            "no time of a library: a bound for that algorithm. Trees from server to server and reduction in switches "
            "may be quicker."
        )
    return [*said, *rests_on(curve)]


def rests_on(curve: CollectiveCurve) -> list[str]:
    """Rows measured, held-out errors, and what lies outside both."""
    said = []
    fabrics: dict[str, tuple[int, list[int]]] = {}
    for line in curve.lines:
        fabrics.setdefault(fabric_words(line), (line.measured_rows, []))[1].append(line.ranks)
    counts = [
        f"{rows:,} measured row{'' if rows == 1 else 's'} of {name}"
        + (f" ({_listed([f'{n:,}' for n in ranks])} ranks)" if len(fabrics) > 1 else "")
        for name, (rows, ranks) in fabrics.items()
    ]
    said.append(f"Rests on {'; '.join(counts)}. Constants: {curve.calibration}.")
    if curve.system_rows:
        said.append(f"The record has {curve.system_rows:,} rows of this very system ({curve.known_as}).")
    if any(rows == 0 for rows, _ in fabrics.values()):
        said.append("Extrapolated where there are 0 measured rows: constants are those of its nearest kin.")
    if curve.errors:
        said.append("Held out, the mean error was " + "; ".join(map(_error_words, curve.errors)) + ".")
    if any(p.low_s is None for line in curve.lines for p in line.points):
        said.append("No interval (-) where no collective of the kind was measured.")
    return said


def fabric_words(line: CurveLine) -> str:
    """The wires whose measured rows count."""
    return " and ".join(filter(None, (line.wires.fabric if line.wires.up_link else "", line.wires.out_link))) or "none"


def _error_words(error: HeldOutError) -> str:
    return (
        f"{percent(error.error)} {CLASSES[error.size_class]} ({HOLDS[error.hold]}: {error.rows:,} rows; "
        f"a fitted latency and rate {percent(error.baseline_error)})"
    )


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _rate(byte_per_s: float) -> str:
    return re.sub(r"\.0+ ", " ", scaled(byte_per_s, "B/s"))


def collective_mapping(curve: CollectiveCurve) -> dict[str, Any]:
    """The same values, for JSON."""
    q = curve.question
    return {
        "schema": 1, "kind": "collective", "collective": q.collective, "system": q.cluster.id, "stride": q.stride,
        "library": q.library, "algorithm": q.algorithm or "auto", "cards": q.cards or q.cluster.network_cards,
        "degraded_share": q.degraded_share, "calibration": curve.calibration, "known_as": curve.known_as,
        "system_rows": curve.system_rows,
        "held_out": [{**asdict(error), "sizes": CLASSES[error.size_class]} for error in curve.errors],
        "lines": [_line_mapping(curve, line) for line in curve.lines],
    }  # fmt: skip


def _line_mapping(curve: CollectiveCurve, line: CurveLine) -> dict[str, Any]:
    points = []
    for point in line.points:
        value = asdict(point)
        flow_s, name = value.pop("flow_s"), value.pop("flow_algorithm")
        points.append(value | ({"flow_s": flow_s, "flow_algorithm": name} if curve.question.flows else {}))
    return {
        "ranks": line.ranks, "domains": line.domains, "wires": line_title(curve, line).partition(": ")[2],
        "fabric": fabric_words(line), "measured_rows": line.measured_rows, "extrapolated": line.measured_rows == 0,
        "points": points,
    }  # fmt: skip
