"""Numbers as people read them: three or four digits, one unit, nothing that a terminal could misread."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

_TIMES: Final = (("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9))
_BYTES: Final = (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1.0))
_PREFIXES: Final = (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0))
_WORDS: Final = (("trillion", 1e12), ("billion", 1e9), ("million", 1e6))


def digits(value: float, significant: int = 3) -> str:
    """A plain decimal of so many significant digits, thousands apart, never in powers of ten.

    Examples
    --------
    >>> digits(1234567.0), digits(0.012345), digits(9.996)
    ('1,234,567', '0.0123', '10.0')
    """
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    rounded = float(f"{value:.{significant - 1}e}")
    places = max(0, significant - 1 - math.floor(math.log10(abs(rounded))))
    return f"{value:,.{places}f}"


def seconds(value_s: float) -> str:
    """A duration [s] in the unit that suits it, from nanoseconds to years.

    Examples
    --------
    >>> seconds(0.0123), seconds(9.81), seconds(5400.0), seconds(864000.0)
    ('12.3 ms', '9.81 s', '90.0 min', '10.0 days')
    """
    size = abs(value_s)
    if size >= 2 * 365.25 * 86400:
        return f"{digits(value_s / (365.25 * 86400))} years"
    if size >= 2 * 86400:
        return f"{digits(value_s / 86400)} days"
    if size >= 2 * 3600:
        return f"{digits(value_s / 3600)} h"
    if size >= 120:
        return f"{digits(value_s / 60)} min"
    if size >= 0.9995 or size == 0:
        return f"{digits(value_s)} s"
    for unit, factor in _TIMES:
        if size >= 0.9995 * factor:
            return f"{digits(value_s / factor)} {unit}"
    return f"{digits(value_s / 1e-12)} ps"


def scaled(value: float, unit: str) -> str:
    """A quantity with the largest decimal prefix that leaves a number above 1: ``312 TFLOP/s``."""
    for prefix, factor in _PREFIXES:
        if abs(value) >= 0.9995 * factor or factor == 1.0:
            return f"{digits(value / factor)} {prefix}{unit}"
    raise AssertionError("the last prefix takes every value")


def byte(value_byte: float) -> str:
    """An amount of memory or traffic [B] in decimal units: ``80.0 GB``."""
    for unit, factor in _BYTES:
        if abs(value_byte) >= 0.9995 * factor or factor == 1.0:
            return f"{digits(value_byte / factor)} {unit}"
    raise AssertionError("the last unit takes every value")


def capacity(value_byte: float) -> str:
    """What a memory holds or must hold [B] in powers of two, as memories are sold: ``80.0 GiB``, ``51.2 MiB``."""
    if 0 < abs(value_byte) < 0.9995 * 2**30:
        return f"{digits(value_byte / 2**20)} MiB"
    return f"{digits(value_byte / 2**30)} GiB"


def energy(value_j: float) -> str:
    """An energy [J] in Wh and its multiples: ``4.10 GWh``."""
    return scaled(value_j / 3600.0, "Wh")


def money(value_usd: float) -> str:
    """An amount of money [USD] to three digits: ``USD 425,000``."""
    if abs(value_usd) < 100:
        return f"USD {digits(value_usd)}"
    factor = 10 ** (math.floor(math.log10(abs(value_usd))) - 2)
    return f"USD {round(value_usd / factor) * factor:,}"


def many(value: float) -> str:
    """A large count in words: ``300 billion``."""
    for word, factor in _WORDS:
        if abs(value) >= factor:
            return f"{digits(value / factor).removesuffix('.00').removesuffix('.0')} {word}"
    return f"{value:,.0f}" if value == int(value) else digits(value)


def percent(share: float, places: int = 1) -> str:
    """A share as percent: ``51.4 %``."""
    return f"{100.0 * share:.{places}f} %"


def apportion(values: Sequence[float], total: int) -> tuple[int, ...]:
    """Whole numbers in proportion to `values` that add up to `total` (largest remainder; ties to the first).

    Rounding each percentage by itself gives columns that add up to 99.9.

    Examples
    --------
    >>> apportion([1, 1, 1], 1000)
    (334, 333, 333)
    """
    whole = math.fsum(values)
    if whole <= 0:
        return (0,) * len(values)
    exact = [value / whole * total for value in values]
    floors = [math.floor(share) for share in exact]
    by_remainder = sorted(range(len(values)), key=lambda i: (floors[i] - exact[i], i))
    for i in by_remainder[: total - sum(floors)]:
        floors[i] += 1
    return tuple(floors)
