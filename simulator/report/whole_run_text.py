"""A whole run, and two compared, as text and as plain values."""

from __future__ import annotations

import math
from typing import Any

from ..questions.compare import Comparison
from ..questions.dates import date_after
from ..questions.power_cap import PowerCap
from ..whole_run import WholeRun
from .quantities import byte, digits, energy, percent, scaled, seconds
from .tables import fold, table
from .text import WIDTH

_QUANTILES = (0.1, 0.5, 0.9)


def _usd(value: float) -> str:
    return f"USD {value:,.0f}" if value >= 100 else f"USD {value:,.2f}"


def whole_run_text(
    run: WholeRun, *, start: str = "", by: str = "", within_s: float = 0.0, cap: PowerCap | None = None
) -> str:
    """One run, ending in a newline."""
    job, time = run.job, run.time
    answer = f"{job.workload.name} on {job.chips:,} chips of {job.context.cluster.id}: {seconds(time.total_s)} expected"
    if run.cost_usd is not None:
        answer += f", {_usd(run.cost_usd)}"
    answer += f"; {percent(time.goodput)} of the time trains steps that stay."
    lines = fold(answer, WIDTH)
    reached = percent(run.bound_s / time.total_s)
    spread = "80 % of runs within {} to {}, half within {}"
    luck = spread.format(*(seconds(run.draws.quantile(q)) for q in (0.1, 0.9, 0.5)))
    both = spread.format(*(seconds(run.uncertain.quantile(q)) for q in (0.1, 0.9, 0.5)))
    fields = [
        ("steps", f"{run.work.steps:,} of {seconds(run.work.step_s)}: {run.strategy.words()}"),
        ("bound", f"{seconds(run.bound_s)}: total operations over the peak of all chips, {reached} of the time"),
        ("failures", _failures(run)),
        ("luck", f"{luck}; failures alone"),
        ("with error", f"{both}; the step's own error too" if run.group else "no record of runs like it"),
        ("checkpoint", _checkpoint(run)),
        ("money", _money(run)),
        ("energy", _energy(run)),
    ]  # fmt: skip
    if run.failures.rate_per_s:
        fields.append(("spares", _spares(run)))
    if start:
        fields.append(("over on", f"{date_after(start, time.total_s)} in the mean, from {start}"))
    if by:
        fields.append(("in time", _by(run, start, by, within_s)))
    if cap is not None:
        fields.append(("power cap", _cap(cap, job.chips)))
    for name, text in fields:
        lines += fold(text, WIDTH, first=f"  {name}".ljust(15), rest=" " * 15)
    rows = [[name, seconds(value), percent(value / time.total_s, 2)] for name, value in time.parts().items() if value]
    lines += ["", *table(["where the time goes", "", "share"], rows, left=(0,), width=WIDTH)]
    lines += ["", "assumed"]
    for text in run.assumed:
        lines += fold(text, WIDTH, first="  ", rest="    ")
    return "\n".join(lines) + "\n"


def _failures(run: WholeRun) -> str:
    if not run.failures.rate_per_s:
        return "none"
    return f"{digits(run.time.failures)} expected, one in {seconds(1 / run.failures.rate_per_s)}"


def _spares(run: WholeRun) -> str:
    text = f"{run.spares_needed} servers keep it from waiting more than 1 % of the time"
    return text if run.failures.repair_s else f"{text}, with repairs of a day"


def _by(run: WholeRun, start: str, by: str, within_s: float) -> str:
    chance = run.uncertain.within(within_s)
    text = f"{percent(chance)} of the runs are over by the end of {by}"
    if chance < 0.5:
        text += f"; half of them by {date_after(start, run.uncertain.quantile(0.5))}"
    return text


def _cap(cap: PowerCap, chips: int) -> str:
    text = f"{scaled(cap.cap_w, 'W')} of the {scaled(cap.watts, 'W')} that all draw"
    if cap.clock == 1.0:
        return f"{text}: nothing changes"
    text += f": {cap.chips:,} of {chips:,} chips at full clock"
    if not cap.clock:
        return f"{text}; no clock of all of them is low enough"
    return (
        f"{text}, or all at {percent(cap.clock)} of it, steps {digits(cap.slower)} times as long (assumed exponent 2.4)"
    )


def _checkpoint(run: WholeRun) -> str:
    work = run.work
    if not work.checkpoint_every:
        return f"{byte(run.checkpoint_byte)}, at the end only"
    text = (
        f"{byte(run.checkpoint_byte)} every {work.checkpoint_every:,} steps ({seconds(work.segment_s - work.stall_s)})"
    )
    text += f", training waits {seconds(work.stall_s)}"
    if work.write_s:
        text += f", written beside it in {seconds(work.write_s)}"
    if math.isnan(run.exact_s):
        return text
    return f"{text}; best {seconds(run.exact_s)}, Young {seconds(run.young_s)}, Daly {seconds(run.daly_s)}"


