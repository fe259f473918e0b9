"""What a run draws from the wall."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hwmodels.chip import Chip

#: Power usage effectiveness: energy of the building over that of its computers. Google's fleet, 1.09 to 1.10 in 2019 to
#: 2024; others differ (Microsoft 1.18, industry 1.58), so that a report names it as an assumption.
PUE: Final = 1.10
PUE_SOURCE: Final = "Google's published fleet average, 2019 to 2024; the industry's average was 1.58 in 2023 (Uptime)"

#: Share of a chip's power limit it draws with nothing running, where its file has no idle power: AccelWattch found 32 W
#: for a V100 of 300 W, roofline measurements 67 W for an A100 of 400 W and 105 W for an H200 of 700 W. An assumption.
IDLE_SHARE: Final = 0.15


@dataclass(frozen=True, kw_only=True)
class EnergyUse:
    """Energy of a run, between what idle chips and full chips would have taken [J]."""

    energy_j: float
    idle_j: float
    peak_j: float
    basis: str


def energy(
    *, chip: Chip, chips: int, servers: int, host_power_w: float, utilisation: float, time_s: float, pue: float = PUE
) -> EnergyUse:
    """Energy of chips and servers over a time.

    .. math:: E = PUE \\; t \\; (n (P_{idle} + u (P_{tdp} - P_{idle})) + n_{server} P_{host})

    Parameters
    ----------
    servers, host_power_w
        Servers that run, and what one takes besides its chips, at full load. [W]
    utilisation
        Share of the time in which a chip computes; 0 to 1.
    pue
        Energy of the building over that of the computers.

    Raises
    ------
    ValueError
        For a utilisation outside 0 to 1, a PUE below 1, or a negative count or time.

    Notes
    -----
    Leaves out: switches, storage; that a kernel seldom draws the whole power limit, nor an idle host its full power.
    """
    if not 0.0 <= utilisation <= 1.0:
        raise ValueError(f"energy: utilisation is {utilisation!r}; a share from 0 to 1.")
    if pue < 1.0:
        raise ValueError(f"energy: pue is {pue!r}; 1 or more.")
    if chips < 0 or servers < 0 or host_power_w < 0 or time_s < 0:
        raise ValueError("energy: chips, servers, host_power_w and time_s are not negative.")
    idle_w = chip.idle_w if chip.idle_w is not None else IDLE_SHARE * chip.tdp_w

    def at(share: float) -> float:
        return pue * time_s * (chips * (idle_w + share * (chip.tdp_w - idle_w)) + servers * host_power_w)

    return EnergyUse(
        energy_j=at(utilisation),
        idle_j=at(0.0),
        peak_j=at(1.0),
        basis=_basis(chip, idle_w, host_power_w, utilisation, pue),
    )


def _basis(chip: Chip, idle_w: float, host_power_w: float, utilisation: float, pue: float) -> str:
    assumed = "" if chip.idle_w is not None else " (assumed)"
    return (
        f"chips draw {idle_w:.0f} W idle{assumed} to {chip.tdp_w:.0f} W and compute {100 * utilisation:.0f} % "
        f"of the time, {host_power_w:.0f} W per server besides, PUE {pue:g}"
    )
