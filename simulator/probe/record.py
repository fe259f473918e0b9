"""The probe's file: what was measured on which machine, as JSON; read with every doubt, written all or nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from hwmodels.datafile import DataFileError, read_text

from ..errors import InputError
from ..output import write_atomically
from .case import Case
from .timing import Timing

SCHEMA: Final = 1
KIND: Final = "trainyard probe"
_SECONDS: Final = ("median", "q1", "q3", "min", "max")
#: Keys of a machine that every file must have.
_MACHINE: Final = ("device", "name", "vendor", "capability", "cores", "threads", "memory_byte", "torch")


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One measured case. ``ranks``, ``threads``: processes that took part, and threads of each; ``library`` is what
    carried a collective; ``clock_mhz`` the clock while it ran, None where nobody tells."""

    case: Case
    timing: Timing
    ranks: int
    threads: int
    library: str = ""
    clock_mhz: float | None = None
    throttle: str = ""


@dataclass(frozen=True, kw_only=True)
class ProbeRecord:
    """A probe's file: the machine, the seed of the cases, the measurements by case, and what was refused and why."""

    machine: Mapping[str, Any]
    seed: int
    measurements: Mapping[str, Measurement] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)

    def suite(self, name: str) -> list[Measurement]:
        """The measurements of a suite, in the order of their names: the same however they came about."""
        return [m for _, m in sorted(self.measurements.items()) if m.case.suite == name]


def to_json(record: ProbeRecord) -> str:
    """The file's text, a line for each measurement."""
    head = {"schema": SCHEMA, "kind": KIND, "seed": record.seed, "machine": dict(record.machine)}
    lines = [json.dumps(head, indent=1)[:-2] + ","]
    rows = [_dumped(m) for m in record.measurements.values()]
    lines.append(' "measurements": [\n' + ",\n".join(f"  {row}" for row in rows) + "\n ],")
    lines.append(f' "refused": {json.dumps(dict(record.refused), indent=2)}\n}}')
    return "\n".join(lines) + "\n"


def _dumped(m: Measurement) -> str:
    t = m.timing
    seconds = dict(
        zip(
            _SECONDS,
            (_short(s) for s in (t.median_s, t.low_quartile_s, t.high_quartile_s, t.least_s, t.most_s)),
            strict=True,
        )
    )
    row: dict[str, Any] = {
        "suite": m.case.suite, "precision": m.case.precision, "shape": dict(m.case.shape), "flop": _short(m.case.flop),
        "byte": _short(m.case.byte), "seconds": seconds, "samples": t.samples, "calls": t.calls, "ranks": m.ranks,
        "threads": m.threads,
    }  # fmt: skip
    row |= {k: v for k, v in (("library", m.library), ("clock_mhz", m.clock_mhz), ("throttle", m.throttle)) if v}
    return json.dumps(row)


def _short(value: float) -> float:
    return float(f"{value:.7g}")


def write_record(path: str | Path, record: ProbeRecord) -> None:
    """Write the file, all of it or nothing."""
    write_atomically(path, to_json(record))


def is_probe(text: str) -> bool:
    """Whether a text begins like a probe's file."""
    return text.lstrip()[:1] == "{" and f'"kind": "{KIND}"' in text[:400]


def read_record(path: str | Path) -> ProbeRecord:
    """Read a probe's file.

    Raises
    ------
    InputError
        With the first thing that is wrong, and where.
    """
    name = str(path)
    try:
        text = read_text(path, name=name, too_large="a probe's file has a few thousand lines")
    except DataFileError as error:
        raise InputError(*error.problems) from None
    return record_of(text, name)


def record_of(text: str, name: str) -> ProbeRecord:
    """The record that the text of a probe's file holds. Raises `InputError` as `read_record` does."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}: not JSON ({' '.join(str(error).split())[:120]}).") from None
    if not isinstance(data, dict) or data.get("kind") != KIND:
        raise InputError(f'{name}: not a file of `trainyard probe`; it would say "kind": "{KIND}".')
    if data.get("schema") != SCHEMA:
        raise InputError(f"{name}: schema is {data.get('schema')!r}; this release reads {SCHEMA}. Measure anew.")
    machine = data.get("machine")
    missing = [key for key in _MACHINE if not isinstance(machine, dict) or key not in machine]
    if missing or not isinstance(machine, dict):
        raise InputError(f"{name}: machine lacks {', '.join(missing)}.")
    measurements: dict[str, Measurement] = {}
    for place, row in enumerate(data.get("measurements") or []):
        try:
            m = _measurement(row)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{name}: measurements[{place}]: {_said(error)}") from None
        measurements[m.case.id] = m
    refused = data.get("refused") or {}
    return ProbeRecord(
        machine=machine, seed=int(data.get("seed", 0)), measurements=measurements,
        refused={str(k): str(v) for k, v in refused.items()} if isinstance(refused, dict) else {},
    )  # fmt: skip


def _said(error: Exception) -> str:
    return f"{error.args[0]} is missing." if isinstance(error, KeyError) else f"{' '.join(str(error).split())[:160]}."


def _measurement(row: Mapping[str, Any]) -> Measurement:
    if not isinstance(row, dict):
        raise TypeError(f"is {row!r:.60}; a table is needed")
    seconds = [float(row["seconds"][word]) for word in _SECONDS]
    if not all(math.isfinite(s) and s > 0 for s in seconds):
        raise ValueError("seconds are not all finite and above 0")
    shape = row["shape"]
    if not isinstance(shape, dict) or not all(type(v) in (int, str) for v in shape.values()):
        raise TypeError("shape holds more than whole numbers and words")
    case = Case(
        suite=str(row["suite"]), precision=str(row["precision"]), shape=shape, flop=float(row["flop"]),
        byte=float(row["byte"]),
    )  # fmt: skip
    timing = Timing(
        median_s=seconds[0], low_quartile_s=seconds[1], high_quartile_s=seconds[2], least_s=seconds[3],
        most_s=seconds[4], samples=int(row["samples"]), calls=int(row["calls"]),
    )  # fmt: skip
    return Measurement(
        case=case, timing=timing, ranks=int(row.get("ranks", 1)), threads=int(row.get("threads", 1)),
        library=str(row.get("library", "")), clock_mhz=row.get("clock_mhz"), throttle=str(row.get("throttle", "")),
    )  # fmt: skip


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """In what two descriptions of machines differ."""
    keys = list(dict.fromkeys((*there, *here)))
    return [f"{k} is {there.get(k)!r} there and {here.get(k)!r} here" for k in keys if there.get(k) != here.get(k)]
