"""nccl-tests: the text that all_reduce_perf and its siblings print.

Sizes are those of the larger of the two buffers, as the program counts them: the full tensor of a collective. Lines
about ranks name hosts and processes; they are counted and forgotten. Reference: NVIDIA/nccl-tests, README and
doc/PERFORMANCE.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..errors import InputError
from .kinds import opened

#: The program's name, or a word of its header, to the collective.
_PROGRAMS: Final = (
    ("all_reduce", "all_reduce"), ("allreduce", "all_reduce"), ("all_gather", "all_gather"),
    ("allgather", "all_gather"), ("reduce_scatter", "reduce_scatter"), ("reducescatter", "reduce_scatter"),
    ("alltoall", "all_to_all"), ("broadcast", "broadcast"), ("sendrecv", "permute"),
)  # fmt: skip
_RANK: Final = re.compile(r"^#\s+Rank\s+(\d+)\b.*?\bon\s+(\S+)")
_NUMBER: Final = re.compile(r"^[0-9.]+(e[+-]?\d+)?$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class NcclTest:
    """One run: its collective, ranks and hosts, and (bytes, seconds) of every line, out of place."""

    collective: str
    ranks: int
    hosts: int
    library: str
    points: tuple[tuple[int, float], ...]


def read_nccl_tests(path: str | Path) -> tuple[NcclTest, ...]:
    """Every run of a text. Raises `InputError` where a line or the collective cannot be told."""
    tests: list[NcclTest] = []
    word = _collective(Path(path).stem)
    ranks: dict[int, str] = {}
    points: list[tuple[int, float]] = []
    columns: list[str] = []
    library = "nccl"

    def close() -> None:
        if points:
            tests.append(_test(path, word, ranks, points, library))
            ranks.clear()
            points.clear()

    with opened(path) as stream:
        for number, line in enumerate(stream, start=1):
            text = line.strip()
            if text.startswith("#") or "_perf" in text:
                found = _collective(text) if "_perf" in text or "Collective test starting" in text else ""
                if points and (found or "nThread" in text):
                    close()
                word = found or word
                if "rccl" in text.lower():
                    library = "rccl"
                if match := _RANK.match(text):
                    ranks[int(match[1])] = match[2]
                if "algbw" in text:
                    columns = text.lstrip("# ").split()
                continue
            cells = text.split()
            if len(cells) >= 6 and cells[0].isdigit() and cells[1].isdigit():
                points.append(_point(f"{path}:{number}", cells, columns))
    close()
    if not tests:
        raise InputError(f"{path}: no line of measurements; one has a size, a count, a type and a time.")
    return tuple(tests)


def _collective(text: str) -> str:
    low = text.lower()
    return next((word for part, word in _PROGRAMS if part in low), "")


def _point(where: str, cells: list[str], columns: list[str]) -> tuple[int, float]:
    """Size [B] and out-of-place time [s]: the first column called "time", in us."""
    place = columns.index("time") if "time" in columns else 5
    # Where a line has no reduction or root it still has a word for it ("none", "-1"), so that columns do not shift.
    if place >= len(cells) or not _NUMBER.match(cells[place]) or float(cells[place]) <= 0.0:
        raise InputError(f"{where}: no time in column {place + 1}; us above 0 are needed.")
    return int(cells[0]), float(cells[place]) * 1e-6


def _test(
    path: str | Path, word: str, ranks: dict[int, str], points: list[tuple[int, float]], library: str
) -> NcclTest:
    if not word:
        names = ", ".join(sorted({w for _, w in _PROGRAMS}))
        raise InputError(
            f"{path}: which collective it measured stands nowhere; name the file after it, as all_reduce.txt ({names})."
        )
    if len(ranks) < 2:
        raise InputError(f"{path}: the lines '#  Rank  0 ...' are missing or fewer than 2; keep the head of the text.")
    kept = tuple((size, seconds) for size, seconds in points if size > 0)
    return NcclTest(
        collective=word, ranks=len(ranks), hosts=len(set(ranks.values())), library=library, points=kept
    )  # fmt: skip
