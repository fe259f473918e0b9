"""A job in a mode of training as text and as plain values: events beside the closed form."""

from __future__ import annotations

from typing import Any

from ..events.modes import ModeRun
from ..modes import MODES, ModeEstimate
from ..one_mode import SimulatedMode
from .quantities import digits, percent, scaled, seconds
from .tables import fold, table
from .text import WIDTH

_QUANTILES = (0.5, 0.9, 0.99)


def mode_text(found: SimulatedMode) -> str:
    """One run, ending in a newline."""
    if found.run is None or found.form is None:
        return f"Nothing fits: no strategy with replicas that work apart trains {found.job}. {found.nearest_fit}\n"
    run, form, job = found.run, found.form, found.run.job
    lines = fold(f"{found.job}, {job.mode}: {digits(run.samples_per_s, 4)} samples/s by events.", WIDTH)
    fields = (
        ("mode", f"{job.mode}: {MODES[job.mode]}"), ("strategy", found.strategy), ("workers", _workers(found, run)),
        ("compute", _compute(run)), ("messages", _messages(run)),
        ("run", f"{run.updates:,} updates counted, {run.warm_up:,} before them left out; seed {run.seed}"),
    )  # fmt: skip
    for name, text in fields:
        lines += fold(text, WIDTH, first=f"  {name}".ljust(13), rest=" " * 13)
    interval = f"{digits(run.low_per_s, 4)} to {digits(run.high_per_s, 4)}"
    rows = [
        ["samples/s", _form_rate(form), digits(run.samples_per_s, 4), interval],
        ["updates/s", digits(form.samples_per_s / job.samples_per_update, 4), digits(run.updates_per_s, 4), ""],
        ["mean staleness", "-" if form.staleness is None else digits(form.staleness, 4), _mean(run), ""],
        ["idle workers", "", percent(run.idle_share), ""],
    ]  # fmt: skip
    if run.byte_per_s:
        ports = "workers' ports" if job.mode == "gossip" else "busiest port"
        rows.append([ports, "", percent(run.server_utilisation), ""])
        rows.append(["messages", "", scaled(run.byte_per_s, "B/s"), ""])
    if run.dropped_share:
        rows.append(["thrown away", "", percent(run.dropped_share), ""])
    if job.mode == "stale-synchronous":
        rows.append(["steps ahead, most", str(job.bound), str(run.most_ahead), ""])
    lines += ["", *table(["", "closed form", "events", "95 % of means"], rows, left=(0,), width=WIDTH)]
    quantiles = ", ".join(f"{run.staleness_at(share)} for {100 * share:g} %" for share in _QUANTILES)
    told = f"staleness (updates by others between an update's reading and itself): at most {quantiles}; "
    told += f"most {max(run.staleness)}. What it costs in samples to a target is unknown."
    lines += ["", *fold(told, WIDTH, first="  ", rest="  ")]
    return "\n".join(lines) + "\n"


def _mean(run: ModeRun) -> str:
    return digits(run.mean_staleness, 4)


def _form_rate(form: ModeEstimate) -> str:
    if form.exact:
        return digits(form.samples_per_s, 4)
    return f"{digits(form.least_samples_per_s, 4)} to {digits(form.samples_per_s, 4)}"


def _workers(found: SimulatedMode, run: ModeRun) -> str:
    job = run.job
    text = f"{job.workers:,}, mini-batches of {job.batch:,}"
    text += f"; {found.servers:,} parameter servers" if found.servers else ""
    extra = {"backups": job.backups, "bound": job.bound, "groups": job.groups if job.mode == "groups" else 0}
    extra["period"] = job.period if job.period > 1 else 0
    return text + "".join(f"; {name} {value:,}" for name, value in extra.items() if value)


def _compute(run: ModeRun) -> str:
    compute = run.job.compute
    varied = f"{compute.kind}, standard deviation {percent(compute.variation)}" if compute.variation else "all equal"
    return f"{seconds(compute.mean_s)} a mini-batch, {varied}"


def _messages(run: ModeRun) -> str:
    job = run.job
    parts = [] if job.exchange_s is None else [f"all-reduce {seconds(job.exchange_s)}"]
    if job.push_s:
        ports = "the ports of both" if job.mode == "gossip" else "the servers' ports"
        name = "to a peer and back" if job.mode == "gossip" else "push"
        parts.append(f"{name} {seconds(job.push_s)}, {seconds(job.push_port_s)} of it through {ports}")
    if job.pull_s:
        parts.append(f"pull {seconds(job.pull_s)}, {seconds(job.pull_port_s)}")
    return "; ".join(parts) or "none"


def mode_mapping(found: SimulatedMode) -> dict[str, Any]:
    """The same values, for JSON."""
    head = {"schema": 1, "kind": "simulate_mode", "fits": found.run is not None, "job": found.job}
    if found.run is None or found.form is None:
        return {**head, "nearest_fit": found.nearest_fit}
    run, form, job = found.run, found.form, found.run.job
    return {
        **head,
        "strategy": found.strategy,
        "stack": found.stack,
        "mode": job.mode,
        "workers": job.workers,
        "servers": found.servers,
        "batch": job.batch,
        "compute_s": job.compute.mean_s,
        "spread": {"kind": job.compute.kind, "variation": job.compute.variation},
        "push_s": job.push_s,
        "pull_s": job.pull_s,
        "push_port_s": job.push_port_s,
        "pull_port_s": job.pull_port_s,
        "exchange_s": job.exchange_s,
        "backups": job.backups,
        "bound": job.bound,
        "period": job.period,
        "groups": job.groups,
        "seed": run.seed,
        "updates": run.updates,
        "warm_up_updates": run.warm_up,
        "closed_form": {
            "samples_per_s": form.samples_per_s,
            "least_samples_per_s": form.least_samples_per_s,
            "staleness": form.staleness,
            "binds": form.binds,
        },
        "events": {
            "samples_per_s": run.samples_per_s,
            "low_per_s": run.low_per_s,
            "high_per_s": run.high_per_s,
            "updates_per_s": run.updates_per_s,
            "mean_staleness": run.mean_staleness,
            "staleness": {str(value): count for value, count in run.staleness.items()},
            "most_ahead": run.most_ahead,
            "idle_share": run.idle_share,
            "dropped_share": run.dropped_share,
            "server_utilisation": run.server_utilisation,
            "byte_per_s": run.byte_per_s,
        },
    }
