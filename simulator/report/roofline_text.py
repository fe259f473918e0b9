"""A model's layers under a chip's roof, as text and as plain values; and how that question is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hwmodels.chip import Chip
from workloads.workload import Workload

from ..calibration_data import calibration_names, load_constants
from ..constants import Constants
from ..defaults import Software, software
from ..errors import InputError
from ..measured_points import MeasuredGroup, MeasuredPoint, measured_groups, measured_points
from ..query_checks import read_layers_question
from ..roofline import PARTS, LayerRoof, layer_roofline
from .quantities import digits, percent, scaled, seconds
from .tables import table

WIDTH = 100


@dataclass(frozen=True, kw_only=True)
class Roofline:
    """Every layer of a model on a chip, and what that rests on."""

    workload: Workload
    chip: Chip
    software: Software
    micro_batch: int
    calibration: str
    defaults: tuple[str, ...]
    layers: tuple[LayerRoof, ...]
    measured: tuple[MeasuredGroup, ...]
    points: tuple[MeasuredPoint, ...]


def read_roofline_question(flags: Mapping[str, str | None]) -> Roofline:
    """The answer to the command's flags, taken by their names; `InputError` with all problems."""
    job, workload, chip = read_layers_question({key: value for key, value in flags.items() if value is not None})
    runs = software(
        workload, chip, stack_id=job.get("stack", ""), precision=job.get("precision", ""), optimizer_name="sgd"
    )
    if runs.recipe.matmul not in chip.peak_flop_per_s:
        raise InputError(f"--precision: {chip.id} has no rate for {runs.recipe.matmul}; name another precision.")
    micro_batch = job.get("micro_batch", 32 if workload.sample == "image" else 1)
    defaults = runs.defaults
    if "micro_batch" not in job:
        defaults += (f"micro-batch {micro_batch}: no --micro-batch was given",)
    constants = load_constants() if "default" in calibration_names() else Constants()
    layers = layer_roofline(
        workload, chip=chip, stack=runs.stack, recipe=runs.recipe, micro_batch=micro_batch, constants=constants
    )
    points = measured_points(chip, runs.recipe.matmul)
    return Roofline(
        workload=workload, chip=chip, software=runs, micro_batch=micro_batch, calibration=constants.name,
        defaults=defaults, layers=layers, measured=measured_groups(points, chip, runs.recipe.matmul), points=points,
    )  # fmt: skip


def roofline_text(found: Roofline) -> str:
    """The layers as a table under a line about the roof, ending in a newline."""
    word = found.software.recipe.matmul
    peak, bandwidth = found.chip.peak(word), found.chip.memory_bandwidth_byte_per_s
    lines = [
        f"{found.workload.name} on {found.chip.id}, micro-batch {found.micro_batch}, forward and backward",
        f"  roof       {scaled(peak, 'FLOP/s')} dense {word}, {scaled(bandwidth, 'B/s')}; "
        f"they meet at {digits(peak / bandwidth)} FLOP/B",
        f"  software   {found.software.stack.id}; constants {found.calibration}",
        *(f"  default    {text}" for text in found.defaults),
        "",
    ]
    rows = [
        [
            layer.layer, f"{layer.repeat}", scaled(layer.flop, "FLOP"), scaled(layer.byte, "B"),
            digits(layer.intensity), seconds(layer.time_s), percent(layer.share_of_peak), layer.bound,
        ]
        for layer in found.layers
    ]  # fmt: skip
    flop, byte, time_s = _totals(found)
    rows.append(
        ["all", "", scaled(flop, "FLOP"), scaled(byte, "B"), digits(flop / byte if byte else 0.0), seconds(time_s),
         percent(flop / time_s / peak if time_s else 0.0), ""]
    )  # fmt: skip
    header = ["layer", "x", "work", "traffic", "FLOP/B", "time", "of peak", "bound by"]
    lines += table(header, rows, left=(0, 7), width=WIDTH)
    lines += ["", "Figures of one copy of a layer; the last line is of all copies. Peaks are the data sheet's."]
    lines += ["", *_where_time_goes(found), "", *_measured(found)]
    return "\n".join(lines) + "\n"


def roofline_mapping(found: Roofline) -> dict[str, Any]:
    """The same values, for JSON."""
    word = found.software.recipe.matmul
    flop, byte, time_s = _totals(found)
    return {
        "schema": 1,
        "kind": "roofline",
        "model": found.workload.name,
        "chip": found.chip.id,
        "micro_batch": found.micro_batch,
        "precision": found.software.recipe.name,
        "stack": found.software.stack.id,
        "calibration": found.calibration,
        "defaults": list(found.defaults),
        "peak_flop_per_s": found.chip.peak(word),
        "memory_byte_per_s": found.chip.memory_bandwidth_byte_per_s,
        "layers": [dict(layer.as_mapping()) for layer in found.layers],
        "total": {"flop": flop, "byte": byte, "time_s": time_s, "joule": sum(x.repeat * x.joule for x in found.layers)},
        "measured": [dict(group.as_mapping()) for group in found.measured],
        "measured_points": [
            {
                "kernel": p.kernel,
                "suite": p.suite,
                "flop": p.flop,
                "byte": p.byte,
                "time_s": p.time_s,
                "predicted_s": p.predicted_s,
                "source": p.source,
                "locator": p.locator,
            }
            for p in found.points
        ],
        "chip_status": found.chip.status,
    }


def _where_time_goes(found: Roofline) -> list[str]:
    """Shares of each layer's time, and its energy."""
    rows = []
    for layer in found.layers:
        shares = [percent(layer.parts_s[name] / layer.time_s) if layer.time_s else "-" for name in PARTS]
        rows.append([layer.layer, *shares, scaled(layer.joule, "J")])
    header = ["where its time goes", *PARTS, "energy"]
    return table(header, rows, left=(0,), width=WIDTH)


def _measured(found: Roofline) -> list[str]:
    """The chip's measured kernels, and whether its facts were read twice."""
    word, lines = found.software.recipe.matmul, []
    if found.measured:
        rows = [
            [
                g.kernel, g.suite, f"{g.points}", percent(g.median_of_roof), percent(g.best_of_roof),
                percent(g.median_error) if g.median_error is not None else "-",
            ]
            for g in found.measured
        ]  # fmt: skip
        header = [f"measured in {word}", "suite", "points", "of roof, median", "best", "predicted within, median"]
        lines += table(header, rows, left=(0, 1), width=WIDTH)
        lines.append("Predictions of measured shapes are held out: made with constants fitted without them.")
    else:
        lines.append(
            f"{found.chip.id}: 0 measured kernels in {word}; its rates are those of its nearest kin, or assumed."
        )
    if found.chip.status == "provisional":
        lines.append(f"Facts of {found.chip.id} are provisional: no second reader has compared all with their sources.")
    return lines


def _totals(found: Roofline) -> tuple[float, float, float]:
    """Work, traffic and time of all copies of all layers."""
    copies = [
        (layer.repeat * layer.flop, layer.repeat * layer.byte, layer.repeat * layer.time_s) for layer in found.layers
    ]
    flop, byte, time_s = (sum(column) for column in zip(*copies, strict=True))
    return flop, byte, time_s
