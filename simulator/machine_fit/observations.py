"""What was measured, whatever file it came from: one record for each kernel or collective."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ..probe.export import kernel_row, library_word
from ..probe.record import Measurement, ProbeRecord

#: Quartiles further apart than this share of the median make a row count half.
_NOISY: Final = 0.2


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One measured call.

    ``suite`` and ``shape`` are those of `simulator.probe`; ``row`` is the same as a row of measured kernels where there
    is one. ``flop`` [FLOP] and ``byte`` [B] are the nominal work; ``spread`` the distance of the quartiles over the
    median, 0 where a file does not say; ``low_s`` the low quartile, 0 likewise [s].
    """

    id: str
    suite: str
    precision: str
    shape: Mapping[str, int | str]
    seconds: float
    flop: float
    byte: float
    row: Mapping[str, str] = field(default_factory=dict)
    spread: float = 0.0
    low_s: float = 0.0
    ranks: int = 1
    threads: int = 1
    library: str = ""

    @property
    def weight(self) -> float:
        """How much the row counts, 1 where its quartiles lie close together."""
        return 1.0 / (1.0 + (self.spread / _NOISY) ** 2)

    @property
    def fold(self) -> int:
        """Which part of the data it is held out with: the same wherever and in whatever order it stands."""
        return int(hashlib.sha256(self.id.encode()).hexdigest(), 16)

    @property
    def kind(self) -> str:
        """The word that tells the suite's kinds apart: the pass, operator, rule or kind of a case."""
        found = (self.shape.get(key) for key in ("kind", "op", "rule", "pass", "layout"))
        return str(next((word for word in found if word is not None), ""))


def of_measurement(m: Measurement, library: str) -> Observation:
    """A probe's measurement; rows of kernels name the chip "probe", which no reader of shapes looks at."""
    t = m.timing
    return Observation(
        id=m.case.id, suite=m.case.suite, precision=m.case.precision, shape=m.case.shape, seconds=t.median_s,
        flop=m.case.flop, byte=m.case.byte, row=kernel_row(m, "probe", library) or {},
        spread=(t.high_quartile_s - t.low_quartile_s) / t.median_s, low_s=t.low_quartile_s, ranks=m.ranks,
        threads=m.threads, library=m.library,
    )  # fmt: skip


def of_record(record: ProbeRecord) -> list[Observation]:
    """All measurements of a probe, in the order of their names."""
    library = library_word(record.machine)
    return [of_measurement(m, library) for _, m in sorted(record.measurements.items())]


def suite_of(observations: Sequence[Observation], *names: str) -> list[Observation]:
    """Those of some suites."""
    return [o for o in observations if o.suite in names]
