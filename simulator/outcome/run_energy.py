"""Energy and power of a whole run: chips by what they do, hosts, network, cooling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hwmodels.chip import Chip
from simulator.outcome.energy import IDLE_SHARE, PUE
from simulator.outcome.failures import RunError

#: What a switch draws for a rate [W per B/s of one direction]: 1.7 kW over 64 ports of 400 Gbit/s (NVIDIA QM9700, as
#: remembered), optics included.
SWITCH_W_PER_BYTE_PER_S: Final = 1700.0 / 64 / 50e9
#: Switch ports behind each network card: a leaf's two, a spine's one.
PORTS_PER_CARD: Final = 3
#: Dynamic power against clock: f V^2 with voltage falling less than the clock. Cubic where voltage follows the clock,
#: linear where it cannot fall; an assumption between.
CLOCK_EXPONENT: Final = 2.4
#: Carbon of a kWh, for those who ask: US average grid of 2022, as remembered; no report uses it by itself [kg/kWh].
US_GRID_KG_PER_KWH: Final = 0.39


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Power of a job at the building's meter [W]: all chips idle, at a utilisation, at their limits."""

    idle_w: float
    busy_w: float
    peak_w: float


@dataclass(frozen=True, kw_only=True)
class RunEnergy:
    """Energy of a run [J], its bounds, and per sample; ``carbon_kg`` is None where no intensity was given."""

    energy_j: float
    idle_j: float
    peak_j: float
    mean_w: float
    joule_per_sample: float
    carbon_kg: float | None


def network_w(servers: int, out_byte_per_s: float) -> float:
    """Switches that so many servers need in a fat-tree of two levels, at their ports' share [W]; none for one server.

    Leaves out the cards themselves (part of the host) and that idle switches draw nearly as much.
    """
    return servers * out_byte_per_s * PORTS_PER_CARD * SWITCH_W_PER_BYTE_PER_S if servers > 1 else 0.0


def draw(
    *, chip: Chip, chips: int, servers: int, host_power_w: float, utilisation: float, out_byte_per_s: float = 0.0,
    pue: float = PUE, clock: float = 1.0,
) -> Draw:  # fmt: skip
    """Power of a job.

    .. math:: P = PUE (n (P_{idle} + u f^{2.4} (P_{tdp} - P_{idle})) + n_{server} P_{host} + P_{network})

    with u the share of the time in which a chip computes and f its clock over the highest; hosts and switches draw all
    the time. Joules per FLOP and byte are known for few chips, so that a busy chip draws its limit, which overstates
    kernels that wait for memory. See `questions.power_cap` for the exponent.
    """
    if not 0 <= utilisation <= 1 or pue < 1 or not 0 < clock <= 1:
        raise RunError(
            f"power: utilisation {utilisation!r}, PUE {pue!r}, clock {clock!r}; legal: 0 to 1, 1 or more, above 0 to 1."
        )
    idle_w = chip.idle_w if chip.idle_w is not None else IDLE_SHARE * chip.tdp_w
    beside_w = servers * host_power_w + network_w(servers, out_byte_per_s)

    def at(share: float) -> float:
        return pue * (chips * (idle_w + share * (chip.tdp_w - idle_w)) + beside_w)

    return Draw(idle_w=at(0.0), busy_w=at(utilisation * clock**CLOCK_EXPONENT), peak_w=at(1.0))


def run_energy(power: Draw, *, busy_s: float, total_s: float, samples: float, kg_per_kwh: float = 0.0) -> RunEnergy:
    """Energy of a run that computes for a part of its time and is idle for the rest.

    .. math:: E = P_{busy} t_{busy} + P_{idle} (t - t_{busy})
    """
    if not 0 <= busy_s <= total_s * (1 + 1e-12):
        raise RunError(f"energy: busy for {busy_s:g} s of {total_s:g}; legal: 0 to all of it.")
    energy_j = power.busy_w * busy_s + power.idle_w * max(0.0, total_s - busy_s)
    return RunEnergy(
        energy_j=energy_j, idle_j=power.idle_w * total_s, peak_j=power.peak_w * total_s, mean_w=energy_j / total_s,
        joule_per_sample=energy_j / samples, carbon_kg=energy_j / 3.6e6 * kg_per_kwh if kg_per_kwh else None,
    )  # fmt: skip
