"""Prices: what a chip costs to rent for an hour or to buy, where and when."""

from __future__ import annotations

import csv
import datetime
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from hwmodels.datafile import DataFileError, did_you_mean
from hwmodels.facts import SOURCE_KINDS
from hwmodels.units import UnitError, to_si

PRICE_KINDS: Final = ("rent", "buy")
COLUMNS: Final = ("item", "kind", "value", "unit", "date", "region", "source", "source_kind", "locator")


class PriceError(ValueError):
    """A price that cannot be."""


@dataclass(frozen=True, kw_only=True)
class Price:
    """One price of one chip or server.

    Exactly one of the two amounts is set: `usd_per_chip_hour` for kind "rent" (of the whole server's price its
    share per chip) [USD/h], `usd` for kind "buy" (one item) [USD]. `date` is a year, a month or a day, as ISO 8601.
    """

    item: str
    kind: str
    usd_per_chip_hour: float | None = None
    usd: float | None = None
    date: str
    region: str
    source: str
    source_kind: str = "recalled"
    locator: str

    def __post_init__(self) -> None:
        if self.kind not in PRICE_KINDS:
            raise PriceError(f"Price of {self.item!r}: kind is {self.kind!r}; one of {', '.join(PRICE_KINDS)}.")
        if self.source_kind not in SOURCE_KINDS:
            raise PriceError(
                f"Price of {self.item!r}: source_kind is {self.source_kind!r}; one of {', '.join(SOURCE_KINDS)}."
            )
        wanted, other = self.usd_per_chip_hour, self.usd
        if self.kind == "buy":
            wanted, other = other, wanted
        if wanted is None or other is not None or not (math.isfinite(wanted) and wanted > 0):
            name = "usd_per_chip_hour" if self.kind == "rent" else "usd"
            raise PriceError(f"Price of {self.item!r}: kind {self.kind!r} needs {name} above 0, and nothing else.")
        if not _is_date(self.date):
            raise PriceError(f"Price of {self.item!r}: date is {self.date!r}; write 2024, 2024-03 or 2024-03-18.")
        if not (self.region and self.source and self.locator):
            raise PriceError(
                f"Price of {self.item!r}: region, source and locator say where it holds; none may be empty."
            )


def _is_date(text: str) -> bool:
    try:
        datetime.date.fromisoformat(text + "-01-01"[len(text) - 4 :] if len(text) in (4, 7) else text)
    except ValueError:
        return False
    return True


def read_prices(lines: Iterable[str], *, name: str) -> tuple[Price, ...]:
    """The prices of a CSV text with the columns `COLUMNS`; every problem in one `DataFileError`."""
    rows = csv.reader(lines)
    header = tuple(next(rows, ()))
    if header != COLUMNS:
        raise DataFileError(f"{name}:1: the columns are {','.join(header)!r}; they must be {','.join(COLUMNS)!r}.")
    prices, problems = [], []
    for row in rows:
        try:
            prices.append(_price(row))
        except (PriceError, UnitError) as error:
            problems.append(f"{name}:{rows.line_num}: {error}")
    if problems:
        raise DataFileError(*problems)
    return tuple(prices)


def _price(row: list[str]) -> Price:
    if len(row) != len(COLUMNS):
        raise PriceError(f"has {len(row)} cells, not {len(COLUMNS)}.")
    cells: dict[str, Any] = dict(zip(COLUMNS, row, strict=True))
    try:
        number = float(cells.pop("value"))
    except ValueError:
        raise PriceError(f"value is {row[2]!r}; a number is needed.") from None
    unit, kind = cells.pop("unit"), cells["kind"]
    if kind == "rent":
        return Price(usd_per_chip_hour=to_si(number, unit, "usd/h"), **cells)
    if kind == "buy":
        return Price(usd=to_si(number, unit, "usd"), **cells)
    raise PriceError(f"kind is {kind!r}; one of {', '.join(PRICE_KINDS)}.{did_you_mean(kind, PRICE_KINDS)}")
