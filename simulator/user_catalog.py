"""The user's own data files, read as a whole before anything rests on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import hwmodels.catalog as hardware
from hwmodels.datafile import DataFileError, data_files

from .cluster import system_ids
from .measured_constants import measured_constants
from .stack import stack_ids


def problems_of_user_files() -> tuple[str, ...]:
    """Every problem of every data file that the user added; reading stops at none of them."""
    problems: list[str] = []
    readers: tuple[tuple[str, Callable[[str], object]], ...] = (
        ("chips", hardware.chip),
        ("links", hardware.link),
        ("servers", hardware.server),
    )
    for kind, read in readers:
        shipped = str(hardware.DATA / kind)
        try:
            found = data_files(kind, shipped)
        except DataFileError as error:
            problems += error.problems
            continue
        for id, path in found.items():
            if Path(path).parent != Path(shipped):
                try:
                    read(id)
                except (DataFileError, LookupError, ValueError) as error:
                    problems += getattr(error, "problems", (f"{path}: {error}",))
    if not problems:
        for whole in (system_ids, stack_ids, measured_constants):
            try:
                whole()
            except (DataFileError, LookupError, ValueError) as error:
                problems += getattr(error, "problems", (str(error),))
    return tuple(problems)
