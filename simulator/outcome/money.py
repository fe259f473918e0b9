"""What chips cost by the hour."""

from __future__ import annotations

from dataclasses import dataclass

import hwmodels.catalog as hardware
from hwmodels.price import Price


@dataclass(frozen=True, kw_only=True)
class ChipPrice:
    """The rent of one chip, or why there is none. ``basis`` says which price it is, where and when."""

    usd_per_chip_hour: float | None
    basis: str
    price: Price | None = None

    def cost_usd(self, chip_hours: float) -> float | None:
        """Rent of so many chip-hours [USD]; None without a price."""
        return None if self.usd_per_chip_hour is None else self.usd_per_chip_hour * chip_hours


def latest_price(chip_id: str, server_id: str = "") -> ChipPrice:
    """The latest list price per chip-hour, of the server where it has one of its own, else of the chip.

    Of several of the same date the lowest counts. Leaves out: discounts for commitment, storage, traffic, and the years
    since; the basis names the date.
    """
    for item in (server_id, chip_id):
        known = item in hardware.server_ids() or item in hardware.chip_ids()
        rents = [p for p in (hardware.prices(item) if known else ()) if p.usd_per_chip_hour is not None]
        if not rents:
            continue
        latest = max(price.date for price in rents)
        price = min((p for p in rents if p.date == latest), key=lambda p: p.usd_per_chip_hour or 0.0)
        basis = (
            f"USD {price.usd_per_chip_hour:g} per chip-hour: {price.source}, {price.region}, {price.date} "
            f"({price.source_kind}: {price.locator})"
        )
        return ChipPrice(usd_per_chip_hour=price.usd_per_chip_hour, basis=basis, price=price)
    return ChipPrice(usd_per_chip_hour=None, basis=f"no list price by the hour is known for {chip_id}")
