"""Constants that the user's own measurements gave: read from the calibrations of the folders that `--catalog` names.

A file in ``DIR/calibrations`` holds ``[constants]`` (keys of `constants.key_of`, with the chip's own id for its owner)
and ``[deviations.<family>]`` (keys of `kernels.kernel_constants.key_of` at the level "chip"). They stand beside what
ships and speak of the user's chip, stack and fabric only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from hwmodels.datafile import DataFileError, TomlFile, data_files, read_toml, user_folders


@dataclass(frozen=True, kw_only=True)
class MeasuredConstants:
    """``constants`` by key; ``deviations`` of the kernel models by family and key."""

    constants: Mapping[str, float] = field(default_factory=dict)
    deviations: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def knows(self, chip: str) -> bool:
        """Whether kernels of a chip were measured, by the word under which its deviations are kept."""
        return any(key.endswith(f"@chip={chip}") for values in self.deviations.values() for key in values)


def measured_constants() -> MeasuredConstants:
    """All measured constants of the user's folders. Raises `DataFileError` with every problem of the files."""
    return _read(user_folders())


@cache
def _read(folders: tuple[str, ...]) -> MeasuredConstants:
    constants: dict[str, float] = {}
    deviations: dict[str, dict[str, float]] = {}
    problems: list[str] = []
    for path in (data_files("calibrations", "").values()) if folders else ():
        file = read_toml(path)
        problems += _problems(file)
        if problems:
            continue
        constants |= {key: float(value) for key, value in file.data.get("constants", {}).items()}
        for family, values in file.data.get("deviations", {}).items():
            deviations.setdefault(family, {}).update({key: float(value) for key, value in values.items()})
    if problems:
        raise DataFileError(*problems)
    return MeasuredConstants(constants=constants, deviations=deviations)


def _problems(file: TomlFile) -> Iterator[str]:
    if file.data.get("schema") != 1:
        yield file.problem(("schema",), "must be 1.")
    for key, value in _table(file.data.get("constants")).items():
        if key.count(":") != 2 or not _is_number(value) or value <= 0:
            yield file.problem(("constants", key), f"{value!r}; a number above 0 for scope:owner:name is needed.")
    for family, values in _table(file.data.get("deviations")).items():
        for key, value in _table(values).items():
            name, _, owner = key.partition("@chip=")
            if not owner or not name or not _is_number(value):
                where = ("deviations", family, key)
                yield file.problem(where, f"{value!r}; the deviation of a logarithm for name@chip=ID is needed.")


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
