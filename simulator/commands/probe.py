"""`trainyard probe`."""

from __future__ import annotations

from typing import Any

import click

from ..errors import InputError
from .printing import as_json_text, deliver, note


@click.command()
@click.option("--out", metavar="FILE.json", help="Where the measurements go; a file of this machine is gone on with.")
@click.option("--minutes", type=float, metavar="X", help="Stop after so many minutes. Default: when all is measured.")
@click.option("--suites", metavar="A,B", help="Only these suites; `--list` names all.")
@click.option("--precision", "precisions", metavar="A,B", help="Only these precisions, as fp32,bf16.")
@click.option(
    "--list", "listing", is_flag=True, help="Say what would be measured and how long it takes; measure nothing."
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--threads", type=click.IntRange(1), metavar="N", help="Threads of a CPU to use. Default: PyTorch's own.")
@click.option("--ranks", type=click.IntRange(2, 64), default=2, show_default=True, help="Processes of collectives.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the cases' shapes.")
@click.option("--csv", "tables", metavar="KERNELS.csv", help="Write the kernels of --out as a table too.")
@click.option("--collectives-csv", metavar="FILE.csv", help="Write the collectives of --out as a table too.")
@click.option("--json", "as_json", is_flag=True, help="Print what is measured and what is left as JSON.")
@click.option("--chip", default="this-machine", show_default=True, metavar="NAME", help="Name of the chip in tables.")
def probe(
    out: str | None, minutes: float | None, suites: str | None, precisions: str | None, listing: bool, device: str,
    threads: int | None, ranks: int, seed: int, tables: str | None, collectives_csv: str | None, as_json: bool,
    chip: str,
) -> int:  # fmt: skip
    """Measure this machine with PyTorch: kernels, memory, launches, copies, collectives.

    The order of the cases is such that it can be stopped anywhere, with --minutes or Ctrl-C, and gone on with later.
    Under torchrun the collectives between its ranks are measured.
    """
    problems = []
    if not listing and out is None:
        problems.append("--out: is needed: the file that the measurements go to, as --out here.json.")
    if minutes is not None and not 0.0 < minutes <= 10_000:
        problems.append(f"--minutes: is {minutes:g}; legal: above 0, at most 10000.")
    if problems:
        raise InputError(*problems)
    from ..output import require_writable
    from ..probe.device import describe
    from ..probe.record import ProbeRecord
    from ..probe.run import listed, plan_of, progress_of

    for path in (out, tables, collectives_csv):
        if path is not None and not listing:
            require_writable(path)
    measured = _device(device, threads or 0)
    plan = plan_of(measured, suites=_words(suites), precisions=_words(precisions), seed=seed)
    if listing:
        total = sum(len(cases) for cases in plan.cases.values())
        machine = measured.machine()
        text = "\n".join([describe(machine), *listed(plan), f"{total} cases in all"])
        none = ProbeRecord(machine=machine, seed=seed)
        deliver(as_json_text(progress_of(plan, none)) if as_json else text, None)
        return 0
    assert out is not None
    record = _measured(measured, plan, out, minutes, ranks, seed)
    if record is not None:
        _tables(record, {"csv": tables, "collectives": collectives_csv}, chip)
        if as_json:
            deliver(as_json_text(progress_of(plan, record)), None)
    return 0


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def _device(kind: str, threads: int) -> Any:
    from ..probe.device import Device, require_torch

    torch = require_torch()
    here = bool(torch.cuda.is_available())
    if kind == "cuda" and not here:
        raise InputError("--device: PyTorch finds no CUDA or ROCm device here; legal: auto, cpu.")
    chosen = "cuda" if here and kind != "cpu" else "cpu"
    if threads and chosen == "cuda":
        raise InputError("--threads: is of a CPU; leave it out, or choose --device cpu.")
    return Device(torch, chosen, threads=threads)


def _measured(device: Any, plan: Any, out: str, minutes: float | None, ranks: int, seed: int) -> Any:
    """The record, written as it grows; None on the ranks of torchrun that only follow."""
    from ..probe.device import describe
    from ..probe.ranks import Group, LocalGroup, TorchrunGroup, under_torchrun
    from ..probe.record import write_record
    from ..probe.run import Plan, Runner, mean_case_s, resumed, until_minutes, what_more
    from ..probe.suites import SUITES

    machine = device.machine()
    left, begin = until_minutes(minutes, device.now), device.now()
    group: Group | None = LocalGroup(ranks, device.threads) if device.kind == "cpu" else None
    if under_torchrun():
        joined = TorchrunGroup(device.torch, device)
        plan = Plan(cases={name: cases for name, cases in plan.cases.items() if SUITES[name].between_ranks})
        if not joined.leads:
            with joined:
                joined.follow()
            return None
        group = joined
    record = resumed(out, machine, seed)
    note(describe(machine))
    runner = Runner(device, record, save=lambda r: write_record(out, r), tell=note, group=group)
    if group is None:
        runner.run(plan, until=left)
    else:
        with group:
            runner.run(plan, until=left)
    for line in what_more(plan, runner.record, mean_case_s(device.now() - begin, runner.done)):
        note(line)
    note(f"wrote {out}; `trainyard calibrate {out}` fits a chip to it")
    return runner.record


def _tables(record: Any, tables: dict[str, str | None], chip: str) -> None:
    from ..output import write_atomically
    from ..probe.export import COLLECTIVE_COLUMNS, KERNEL_COLUMNS, as_csv, collective_rows, kernel_rows

    for path, rows, columns in (
        (tables["csv"], kernel_rows(record, chip), KERNEL_COLUMNS),
        (tables["collectives"], collective_rows(record, chip, chip), COLLECTIVE_COLUMNS),
    ):
        if path is not None:
            write_atomically(path, as_csv(rows, columns))
            note(f"wrote {path}: {len(rows)} rows")
