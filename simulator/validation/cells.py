"""Cells of a row of measured runs, and the verdict on a row that cannot be predicted."""

from __future__ import annotations

import math
from collections.abc import Mapping


class Unsupported(ValueError):  # noqa: N818 (a verdict on a row, no error of the program)
    """A row that cannot be predicted; the message is the reason."""


def count(row: Mapping[str, str], name: str) -> int:
    """A whole number of a row, 0 where it is blank or unreadable."""
    try:
        value = float(row.get(name, "") or 0)
    except ValueError:
        return 0
    return int(value) if math.isfinite(value) and value > 0 else 0


def number(row: Mapping[str, str], name: str) -> float | None:
    """A positive number of a row, None where it is blank; raises `Unsupported` for what is no number."""
    if not row[name]:
        return None
    try:
        value = float(row[name])
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise Unsupported(f"{name} is {row[name]!r}; a number above 0 is needed")
    return value
