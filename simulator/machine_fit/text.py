"""What files gave, as text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from ..measured_files.kineto import trace_lines
from ..probe.device import describe
from .calibrate import Calibrated
from .fitting import LawFit
from .machine import MachineFit, open_lines

#: A spread of quartiles beyond which a machine was not quiet.
LOUD: Final = 0.15


def calibrated_text(found: Calibrated) -> str:
    """Traces, chip, fits, constants, what is open."""
    lines: list[str] = []
    for path, summary in found.traces.items():
        lines += [f"{path}:", *(f"  {line}" for line in trace_lines(summary)), ""]
    machine = found.machine
    if machine is not None:
        lines += _machine_lines(machine)
    fabric = machine.fabric if machine is not None else found.fabric
    if fabric is not None:
        lines.append(
            f"  wires      {fabric.bandwidth_byte_per_s / 1e9:,.4g} GB/s, {fabric.latency_s * 1e6:,.4g} us a "
            f"step, {fabric.library} between {fabric.ranks} ranks"
        )
    fits = found.fits
    if fits:
        lines += ["", *_table_lines(fits)]
    missing = list(machine.missing) if machine is not None else [*open_lines(fits.values())]
    notes = [f"open: {line}" for line in missing]
    notes += [f"assumed: {line}" for line in machine.seen.assumed] if machine is not None else []
    loud = [name for name, law in fits.items() if law.spread > LOUD]
    if loud:
        notes.append(f"the machine was not quiet: quartiles of {', '.join(loud)} lie far apart; measure when it is")
    return "\n".join([*lines, "", *(f"  {note}" for note in notes)]).rstrip() + "\n"


def _machine_lines(fit: MachineFit) -> list[str]:
    chip = fit.chip
    lines = [f"{fit.name}: {describe(fit.machine) if fit.machine else chip.name}, {fit.observations} measurements"]
    peaks = ", ".join(f"{rate / 1e9:,.4g} GFLOP/s {word}" for word, rate in sorted(chip.peak_flop_per_s.items()))
    source = f"as {fit.seen.catalogue} of the catalogue" if fit.seen.catalogue else "highest that any call reached"
    lines.append(f"  peak       {peaks} ({source})")
    lines.append(f"  memory     {chip.memory_bandwidth_byte_per_s / 1e9:,.4g} GB/s")
    if fit.host_s is not None:
        lines.append(f"  host       {fit.host_s * 1e6:,.4g} us for each operator of a training step")
    return lines


def _table_lines(fits: Mapping[str, LawFit]) -> list[str]:
    head = f"  {'error, shapes held out':28s} {'rows':>5s} {'median':>8s} {'mean':>8s} {'roofline':>9s} {'spread':>8s}"
    lines = [head]
    for name, law in fits.items():
        lines.append(
            f"  {name:28s} {law.rows:5d} {_share(law.median):>8s} {_share(law.mean):>8s} "
            f"{_share(law.yardstick_median):>9s} {_share(law.spread):>8s}"
        )
    lines += ["", f"  {'constant':44s} {'value':>10s}   90 % interval"]
    for name, law in fits.items():
        for c in law.constants.values():
            note = "" if c.determined else "  open: the prior holds"
            note = "  at the edge of its range" if c.determined and c.at_edge else note
            lines.append(f"  {name + ' ' + c.name:44s} {c.value:10.4g}   {c.low:.4g} to {c.high:.4g} {c.unit}{note}")
    return lines


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def calibrated_json(found: Calibrated) -> dict[str, Any]:
    """The same for programs."""
    machine = found.machine
    chip = machine.chip if machine is not None else None
    return {
        "name": found.name,
        "files": dict(found.kinds),
        "chip": None if chip is None or machine is None else {
            "name": chip.name, "kind": chip.kind, "architecture": chip.architecture,
            "peak_flop_per_s": dict(sorted(chip.peak_flop_per_s.items())),
            "memory_bandwidth_byte_per_s": chip.memory_bandwidth_byte_per_s, "catalogue": machine.seen.catalogue,
            "host_s_per_operator": machine.host_s,
        },
        "fits": {
            name: {
                "rows": law.rows, "held_out_median_error": law.median, "held_out_mean_error": law.mean,
                "roofline_median_error": law.yardstick_median, "median_quartile_spread": law.spread,
                "constants": {
                    c.name: {"value": c.value, "low": c.low, "high": c.high, "unit": c.unit, "determined": c.determined}
                    for c in law.constants.values()
                },
            }
            for name, law in found.fits.items()
        },
        "constants": dict(machine.constants) if machine is not None else {},
        "deviations": machine.deviations if machine is not None else {},
        "open": list(machine.missing) if machine is not None else [],
        "assumed": list(machine.seen.assumed) if machine is not None else [],
        "traces": {path: asdict(summary) for path, summary in found.traces.items()},
    }  # fmt: skip
