"""Which cache or memory serves what a call touches: by how much was touched since it was touched last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from hwmodels.chip import Chip

from ..calibration.kernel_fit import Values
from ..kernels.kernel_constants import KernelSpec
from ..kernels.optable import Floats
from .fitting import Alike, Law, LawFit, fit_law
from .observations import Observation, suite_of


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Stretches of memory that a call touches, each with the bytes touched since it was touched last; shape (n,)."""

    byte: Floats
    distance_byte: Floats
    written: np.ndarray

    @classmethod
    def of(cls, stretches: Sequence[tuple[float, float, bool]]) -> Traffic:
        """From (bytes, distance, whether it is written)."""
        return cls(
            byte=np.array([s[0] for s in stretches], dtype=np.float64),
            distance_byte=np.array([s[1] for s in stretches], dtype=np.float64),
            written=np.array([s[2] for s in stretches], dtype=bool),
        )


def _spec(name: str, unit: str, prior: float, low: float, high: float, spread: float, meaning: str) -> KernelSpec:
    return KernelSpec(name=name, unit=unit, prior=prior, low=low, high=high, spread=spread, meaning=meaning)


SPECS: Final[Mapping[str, KernelSpec]] = {
    spec.name: spec
    for spec in (
        _spec("near_byte_s", "s/B", 1e-11, 1e-13, 1e-9, 1.0, "time of a byte in a core's own caches"),
        _spec("last_byte_s", "s/B", 1.5e-11, 1e-13, 1e-9, 1.0, "time of a byte in the last cache"),
        _spec("memory_byte_s", "s/B", 5e-11, 1e-12, 1e-8, 1.0, "time of a byte in the main memory"),
        _spec("write_scale", "1", 1.3, 0.3, 5.0, 0.5, "time of a byte written beyond the caches, against one read"),
        _spec("near_byte", "B", 1e6, 5e4, 1e7, 0.5, "what a core's own caches hold"),
        _spec("last_byte", "B", 2e7, 1e6, 1e9, 0.6, "what the last cache holds for one process"),
        _spec("call_s", "s", 2e-6, 1e-7, 1e-4, 1.0, "time of a call that touches next to nothing"),
    )
}  # fmt: skip
#: How sharply a cache is left as what is touched outgrows it.
_SHARP: Final = 3.0
#: Bytes of a word.
_WORD: Final = 4.0


def kept_share(distance_byte: Floats, holds_byte: Floats | float) -> Floats:
    """Share that a cache still holds of what was touched so many bytes ago, 1 / (1 + (d / C)^3)."""
    return np.asarray(1.0 / (1.0 + (distance_byte / holds_byte) ** _SHARP))


def byte_s(distance_byte: Floats, written: np.ndarray, v: Mapping[str, Floats | float]) -> Floats:
    """Seconds of a byte by its distance; shape (n,).

    .. math:: c = c_1 h_1 + c_2 (h_2 - h_1) + c_3 w (1 - h_2)

    with the shares h_1 and h_2 that a core's own caches and the last cache still hold, w for bytes that are written.
    Left out: the first cache, lines that two cores share, prefetching that a call's own pattern defeats.
    """
    near = kept_share(distance_byte, v["near_byte"])
    last = np.maximum(kept_share(distance_byte, v["last_byte"]), near)
    far = np.where(written, v["write_scale"], 1.0) * v["memory_byte_s"]
    return np.asarray(near * v["near_byte_s"] + (last - near) * v["last_byte_s"] + (1.0 - last) * far)


def traffic_s(traffic: Traffic, v: Mapping[str, float]) -> float:
    """Seconds of all stretches of a call."""
    return float(np.sum(traffic.byte * byte_s(traffic.distance_byte, traffic.written, v)))


def beyond_s(traffic: Traffic, v: Mapping[str, float]) -> float:
    """The same beyond what they would take in a core's own caches, which the work of a product includes."""
    return max(0.0, traffic_s(traffic, v) - float(np.sum(traffic.byte)) * v["near_byte_s"])


#: Kinds of the training suite that do nothing but move words: (words read, of which written over, words made).
_MOVERS: Final = {"add": (2, 0, 1), "add_into": (2, 1, 0), "scale": (1, 1, 0), "relu": (1, 0, 1), "copy": (1, 0, 1)}
_MEMORY: Final = {"copy": (1, 1), "read": (1, 0), "write": (0, 1), "triad": (2, 1)}


def of_memory(o: Observation) -> Traffic:
    """What a case of the memory suite touches: the same tensors, call after call."""
    word = _WORD * float(o.shape["elements"])
    read, written = _MEMORY[o.kind]
    every = (read + written) * word
    return Traffic.of([(read * word, every, False), (written * word, every, True)])


def cycled(read_byte: float, over_byte: float, made_byte: float, sets: float) -> Traffic:
    """What a call touches that is made on one set of operands after the other.

    Operands (of which ``over_byte`` are written over) come again after all sets; what a call makes was freed by the
    call before, and comes again at once.
    """
    again = sets * read_byte + made_byte
    return Traffic.of(
        [(read_byte, again, False), (over_byte, read_byte, True), (made_byte, read_byte + made_byte, True)]
    )


def levels_law(observations: Sequence[Observation], chip: Chip) -> Law | None:
    """The law of moving words: t = t_call + sum of bytes times `byte_s`; None where nothing was measured."""
    rows = suite_of(observations, "memory")
    touched = [of_memory(o) for o in rows]
    for o in suite_of(observations, "training"):
        if o.kind in _MOVERS:
            read, over, made = (_WORD * w * float(o.shape["rows"]) * float(o.shape["cols"]) for w in _MOVERS[o.kind])
            rows.append(o)
            touched.append(cycled(read, over, made, float(o.shape["sets"])))
    if len(rows) < 10:
        return None
    owner = np.repeat(np.arange(len(rows)), [len(t.byte) for t in touched])
    byte, distance = (np.concatenate([getattr(t, k) for t in touched]) for k in ("byte", "distance_byte"))
    written = np.concatenate([t.written for t in touched])

    def seconds(v: Values) -> Floats:
        each = byte * byte_s(distance, written, {name: float(column[0]) for name, column in v.items()})
        return np.asarray(v["call_s"] + np.bincount(owner, each, minlength=len(rows)))

    once = np.bincount(owner, byte, minlength=len(rows)) / chip.memory_bandwidth_byte_per_s
    return Law(
        name="step memory", specs=SPECS, seconds=seconds, settings=Alike(len(rows)), observations=rows,
        yardstick_s=np.maximum(once, 1e-9), needed="--suites memory,training",
    )  # fmt: skip


def fitted_levels(observations: Sequence[Observation], chip: Chip) -> LawFit | None:
    """The fit of `levels_law`."""
    law = levels_law(observations, chip)
    return fit_law(law) if law else None


def values_of(fit: LawFit) -> dict[str, float]:
    """The constants as plain numbers."""
    return {name: c.value for name, c in fit.constants.items()}
