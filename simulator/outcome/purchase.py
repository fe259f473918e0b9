"""What an hour of a chip costs: rented from a list, rented as spot, or owned."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import hwmodels.catalog as hardware
from simulator.outcome.failures import RunError
from simulator.outcome.money import ChipPrice, latest_price

KINDS: Final = ("list", "spot", "owned")
_YEAR_H: Final = 8766.0
#: Server, network and installation over the chips' own price: an assumption. A DGX A100 was sold for USD 199,000 in
#: 2020 (recalled), eight chips of about 11,000: 2.3 times the chips.
BESIDE_CHIPS: Final = 2.3


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How chips are paid for.

    "list": the latest list price, or ``usd_per_chip_hour``. "spot": ``spot_share`` of it; what servers taken back cost
    is in the clock. "owned": bought for ``usd_per_chip`` (0: the latest price of one chip times `BESIDE_CHIPS`),
    written off over ``years`` at ``interest`` a year, in use ``used_share`` of them; ``usd_per_kwh`` for energy, and
    ``hosting_usd_per_kw_month`` for its place.
    """

    kind: str = "list"
    usd_per_chip_hour: float = 0.0
    spot_share: float = 0.0
    usd_per_chip: float = 0.0
    years: float = 4.0
    interest: float = 0.0
    used_share: float = 0.8
    usd_per_kwh: float = 0.10
    hosting_usd_per_kw_month: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise RunError(f"price: {self.kind!a} is not known; legal: {', '.join(KINDS)}.")
        for name in ("usd_per_chip_hour", "usd_per_chip", "interest", "usd_per_kwh", "hosting_usd_per_kw_month"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise RunError(f"price: {name} is {getattr(self, name)!r}; a number, 0 or more.")
        if not (self.years > 0 and 0 < self.used_share <= 1):
            raise RunError(f"price: {self.years:g} years, used {self.used_share:g}; legal: above 0, and above 0 to 1.")
        if self.kind == "spot" and not 0 < self.spot_share <= 1:
            raise RunError(
                f"price: spot at {self.spot_share:g} of the list price; legal: a share above 0 to 1, as 0.35. No spot "
                "price ships: it changes by the hour."
            )


def annuity_usd_per_year(capital_usd: float, years: float, interest: float) -> float:
    """What pays a sum back in equal years [USD/year].

    .. math:: A = C \\frac{r}{1 - (1 + r)^{-y}}, \\qquad r = 0: A = C / y
    """
    return capital_usd * interest / -math.expm1(-years * math.log1p(interest)) if interest else capital_usd / years


def owned_usd_per_chip_hour(terms: Terms, *, usd_per_chip: float, chip_w: float) -> float:
    """An hour in use of a chip of one's own [USD/h].

    .. math:: \\frac{A / 8766 + h P / 730.5}{u}  + e P

    with h the rent of a kW for a month, e the price of energy, P what a chip draws with its share of everything, u the
    share of the time it is in use. Leaves out staff, taxes, what is left at the end, energy of idle hours.
    """
    capital = annuity_usd_per_year(usd_per_chip, terms.years, terms.interest) / _YEAR_H
    hosting = terms.hosting_usd_per_kw_month * chip_w / 1e3 / (_YEAR_H / 12)
    return (capital + hosting) / terms.used_share + terms.usd_per_kwh * chip_w / 1e3


def buying_price(chip_id: str) -> tuple[float, str] | None:
    """The latest price of one chip with its basis; None without one [USD]."""
    bought = [price for price in hardware.prices(chip_id) if price.usd is not None]
    if not bought:
        return None
    last = bought[-1]
    return float(last.usd or 0.0), f"USD {last.usd:,.0f} a chip: {last.source}, {last.date} ({last.source_kind})"


def price_of(terms: Terms, chip_id: str, server_id: str, *, chip_w: float) -> ChipPrice:
    """What an hour of a chip costs on these terms, or why that is not known."""
    if terms.kind == "owned":
        known = (terms.usd_per_chip, f"USD {terms.usd_per_chip:,.0f} a chip with everything, as given")
        if not terms.usd_per_chip:
            found = buying_price(chip_id)
            if found is None:
                return ChipPrice(usd_per_chip_hour=None, basis=f"no price to buy {chip_id} is known; give one")
            known = (found[0] * BESIDE_CHIPS, f"{found[1]}, x {BESIDE_CHIPS:g} with server and network (assumed)")
        hour = owned_usd_per_chip_hour(terms, usd_per_chip=known[0], chip_w=chip_w)
        basis = (
            f"USD {hour:.3g} per chip-hour, owned: {known[1]}; over {terms.years:g} years at "
            f"{100 * terms.interest:g} %, used {100 * terms.used_share:g} %, USD {terms.usd_per_kwh:g} a kWh"
        )
        return ChipPrice(usd_per_chip_hour=hour, basis=basis)
    if terms.usd_per_chip_hour:
        listed = ChipPrice(
            usd_per_chip_hour=terms.usd_per_chip_hour, basis=f"USD {terms.usd_per_chip_hour:g} per chip-hour, as given"
        )
    else:
        listed = latest_price(chip_id, server_id)
    if terms.kind == "list" or listed.usd_per_chip_hour is None:
        return listed
    return ChipPrice(
        usd_per_chip_hour=listed.usd_per_chip_hour * terms.spot_share,
        basis=f"spot, {100 * terms.spot_share:g} % of {listed.basis}", price=listed.price,
    )  # fmt: skip
