"""`trainyard calibrate`."""

from __future__ import annotations

import os
import re

import click

from ..errors import InputError
from .asking import CATALOG
from .printing import as_json_text, deliver, note

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,60}")


@click.command()
@click.argument("files", nargs=-1, metavar="FILE...")
@click.option("--out", metavar="DIR", help="Write the chip, its system and its constants there, for --catalog DIR.")
@click.option(
    "--name", default="this-machine", show_default=True, metavar="NAME", help="What chip and system are called."
)
@click.option("--residuals", metavar="FILE.html", help="Write a page of predicted over measured.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@CATALOG
def calibrate(files: tuple[str, ...], out: str | None, name: str, residuals: str | None, as_json: bool) -> int:
    """Fit the constants of a chip, a stack and a fabric to measurements.

    FILE is any of: a file of `trainyard probe`, nccl-tests text, a PyTorch profiler trace (.json or .json.gz), a table
    of measured kernels, collectives or runs. Several speak of one machine together. What data cannot determine is named
    with the measurement that would.
    """
    problems = []
    if not files:
        problems.append(
            "calibrate: name at least one file of measurements; `trainyard probe --out here.json` makes one."
        )
    if not _NAME.fullmatch(name):
        problems.append(f"--name: is {name!a}; legal: small letters, digits, points and hyphens.")
    if out is not None and os.path.exists(out) and not os.path.isdir(out):
        problems.append(f"--out: {out!a} is a file; name a folder.")
    if out is not None and name in _taken(out):
        problems.append(f"--name: {name!a} is in the catalogue already; choose another.")
    if problems:
        raise InputError(*problems)
    from ..machine_fit.calibrate import calibrate as fitted
    from ..machine_fit.text import calibrated_json, calibrated_text
    from ..output import require_writable, write_atomically

    if residuals is not None:
        require_writable(residuals)
    found = fitted(files, name=name)
    texts = found.files()
    if out is not None:
        for path, text in sorted(texts.items()):
            whole = os.path.join(out, path)
            try:
                os.makedirs(os.path.dirname(whole), exist_ok=True)
            except OSError as error:
                raise InputError(f"--out: {out!a}: cannot be written: {error.strerror or error}.") from None
            write_atomically(whole, text)
        note(f"wrote {len(texts)} files to {out}" + (f"; plan with --catalog {out}" if texts else ""))
    if residuals is not None:
        from ..report.residual_page import residual_html

        write_atomically(residuals, residual_html(name, found.fits))
        note(f"wrote {residuals}")
    deliver(as_json_text(calibrated_json(found)) if as_json else calibrated_text(found), None)
    return 0


def _taken(out: str) -> set[str]:
    """Names of chips and systems that the new files would clash with; those in the folder itself are replaced."""
    from hwmodels.catalog import chip_ids

    mine = os.path.join(out, "chips")
    own = {entry.removesuffix(".toml") for entry in os.listdir(mine)} if os.path.isdir(mine) else set()
    return set(chip_ids()) - own
