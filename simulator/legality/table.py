"""All rules in one table, and which of them strategies break."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from ..kernels.optable import Ints
from ..parallelism import COLUMNS, index_of, whole_columns
from . import pipelines, ranks, samples, state
from .premise import Premise
from .rule import Bools, Columns, Rule

#: Every rule, in the order in which they are named where several are broken.
RULES: Final[tuple[Rule, ...]] = (*ranks.RULES, *samples.RULES, *pipelines.RULES, *state.RULES)


def broken(premise: Premise, columns: Columns) -> Iterator[tuple[Rule, Bools]]:
    """Every rule, and which strategies break it; shape (S,). ``columns`` has every field that the rules read."""
    for rule in RULES:
        yield rule, rule.broken(premise, columns)


def passes(premise: Premise, columns: Columns) -> Bools:
    """Which strategies break no rule; shape (S,). ``columns`` has every field."""
    good = np.ones(len(columns["tp"]), dtype=bool)
    for _, bad in broken(premise, columns):
        good &= ~bad
    return good


def first_broken(premise: Premise, columns: Columns, rules: Sequence[Rule] = RULES) -> Ints:
    """Place in ``rules`` of the first one that each strategy breaks, -1 where it breaks none; shape (S,)."""
    first = np.full(len(next(iter(columns.values()))), -1, np.int64)
    for place, rule in enumerate(rules):
        first[rule.broken(premise, columns) & (first < 0)] = place
    return first


def broken_rules(premise: Premise, fields: Mapping[str, int | str | bool]) -> tuple[tuple[Rule, str], ...]:
    """Every rule that one strategy breaks, and by how much. ``fields`` may leave out what has its default."""
    row = {name: np.array([index_of(name, value)]) for name, value in fields.items() if name in COLUMNS}
    columns = whole_columns({"tp": np.array([1]), **row})
    whole = {name: int(column[0]) for name, column in columns.items()}
    return tuple((rule, rule.why(premise, whole)) for rule, bad in broken(premise, columns) if bad[0])
