"""`trainyard validate`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

import click

from ..errors import InputError
from .asking import CATALOG, JSON, output_problems
from .printing import as_json_text, deliver, note

if TYPE_CHECKING:
    from pathlib import Path

_VALIDATE_KINDS: Final = ("runs", "kernels", "collectives", "convergence", "overlap", "timeline")
#: What can be held out together, by kind; the first unless --by says otherwise.
_HOLDS: Final = {
    "runs": ("groups", "sources"), "kernels": ("chips", "shapes", "generations"), "collectives": ("groups", "systems"),
    "convergence": ("points", "sources"),
}  # fmt: skip


class _Summary(Protocol):
    """What a validation comes to."""

    def text(self) -> str: ...

    def as_json(self) -> dict[str, Any]: ...


@click.command()
@click.argument("kind", metavar="KIND")
@click.argument("file", required=False, metavar="[FILE.csv]")
@click.option("--out", metavar="PRED.csv", help="Write one prediction per input line there.")
@click.option("--held-out", is_flag=True, help="Predict every group with constants fitted without it.")
@click.option(
    "--by",
    "hold",
    type=click.Choice(list(dict.fromkeys(word for words in _HOLDS.values() for word in words))),
    help="What is held out together: groups (source, model and chip, default) or sources of runs, chips (default), "
    "shapes or generations of kernels, groups (default) or systems of collectives, points (a network's at one batch, "
    "default) or sources of convergence.",
)
@click.option("--calibration", default="default", show_default=True, metavar="NAME", help="Fitted constants to use.")
@JSON
@CATALOG
def validate(
    kind: str, file: str | None, out: str | None, held_out: bool, hold: str | None, calibration: str, as_json: bool
) -> int:
    """Compare predictions with measurements; without a file, with those that ship.

    KIND is runs, kernels, collectives, convergence, overlap (the runs of a table that measured what hides behind
    what: the event engine beside the closed form and a fixed overlap) or timeline (records of training ImageNet, 2015
    to 2019, end to end; without a file).
    """
    from hwmodels.datafile import did_you_mean

    if kind not in _VALIDATE_KINDS:
        near = did_you_mean(kind, _VALIDATE_KINDS)
        raise InputError(f"validate: there is no kind {ascii(kind)[:80]}; legal: {', '.join(_VALIDATE_KINDS)}.{near}")
    if hold is not None and (kind not in _HOLDS or not held_out):
        raise InputError("--by: goes with --held-out of runs, kernels, collectives and convergence.")
    if hold is not None and hold not in _HOLDS[kind]:
        raise InputError(f"--by: {kind} are held out by {', '.join(_HOLDS[kind])}; not by {hold}.")
    if kind == "overlap" and held_out:
        raise InputError("--held-out: overlap is predicted with stored constants; leave it out, or validate runs.")
    if kind == "timeline" and (file is not None or held_out):
        word = "--held-out" if held_out else f"{file!a}"
        raise InputError(f"{word}: not with timeline, whose records ship; what was held out stands beside them.")
    problems = output_problems(file, [out])
    if out is not None and os.path.exists(out) and not os.path.isfile(out) and not problems:
        problems = [f"{out!a}: is not a plain file; predictions are written all or nothing."]
    if problems:
        raise InputError(*problems)
    if kind == "timeline":
        deliver(_timeline(out, calibration=calibration, as_json=as_json), None)
        return 0
    if kind == "overlap":
        deliver(_validated_overlap(file, out, calibration=calibration, as_json=as_json), None)
        return 0
    held = (hold or _HOLDS[kind][0]) if held_out else ""
    if kind == "runs":
        deliver(_validated(file, out, hold=held, calibration=calibration, as_json=as_json), None)
    else:
        deliver(_validated_by(kind, file, out, hold=held, calibration=calibration, as_json=as_json), None)
    return 0


def _validated(file: str | None, out: str | None, *, hold: str, calibration: str, as_json: bool) -> str:
    from pathlib import Path

    from ..calibration_data import CalibrationError, load
    from ..validation import TableError, validate_runs

    try:
        load(calibration)
    except CalibrationError as error:
        raise InputError(f"--calibration: {error.args[0]}") from None
    try:
        summary = validate_runs(
            Path(file) if file is not None else None,
            Path(out) if out is not None else None,
            held_out=bool(hold),
            hold=hold or _HOLDS["runs"][0],
            calibration=calibration,
            progress=note,
        )
    except TableError as error:
        raise InputError(str(error)) from None
    if out is not None:
        note(f"wrote {out}")
    return as_json_text(summary.as_json()) if as_json else summary.text()


def _validated_by(kind: str, file: str | None, out: str | None, *, hold: str, calibration: str, as_json: bool) -> str:
    """Kinds whose rows are held out in more than one way."""
    from ..validation.held_out_command import validate_measured

    def run(table: Path | None, results: Path | None) -> _Summary:
        return validate_measured(kind, table, results, hold=hold, calibration=calibration, progress=note)

    return _summarised(run, file, out, as_json=as_json)


def _validated_overlap(file: str | None, out: str | None, *, calibration: str, as_json: bool) -> str:
    from ..validation.overlap_summary import validate_overlap

    def run(table: Path | None, results: Path | None) -> _Summary:
        return validate_overlap(table, results, calibration=calibration, progress=note)

    return _summarised(run, file, out, as_json=as_json)


def _timeline(out: str | None, *, calibration: str, as_json: bool) -> str:
    """Records of training ImageNet beside their predictions, and which change bought what."""
    from ..calibration_data import CalibrationError
    from ..output import write_atomically
    from ..records import timeline, waterfall
    from ..report.records_text import COLUMNS, timeline_mapping, timeline_text, timeline_values
    from ..validation.shipped_tables import csv_text

    try:
        found = timeline(calibration=calibration)
    except CalibrationError as error:
        raise InputError(f"--calibration: {error.args[0]}") from None
    changes = waterfall(found.rows, calibration=calibration)
    if out is not None:
        values = map(timeline_values, found.rows)
        rows = [["" if row[c] is None else row[c] for c in COLUMNS] for row in values]
        write_atomically(out, csv_text(list(COLUMNS), rows))
        note(f"wrote {out}")
    return as_json_text(timeline_mapping(found, changes)) if as_json else timeline_text(found, changes)


def _summarised(
    run: Callable[[Path | None, Path | None], _Summary], file: str | None, out: str | None, *, as_json: bool
) -> str:
    """What a validation prints; a calibration or a table that cannot be used is an error of the input."""
    from pathlib import Path

    from ..calibration_data import CalibrationError
    from ..validation import TableError

    try:
        summary = run(Path(file) if file is not None else None, Path(out) if out is not None else None)
    except CalibrationError as error:
        raise InputError(f"--calibration: {error.args[0]}") from None
    except TableError as error:
        raise InputError(str(error)) from None
    if out is not None:
        note(f"wrote {out}")
    return as_json_text(summary.as_json()) if as_json else summary.text()
