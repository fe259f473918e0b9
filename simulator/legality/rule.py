"""`Rule`: one condition that every legal strategy meets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..kernels.optable import Ints
from ..parallelism import COLUMNS
from .premise import Premise

Columns = Mapping[str, Ints]
Bools = NDArray[np.bool_]
#: One strategy: every field's number, words as their place in `COLUMNS`.
Row = Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule: its name, the sentence users read, the fields it depends on, where it is broken, and by how much.

    ``fields`` are in the order in which they are to blame, the last first. ``broken`` reads no other, so that every
    legal strategy differs from one that breaks the rule in at least one of them.
    """

    name: str
    sentence: str
    fields: tuple[str, ...]
    broken: Callable[[Premise, Columns], Bools]
    why: Callable[[Premise, Row], str]


def rule(
    name: str,
    fields: str,
    sentence: str,
    broken: Callable[[Premise, Columns], Bools],
    why: Callable[[Premise, Row], str],
) -> Rule:
    """A rule whose fields are written in one text."""
    return Rule(name=name, sentence=sentence, fields=tuple(fields.split()), broken=broken, why=why)


def written(name: str, number: int) -> str:
    """A field's number as a question writes it: a word where it stands for one."""
    words = COLUMNS[name]
    if name == "sequence_parallel":
        return "true" if number else "false"
    return str(number) if words is None else words[number]


def remainder(name: str, ranks: int, size: int, what: str) -> str:
    """``tp=7 leaves 5 of 96 heads over``."""
    return f"{name}={ranks} leaves {size % ranks} of {size} {what} over"
