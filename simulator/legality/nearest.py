"""The legal strategy that changes least of what was asked."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final

import numpy as np

from ..distinct import distinct_rows
from ..kernels.optable import Floats, Ints
from ..parallelism import COLUMNS, Parallelism, index_of, strategy_at, whole_columns
from .premise import Premise
from .rule import Rule
from .table import RULES, first_broken

_NAMES: Final = tuple(COLUMNS)
_PLACE: Final = {name: place for place, name in enumerate(_NAMES)}
#: A change of what was asked weighs more than any number of changes of what was not.
_ASKED: Final = 100
#: Fields that dp follows where it is not asked: it takes the chips that they leave.
_AXES: Final = ("tp", "pp", "cp")
#: Strategies looked at before fewer changes of unasked fields are given up for more changes of asked ones.
_MOST_ROWS: Final = 30_000
_MOST_IN_ALL: Final = 100_000
#: Choices of a rule's open fields that are tried.
_MOST_CHOICES: Final = 500_000
_MOST_CHUNKS: Final = 32
_MOST_SERVERS: Final = 1024


@lru_cache(maxsize=4096)
def divisors(number: int) -> tuple[int, ...]:
    """Every divisor of a whole number, ascending."""
    low = [n for n in range(1, math.isqrt(number) + 1) if number % n == 0]
    return tuple(sorted({*low, *(number // n for n in low)}))


def domain(premise: Premise, name: str) -> tuple[int, ...]:
    """Values of a field among which every legal one is, or one as good."""
    words, chips = COLUMNS[name], divisors(premise.chips)
    if words is not None:
        return tuple(range(len(words)))
    experts = chips if premise.has_tables else divisors(premise.workload.experts)
    blocks = range(1, max(premise.blocks, 1) + 1)
    return {
        "ep": experts,
        "micro_batch": divisors(premise.global_batch),
        "virtual_stages": tuple(blocks[:_MOST_CHUNKS]),
        "recompute_every": tuple(blocks),
        "sequence_parallel": (0, 1),
        "shard_ranks": (0, *chips),
        "local_steps": (1,),
        "parameter_servers": tuple(range(min(premise.hosts, _MOST_SERVERS) + 1)),
    }.get(name, chips)


def asked_row(premise: Premise, asked: Mapping[str, int | str | bool]) -> dict[str, int]:
    """Every field's number: as asked, else its default; dp takes the chips that are left where they divide."""
    row = {name: np.array([index_of(name, value)]) for name, value in asked.items() if name in COLUMNS}
    whole = {name: int(column[0]) for name, column in whole_columns({"tp": np.array([1]), **row}).items()}
    product = whole["tp"] * whole["pp"] * whole["cp"]
    if "dp" not in asked and premise.chips % product == 0:
        whole["dp"] = premise.chips // product
    return whole


def nearest_legal(premise: Premise, asked: Mapping[str, int | str | bool]) -> Parallelism | None:
    """The legal strategy that changes fewest of the asked fields, those as little as can be; None where there is none.

    Where so much is wrong that too many strategies would have to be looked at, fields are asked one after the other
    instead, each as it was changed for the sake of those before it: the answer is legal and near, but another one may
    change fewer fields.

    Parameters
    ----------
    asked
        Fields of `Parallelism` by name, words as words. Fields that are not asked take whatever value makes it legal.
    """
    if not any(premise.global_batch % dp == 0 for dp in legal_replicas(premise)):
        return None
    found = _fewest_changes(premise, asked)
    if found is not None:
        return found
    kept: dict[str, int | str | bool] = {}
    for name in (name for name in _NAMES if name in asked):
        found = _fewest_changes(premise, {**kept, name: asked[name]}) or found
        kept = {} if found is None else as_pins(found, (*kept, name))
    return found


def _fewest_changes(premise: Premise, asked: Mapping[str, int | str | bool]) -> Parallelism | None:
    """The nearest legal strategy, None where it would be found among too many.

    A rule reads its own fields only, so every legal strategy differs from one that breaks it in one of them. Strategies
    are looked at in the order of their changes: those that break a rule are continued by every value of every field of
    the first rule they break; of the asked fields alone where no choice of the others meets the rule.
    """
    start_row = asked_row(premise, asked)
    start = np.array([start_row[name] for name in _NAMES], dtype=np.int64)
    free_dp = "dp" not in asked
    hopeless = [
        tuple(_PLACE[name] for name in rule.fields if name in asked)
        for rule in RULES
        if never(premise, rule, start_row, asked)
    ]
    hopeless.sort(key=lambda places: len(places))
    waiting: dict[int, list[Ints]] = {0: [start[None, :]]}
    looked_at: dict[int, int] = {}
    while waiting and sum(looked_at.values()) <= _MOST_IN_ALL:
        level = min(waiting)
        rows = np.concatenate(waiting.pop(level))
        rows = rows[distinct_rows(tuple(rows.T))[0]]
        asked_changes = level // _ASKED
        looked_at[asked_changes] = looked_at.get(asked_changes, 0) + len(rows)
        if looked_at[asked_changes] > _MOST_ROWS:
            continue
        first = first_broken(premise, _columns(rows))
        good = rows[first < 0]
        if len(good):
            weight = np.array([1.0 if name in asked else 0.01 for name in _NAMES])
            best = good[np.lexsort((*good.T[::-1], _distance(good, start, weight)))[0]]
            return strategy_at(_columns(best[None, :]), 0, global_batch=premise.global_batch)
        for places in hopeless:
            untouched = (rows[:, places] == start[list(places)]).all(axis=1)
            _continue(premise, waiting, level, rows[untouched], start, [_NAMES[place] for place in places], asked)
            rows, first = rows[~untouched], first[~untouched]
        for place in np.unique(first).tolist():
            names = [n for field in RULES[place].fields for n in (_AXES if field == "dp" and free_dp else (field,))]
            _continue(premise, waiting, level, rows[first == place], start, list(dict.fromkeys(names)), asked)
    return None


