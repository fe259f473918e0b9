"""Units of measurement: a strict table of spellings, and the way from `"400 Gbit/s"` to SI floats.

A quantity is a number and one spelling from the table below; everything else is refused with the nearest legal
spellings. `B` is a byte and `bit` is a bit, always; `kB` counts in thousands and `KiB` in 1024s; a lone `b` is
refused, because "400 Gb/s" is read both ways by careful people. Units exist only where text comes in: inside the
program every number is an SI float with its unit in the field's name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from difflib import get_close_matches
from fractions import Fraction
from types import MappingProxyType
from typing import Final

# Factors are exact, so that "4.368 TFLOP/s" is the float nearest to 4.368e12 and not a neighbour of it.
_ONE: Final = Fraction(1)
_DECIMAL: Final = {prefix: Fraction(1000**i) for i, prefix in enumerate(("", "k", "M", "G", "T", "P", "E"))}
_BINARY: Final = {prefix: Fraction(1024**i) for i, prefix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi"), start=1)}
_SMALL: Final = {prefix: Fraction(1, 1000**i) for i, prefix in enumerate(("m", "u", "n", "p"), start=1)}


def _spellings(stem: str, prefixes: Mapping[str, Fraction], scale: Fraction = _ONE) -> dict[str, Fraction]:
    return {prefix + stem: factor * scale for prefix, factor in prefixes.items()}


_BYTE: Final = _spellings("B", _DECIMAL) | _spellings("B", _BINARY) | _spellings("bit", _DECIMAL, Fraction(1, 8))
_FLOP: Final = _spellings("FLOP", _DECIMAL) | _spellings("OP", _DECIMAL)
_SECOND: Final = _spellings("s", _SMALL) | {
    "µs": _SMALL["u"],
    "s": _ONE,
    "min": Fraction(60),
    "h": Fraction(3600),
    "day": Fraction(86400),
}
_JOULE: Final = (
    _spellings("J", _SMALL) | _spellings("J", _DECIMAL) | {"kWh": Fraction(3_600_000), "MWh": Fraction(3_600_000_000)}
)

#: For each dimension its legal spellings and what one of them is in the dimension's base unit.
#: Case counts. An integer operation ("TOP/s") is counted as one FLOP.
UNITS: Final[Mapping[str, Mapping[str, Fraction]]] = MappingProxyType(
    {
        "byte": _BYTE,
        "byte/s": {f"{unit}/s": factor for unit, factor in _BYTE.items()},
        "flop": _FLOP,
        "flop/s": {f"{unit}/s": factor for unit, factor in _FLOP.items()},
        "s": _SECOND,
        "hz": _spellings("Hz", {p: _DECIMAL[p] for p in ("", "k", "M", "G")}),
        "w": _spellings("W", {"m": _SMALL["m"]} | {p: _DECIMAL[p] for p in ("", "k", "M")}),
        "j": _JOULE,
        "j/byte": {"J/B": _ONE, "nJ/B": _SMALL["n"], "pJ/B": _SMALL["p"], "pJ/bit": 8 * _SMALL["p"]},
        "j/flop": {"J/FLOP": _ONE, "nJ/FLOP": _SMALL["n"], "pJ/FLOP": _SMALL["p"]},
        "usd": {"USD": _ONE},
        "usd/h": {"USD/h": _ONE, "USD/s": Fraction(3600), "USD/day": Fraction(1, 24)},
        "usd/j": {"USD/J": _ONE, "USD/kWh": 1 / _JOULE["kWh"], "USD/MWh": 1 / _JOULE["MWh"]},
        "tokens": {"token": _ONE, "tokens": _ONE},
        "1": {"1": _ONE, "%": Fraction(1, 100)},
    }
)

# Shown first when nothing is near: what a reader most likely wants to write.
_USUAL: Final = {
    "byte": ("GB", "GiB"),
    "byte/s": ("GB/s", "Gbit/s"),
    "flop": ("TFLOP", "GFLOP"),
    "flop/s": ("TFLOP/s", "GFLOP/s"),
    "s": ("us", "ms"),
    "hz": ("MHz", "GHz"),
    "w": ("W", "kW"),
    "j": ("J", "kWh"),
    "j/byte": ("pJ/B", "pJ/bit"),
    "j/flop": ("pJ/FLOP", "J/FLOP"),
    "usd": ("USD",),
    "usd/h": ("USD/h", "USD/day"),
    "usd/j": ("USD/kWh", "USD/MWh"),
    "tokens": ("tokens",),
    "1": ("1", "%"),
}

_NUMBER: Final = r"[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?"
_QUANTITY: Final = re.compile(rf"({_NUMBER})[ ]?([^\s0-9.+,_-]\S*|1)?")
_COUNT: Final = re.compile(_NUMBER)
# "Gb", "KB", "Mbps", "GBps", "gb/s": a prefix in any case, bits or bytes in any spelling, per second or not.
_DATA: Final = re.compile(r"([kmgtpe]?)(i?)(b|bits?|bytes?)(ps|/s|/sec|/second)?", re.IGNORECASE)
_LONGEST: Final = 100


class UnitError(ValueError):
    """A quantity that cannot be read, or can be read in two ways."""


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "...")


def _nearest(unit: str, dimension: str) -> tuple[str, ...]:
    """The two legal spellings a reader of `unit` may have meant."""
    legal = UNITS[dimension]
    if dimension in ("byte", "byte/s") and (match := _DATA.fullmatch(unit)):
        prefix, binary, stem, _ = match.groups()
        tail = "/s" if dimension == "byte/s" else ""
        letter = prefix.upper() if prefix.lower() != "k" else "k"
        decimal, bits = f"{letter}B{tail}", f"{letter}bit{tail}"
        power_of_two = f"{prefix.upper()}iB{tail}"
        if prefix and (binary or unit in ("KB", f"KB{tail}")) and power_of_two in legal:
            return (power_of_two, decimal) if binary else (decimal, power_of_two)
        return (bits, decimal) if stem in ("b", "bit", "bits") else (decimal, bits)
    by_lower = {spelling.lower(): spelling for spelling in reversed(tuple(legal))}
    near = get_close_matches(unit[:_LONGEST].lower(), list(by_lower), n=2, cutoff=0.6)
    return tuple(by_lower[word] for word in near) or _USUAL[dimension]


def to_si(value: float, unit: str, dimension: str) -> float:
    """Convert `value`, printed in `unit`, to the base unit of `dimension` [B, B/s, FLOP/s, s, Hz, W, J, USD, ...].

    Raises
    ------
    UnitError
        If the unit is not in the table for this dimension, with the nearest legal spellings.
    """
    if dimension not in UNITS:
        raise ValueError(f"no dimension {dimension!r}; known: {', '.join(sorted(UNITS))}")
    factor = UNITS[dimension].get(unit)
    if factor is None:
        of_other = sorted(name for name, units in UNITS.items() if unit in units)
        why = f"is a unit of {' and '.join(of_other)}, not of {dimension}" if of_other else "is not known"
        meant = " or ".join(repr(near) for near in _nearest(unit, dimension))
        raise UnitError(f"unit {_quoted(unit)} {why}. Did you mean {meant}?")
    if not math.isfinite(value):
        raise UnitError(f"{value!r} {unit} is not a finite number.")
    try:
        return float(Fraction(repr(float(value))) * factor)
    except OverflowError:
        raise UnitError(f"{value!r} {unit} is too large for a float in the base unit of {dimension}.") from None


def parse_quantity(text: str, dimension: str) -> float:
    """Read `"400 Gbit/s"` as 50e9 when `dimension` is "byte/s".

    At most one space stands between number and unit. Signs, thousands separators, products of units and numbers
    without a unit are refused (a pure number has dimension "1", and its unit "1" may be left out).

    Raises
    ------
    UnitError
        With what was found and the nearest legal spellings.

    Examples
    --------
    >>> parse_quantity("400 Gbit/s", "byte/s")
    50000000000.0
    >>> parse_quantity("80 GiB", "byte")
    85899345920.0
    """
    if dimension not in UNITS:
        raise ValueError(f"no dimension {dimension!r}; known: {', '.join(sorted(UNITS))}")
    usual = _USUAL[dimension][0]
    if not isinstance(text, str):
        raise UnitError(f"{text!r} is not a text; write a number and a unit, as in '80 {usual}'.")
    match = _QUANTITY.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None:
        raise UnitError(f"{_quoted(text)} is not a number and a unit; write it as in '80 {usual}'.")
    number, unit = match.groups()
    if unit is None:
        if dimension != "1":
            legal = " or ".join(repr(f"{number} {spelling}") for spelling in _USUAL[dimension])
            raise UnitError(f"{_quoted(text)} has no unit. Did you mean {legal}?")
        unit = "1"
    return to_si(float(number), unit, dimension)


def parse_count(text: str) -> float:
    """Read a count: `"1024"` or `"300e9"`. Letters ("1.5M", "300B") are refused: B is a byte here.

    Examples
    --------
    >>> parse_count("300e9")
    300000000000.0
    """
    if not isinstance(text, str) or len(text) > _LONGEST or not _COUNT.fullmatch(text):
        raise UnitError(f"{_quoted(str(text))} is not a count; write it in digits, as in '1024' or '300e9'.")
    count = float(text)
    if not math.isfinite(count) or count != math.floor(count):
        raise UnitError(f"{_quoted(text)} is not a whole number.")
    return count
