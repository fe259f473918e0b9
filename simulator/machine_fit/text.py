"""A fitted machine as text and as JSON."""

from __future__ import annotations

from typing import Any

from ..probe.device import describe
from .machine import MachineFit

#: A spread of quartiles beyond which a machine was not quiet.
_LOUD = 0.15


def fit_text(fit: MachineFit) -> str:
    """Chip, fits, constants, what is open."""
    chip = fit.chip
    lines = [f"{fit.name}: {describe(fit.machine) if fit.machine else chip.name}, {fit.observations} measurements"]
    peaks = ", ".join(f"{rate / 1e9:,.4g} GFLOP/s {word}" for word, rate in sorted(chip.peak_flop_per_s.items()))
    source = f"as {fit.seen.catalogue} of the catalogue" if fit.seen.catalogue else "highest that any call reached"
    lines.append(f"  peak       {peaks} ({source})")
    lines.append(f"  memory     {chip.memory_bandwidth_byte_per_s / 1e9:,.4g} GB/s")
    if fit.fabric:
        lines.append(
            f"  wires      {fit.fabric.bandwidth_byte_per_s / 1e9:,.4g} GB/s, {fit.fabric.latency_s * 1e6:,.4g} us a "
            f"step, {fit.fabric.library} between {fit.fabric.ranks} processes"
        )
    if fit.host_s is not None:
        lines.append(f"  host       {fit.host_s * 1e6:,.4g} us for each operator of a training step")
    lines += ["", f"  {'error, shapes held out':28s} {'rows':>5s} {'median':>8s} {'mean':>8s} {'roofline':>9s} {'spread':>8s}"]
    for name, law in fit.fits.items():
        lines.append(
            f"  {name:28s} {law.rows:5d} {_share(law.median):>8s} {_share(law.mean):>8s} "
            f"{_share(law.yardstick_median):>9s} {_share(law.spread):>8s}"
        )
    lines += ["", f"  {'constant':40s} {'value':>10s}   90 % interval"]
    for name, law in fit.fits.items():
        for c in law.constants.values():
            open_word = "  open: the prior holds" if not c.determined else "  at the edge of its range" if c.at_edge else ""
            lines.append(f"  {name + ' ' + c.name:40s} {c.value:10.4g}   {c.low:.4g} to {c.high:.4g} {c.unit}{open_word}")
    notes = [f"open: {line}" for line in fit.missing] + [f"assumed: {line}" for line in fit.seen.assumed]
    loud = [name for name, law in fit.fits.items() if law.spread > _LOUD]
    if loud:
        notes.append(f"the machine was not quiet: quartiles of {', '.join(loud)} lie far apart; measure when it is")
    return "\n".join([*lines, "", *(f"  {note}" for note in notes)]).rstrip() + "\n"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def fit_json(fit: MachineFit) -> dict[str, Any]:
    """The same for programs."""
    return {
        "name": fit.name,
        "measurements": fit.observations,
        "chip": {
            "name": fit.chip.name, "kind": fit.chip.kind, "architecture": fit.chip.architecture,
            "peak_flop_per_s": dict(sorted(fit.chip.peak_flop_per_s.items())),
            "memory_bandwidth_byte_per_s": fit.chip.memory_bandwidth_byte_per_s, "catalogue": fit.seen.catalogue,
        },
        "host_s_per_operator": fit.host_s,
        "fits": {
            name: {
                "rows": law.rows, "held_out_median_error": law.median, "held_out_mean_error": law.mean,
                "roofline_median_error": law.yardstick_median, "median_quartile_spread": law.spread,
                "constants": {
                    c.name: {"value": c.value, "low": c.low, "high": c.high, "unit": c.unit, "determined": c.determined}
                    for c in law.constants.values()
                },
            }
            for name, law in fit.fits.items()
        },
        "constants": dict(fit.constants),
        "deviations": fit.deviations,
        "open": list(fit.missing),
        "assumed": list(fit.seen.assumed),
    }  # fmt: skip