def _columns(rows: Ints) -> dict[str, Ints]:
    return dict(zip(_NAMES, np.ascontiguousarray(rows.T), strict=True))


def _continue(
    premise: Premise, waiting: dict[int, list[Ints]], level: int, rows: Ints, start: Ints, names: Iterable[str],
    asked: Mapping[str, object],
) -> None:  # fmt: skip
    """Add to those waiting the rows with every other value of each named field that is still as it was asked."""
    for name in names:
        place = _PLACE[name]
        same = rows[rows[:, place] == start[place]]
        values = np.array([value for value in _lone_values(premise, name) if value != start[place]], dtype=np.int64)
        if not len(same) or not len(values):
            continue
        more = np.repeat(same, len(values), axis=0)
        more[:, place] = np.tile(values, len(same))
        if name in _AXES and "dp" not in asked:
            product = more[:, _PLACE["tp"]] * more[:, _PLACE["pp"]] * more[:, _PLACE["cp"]]
            more[:, _PLACE["dp"]] = np.where(premise.chips % product == 0, premise.chips // product, 1)
        waiting.setdefault(level + (_ASKED if name in asked else 1), []).append(more)


def _lone_values(premise: Premise, name: str) -> Ints:
    """Values of a field that break no rule which reads nothing else."""
    values = np.array(domain(premise, name), dtype=np.int64)
    rules = [rule for rule in RULES if rule.fields == (name,)]
    return np.asarray(values[first_broken(premise, {name: values}, rules) < 0])


def _distance(rows: Ints, start: Ints, weight: Floats) -> Floats:
    """How far fields are from what was asked: factors of two of numbers, 1 a word; unasked ones count little."""
    numbers = np.array([COLUMNS[name] is None for name in _NAMES])
    factors = np.abs(np.log2(np.maximum(rows, 0.5)) - np.log2(np.maximum(start, 0.5)))
    each = np.where(numbers, factors, (rows != start).astype(float))
    return np.asarray(np.round(each @ weight, 9))


def choices(premise: Premise, rule: Rule, row: Mapping[str, int], open_fields: Sequence[str]) -> dict[str, Ints] | None:
    """Columns of a rule's fields for every choice of some, the others as in the row; None where they are too many."""
    values = [np.unique([row[name], *domain(premise, name)]) for name in open_fields]
    if math.prod(len(each) for each in values) > _MOST_CHOICES:
        return None
    grid = np.meshgrid(*values, indexing="ij")
    size = grid[0].size if grid else 1
    columns = {name: np.full(size, row[name], np.int64) for name in rule.fields if name not in open_fields}
    return columns | {name: each.ravel().astype(np.int64) for name, each in zip(open_fields, grid, strict=True)}


def never(premise: Premise, rule: Rule, row: Mapping[str, int], given: Container[str]) -> bool:
    """Whether a rule is broken whatever those of its fields are that are not given."""
    columns = choices(premise, rule, row, [name for name in rule.fields if name not in given])
    return columns is not None and bool(rule.broken(premise, columns).all())


def legal_replicas(premise: Premise) -> tuple[int, ...]:
    """Every dp of a layout that is legal but for the global batch, ascending."""
    chips = divisors(premise.chips)
    grid = [each.ravel() for each in np.meshgrid(chips, chips, chips, indexing="ij")]
    product = grid[0] * grid[1] * grid[2]
    whole = premise.chips % product == 0
    columns = {name: each[whole] for name, each in zip(_AXES, grid, strict=True)}
    columns["dp"] = premise.chips // product[whole]
    rules = [rule for rule in RULES if rule.name != "batch" and set(rule.fields) <= set(columns)]
    return tuple(np.unique(columns["dp"][first_broken(premise, columns, rules) < 0]).tolist())


def as_pins(strategy: Parallelism, names: Container[str]) -> dict[str, int | str | bool]:
    """The named fields of a strategy, as a question pins them."""
    return {name: getattr(strategy, name) for name in _NAMES if name in names}
