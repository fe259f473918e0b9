"""`trainyard bench`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from ..errors import InputError
from .printing import as_json_text, deliver, note


@click.command()
@click.option("--probe", "probed", metavar="FILE.json", help="The probe to predict from; measured there if it is not.")
@click.option("--out", metavar="FILE.json", help="Where the results go; a file of this machine is gone on with.")
@click.option("--seconds", type=float, default=4.0, show_default=True, metavar="X", help="Training of each case.")
@click.option(
    "--sittings", type=click.IntRange(1, 20), default=2, show_default=True, help="Times that all are trained."
)
@click.option("--only", metavar="A,B", help="Only cases whose name has one of these words, as lstm,small.")
@click.option("--short", is_flag=True, help="Tiny networks and the shipped probe: shows that it runs, not how well.")
@click.option("--markdown", is_flag=True, help="Print a table in Markdown.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def bench(
    probed: str | None,
    out: str | None,
    seconds: float,
    sittings: int,
    only: str | None,
    short: bool,
    markdown: bool,
    as_json: bool,
) -> int:
    """Train small networks with PyTorch here, predict them from a probe alone, and set both beside each other.

    Without --probe the machine is measured first (minutes). One thread a process, on the CPU; one process, and two that
    share gradients over gloo. It can be stopped and gone on with.
    """
    if not 0.0 < seconds <= 600.0:
        raise InputError(f"--seconds: is {seconds:g}; legal: above 0, at most 600.")
    if markdown and as_json:
        raise InputError("--markdown, --json: choose one.")
    from ..bench.models import shared_cases, short_cases, single_cases
    from ..bench.run import BenchReport, as_dict, laws_of, read_bench, run_bench, write_bench
    from ..bench.text import bench_markdown, bench_text
    from ..output import require_writable
    from ..probe.device import Device, require_torch
    from ..probe.record import differences

    cases = short_cases() if short else [*single_cases(), *shared_cases()]
    words = [word.strip() for word in (only or "").split(",") if word.strip()]
    chosen = [case for case in cases if not words or any(word in case.name for word in words)]
    if not chosen:
        raise InputError(f"--only: no case has {only!a} in its name; cases: {', '.join(c.name for c in cases)}.")
    torch = require_torch("bench")
    for path in (out, probed):
        if path is not None and not os.path.exists(path):
            require_writable(path)
    device = Device(torch, "cpu", threads=1)
    here, load = device.machine(), _load()
    there = read_bench(out) if out is not None and os.path.exists(out) else None
    if there is not None and (found := differences(there.machine, here)):
        raise InputError(f"{out}: is of another machine or other software ({'; '.join(found[:3])}); name another.")
    machine = _fitted(device, probed, out, short)
    if there is not None and there.laws != laws_of(machine):
        raise InputError(f"{out}: was begun with another probe; name that with --probe, or another file with --out.")
    begun = BenchReport(date=_today(), machine=here, load=load, laws=laws_of(machine), results=())
    report = run_bench(
        chosen, machine, report=there or begun, seconds=0.2 if short else seconds, tell=note,
        sittings=1 if short else sittings,
        save=(lambda r: write_bench(out, r)) if out is not None else (lambda r: None),
    )  # fmt: skip
    deliver(as_json_text(as_dict(report)) if as_json else (bench_markdown if markdown else bench_text)(report), None)
    return 0


def _today() -> str:
    import datetime

    return datetime.date.today().isoformat()


def _load() -> float | None:
    """Processes that wanted a core in the last minute; None where the system does not say."""
    try:
        return round(os.getloadavg()[0], 1)
    except (AttributeError, OSError):
        return None


def _fitted(device: Any, probed: str | None, out: str | None, short: bool) -> Any:
    """The machine that a probe shows: a file's, the shipped one's, or one that is measured now."""
    from ..machine_fit.calibrate import fitted_steps
    from ..probe.record import read_record
    from ..probe.shipped import shipped_probe

    if short and probed is None:
        return fitted_steps(shipped_probe())
    path = probed or (str(Path(out).with_suffix(".probe.json")) if out is not None else None)
    if path is not None and os.path.exists(path) and probed is not None:
        return fitted_steps(read_record(path))
    if path is None:
        raise InputError("bench: name --out FILE.json (its probe goes beside it), or --probe FILE.json.")
    return fitted_steps(_measured(device, path))


def _measured(device: Any, path: str) -> Any:
    from ..bench.suites import BENCH_SUITES
    from ..probe.ranks import LocalGroup
    from ..probe.record import write_record
    from ..probe.run import Runner, listed, plan_of, resumed, until_minutes

    plan = plan_of(device, suites=BENCH_SUITES, precisions=["fp32"], seed=0)
    record = resumed(path, device.machine(), 0)
    for line in listed(plan):
        note(line)
    group = LocalGroup(2, device.threads)
    runner = Runner(device, record, save=lambda r: write_record(path, r), tell=note, group=group)
    with group:
        runner.run(plan, until=until_minutes(None, device.now))
    note(f"wrote {path}")
    return runner.record