def _money(run: WholeRun) -> str:
    if run.cost_usd is None:
        return run.price.basis
    text = f"{_usd(run.cost_usd)} for {run.chip_hours:,.0f} chip-hours; {run.price.basis}"
    if run.search_usd is not None:
        text += f"; hyper-parameter search besides: {_usd(run.search_usd)}"
    return text


def _energy(run: WholeRun) -> str:
    used = run.energy
    text = f"{energy(used.energy_j)}, {scaled(used.mean_w, 'W')} in the mean, {scaled(used.joule_per_sample, 'J')}"
    text += f" a sample; all idle {energy(used.idle_j)}, all at their limit {energy(used.peak_j)}"
    if used.carbon_kg is None:
        return text
    carbon = f"{used.carbon_kg / 1e3:,.1f} t" if used.carbon_kg >= 1e3 else f"{used.carbon_kg:.3g} kg"
    return f"{text}; {carbon} CO2e"


def whole_run_mapping(
    run: WholeRun, *, start: str = "", by: str = "", within_s: float = 0.0, cap: PowerCap | None = None
) -> dict[str, Any]:
    """The same as plain values, units in the names."""
    job, used = run.job, run.energy
    found: dict[str, Any] = {
        "model": job.workload.name, "system": job.context.cluster.id, "chips": job.chips,
        "strategy": run.strategy.words(),
        "steps": run.work.steps, "step_s": run.work.step_s, "total_s": run.time.total_s, "goodput": run.time.goodput,
        "failures": run.time.failures, "bound_s": run.bound_s, "parts_s": run.time.parts(),
        "failures_alone_s": {f"p{100 * q:.0f}": run.draws.quantile(q) for q in _QUANTILES},
        "with_step_error_s": {f"p{100 * q:.0f}": run.uncertain.quantile(q) for q in _QUANTILES} if run.group else None,
        "checkpoint_every": run.work.checkpoint_every, "checkpoint_byte": run.checkpoint_byte,
        "interval_s": {
            name: None if math.isnan(value) else value
            for name, value in (("best", run.exact_s), ("young", run.young_s), ("daly", run.daly_s))
        },
        "chip_hours": run.chip_hours, "cost_usd": run.cost_usd, "search_usd": run.search_usd,
        "cost_basis": run.price.basis, "energy_j": used.energy_j, "energy_idle_j": used.idle_j,
        "energy_peak_j": used.peak_j, "mean_w": used.mean_w, "joule_per_sample": used.joule_per_sample,
        "carbon_kg": used.carbon_kg, "spares_needed": run.spares_needed, "assumed": list(run.assumed),
    }  # fmt: skip
    if start:
        found["over_on"] = date_after(start, run.time.total_s)
    if by:
        found |= {"by": by, "chance_by": run.uncertain.within(within_s)}
    if cap is not None:
        found["power_cap"] = {
            "cap_w": cap.cap_w, "uncapped_w": cap.watts, "chips_at_full_clock": cap.chips, "clock": cap.clock,
            "slower": cap.slower if cap.clock else None,
        }  # fmt: skip
    return found


def comparison_text(names: tuple[str, str], a: WholeRun, b: WholeRun, found: Comparison) -> str:
    """Two quotes, ending in a newline."""
    text = f"A is sooner with probability {percent(found.sooner)}"
    text += f", cheaper with {percent(found.cheaper)}." if found.cheaper is not None else "; a price is missing."
    lines = fold(text, WIDTH)
    rows = []
    for name, file, run in zip("AB", names, (a, b), strict=True):
        cost = "no price" if run.cost_usd is None else _usd(run.cost_usd)
        where = f"{run.job.chips:,} of {run.job.context.cluster.id}"
        rows.append([name, where, seconds(run.time.total_s), cost, percent(run.time.goodput), file])
    lines += ["", *table(["", "chips", "time", "money", "goodput", "from"], rows, left=(0, 1, 5), width=WIDTH), ""]
    low, middle, high = found.time_ratio
    lines += fold(f"time A / B: {digits(middle)}, 80 % within {digits(low)} to {digits(high)}", WIDTH, first="  ")
    if found.cost_ratio is not None:
        low, middle, high = found.cost_ratio
        lines += fold(f"money A / B: {digits(middle)}, 80 % within {digits(low)} to {digits(high)}", WIDTH, first="  ")
    told = f"{found.why_shared}; with none in common A would be sooner with {percent(found.sooner_if_apart)}"
    return "\n".join([*lines, *fold(told, WIDTH, first="  ")]) + "\n"


def comparison_mapping(a: WholeRun, b: WholeRun, found: Comparison) -> dict[str, Any]:
    """The same as plain values."""
    return {
        "a": whole_run_mapping(a), "b": whole_run_mapping(b), "chance_a_sooner": found.sooner,
        "chance_a_cheaper": found.cheaper, "time_ratio": list(found.time_ratio),
        "cost_ratio": None if found.cost_ratio is None else list(found.cost_ratio),
        "shared_error": found.shared, "chance_a_sooner_if_apart": found.sooner_if_apart,
    }  # fmt: skip
