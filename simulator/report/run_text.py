"""A run of steps beside input and checkpoints, as text and as plain values."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..one_step import SimulatedStep
from ..query import PlanQuery
from ..run_beside import RunOptions, run_beside
from .quantities import capacity, seconds
from .tables import fold
from .text import WIDTH

#: Percentiles that are told, with their names in JSON.
_PERCENTILES = (("median", 50.0), ("p95", 95.0), ("p99", 99.0))


def run_text(step: SimulatedStep, query: PlanQuery, options: RunOptions | None) -> str:
    """The lines behind those of the step; "" where no run was asked for."""
    if options is None:
        return ""
    run = run_beside(step, query, options)
    times = run.times
    lines = [
        "",
        f"{options.steps:,} steps on {run.servers:,} server{'s' * (run.servers > 1)}: {seconds(times.total_s)}.",
    ]
    spread = ", ".join(f"{name} {seconds(times.percentile_s(at))}" for name, at in _PERCENTILES)
    lines.append(f"  a step       {spread}; alone {seconds(run.step_s)}")
    if options.input:
        lines.append(f"  input        {times.input_share:.1%} of the time waited for; {run.binds} is slowest")
    if times.checkpoints:
        lines.append(
            f"  checkpoints  {times.checkpoints:,} of {capacity(run.checkpoint_byte)}; "
            f"{times.checkpoint_share:.1%} of the time waited for"
        )
    for line in run.assumed:
        lines += fold(line, WIDTH, first="  assumed      ", rest=" " * 15)
    return "\n".join(lines) + "\n"


def run_mapping(step: SimulatedStep, query: PlanQuery, options: RunOptions | None) -> dict[str, Any]:
    """The same values for JSON; {} where no run was asked for."""
    if options is None:
        return {}
    run = run_beside(step, query, options)
    times = run.times
    return {
        "run": {
            **asdict(options),
            "servers": run.servers,
            "total_s": times.total_s,
            **{f"step_{name}_s": times.percentile_s(at) for name, at in _PERCENTILES},
            "input_share": times.input_share,
            "input_binds": run.binds,
            "checkpoint_share": times.checkpoint_share,
            "checkpoints": times.checkpoints,
            "checkpoint_byte": run.checkpoint_byte,
            "written_byte": times.written_byte,
            "assumed": list(run.assumed),
        }
    }
