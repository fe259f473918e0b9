"""What is wrong with a strategy that is pinned in part: which rules no choice of the rest can meet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

from .nearest import as_pins, asked_row, choices, legal_replicas, nearest_legal, never
from .premise import Premise
from .rule import Rule, written
from .table import RULES, first_broken

Pins = Mapping[str, int | str | bool]
#: Legal values that a message lists, at most.
_MOST_SHOWN: Final = 24


def problems_of_pins(premise: Premise, pins: Pins) -> Iterator[tuple[str, str]]:
    """(field, problem) of everything that keeps pins from being legal; nothing where some strategy agrees with them.

    Where no strategy at all is legal the field is "", and the problem one of the global batch.

    Others name the rule, what is legal and the nearest pins that are.
    """
    nearest = nearest_legal(premise, pins)
    if nearest is not None and all(getattr(nearest, name) == value for name, value in pins.items()):
        return
    row = asked_row(premise, pins)
    hint = "" if nearest is None else f" Nearest: {pins_text(as_pins(nearest, pins))}."
    found = False
    for rule in RULES:
        given = [name for name in rule.fields if name in pins]
        if given and never(premise, rule, row, pins):
            found = True
            legal = _legal(premise, rule, row, given)
            yield given[-1], f"{rule.why(premise, row)} (rule {rule.name}: {rule.sentence}); legal: {legal}.{hint}"
    if found or not pins:
        return
    if nearest is None:
        yield "", _no_batch(premise)
        return
    place = int(first_broken(premise, {name: np.array([number]) for name, number in row.items()})[0])
    named = f" (rule {RULES[place].name}: {RULES[place].sentence})" if place >= 0 else ""
    yield (
        next(reversed(list(pins))),
        (
            f"no strategy has all of {pins_text(pins)} on {premise.chips} chips with a global batch of "
            f"{premise.global_batch}{named}; legal: other pins, or fewer.{hint}"
        ),
    )


def pins_text(pins: Pins) -> str:
    """``tp=8 recompute=full``."""
    return " ".join(
        f"{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in pins.items()
    )


def _legal(premise: Premise, rule: Rule, row: Mapping[str, int], given: list[str]) -> str:
    """Values of each blamed field that meet the rule beside the other pins."""
    found: list[str] = []
    for name in reversed(given):
        columns = choices(premise, rule, row, [each for each in rule.fields if each == name or each not in given])
        if columns is None:
            continue
        good = np.unique(columns[name][~rule.broken(premise, columns)]).tolist()
        words = [written(name, value) for value in good]
        shown = words if len(words) <= _MOST_SHOWN else [*words[: _MOST_SHOWN - 1], f"... {words[-1]}"]
        found += [f"{name} {', '.join(shown)}"] if words else []
    return ", or ".join(found) or f"another {' and '.join(given)}"


def _no_batch(premise: Premise) -> str:
    """That no layout shares the batch evenly, and the nearest batches that some layout does."""
    batch, name = premise.global_batch, premise.workload.name
    replicas = legal_replicas(premise)
    if not replicas:
        return f"is {batch}, but no strategy cuts {name} over exactly {premise.chips} chips; legal: other chips."
    near = {batch - batch % dp for dp in replicas if batch >= dp} | {batch + dp - batch % dp for dp in replicas}
    nearest = sorted(sorted(near, key=lambda other: (abs(other - batch), other))[:2])
    return (
        f"is {batch}, which no legal layout of {name} on {premise.chips} chips shares evenly; legal: a multiple of "
        f"{' or '.join(map(str, _least(replicas)))}. Nearest: {' or '.join(map(str, nearest))}."
    )


def _least(numbers: tuple[int, ...]) -> list[int]:
    """Those that no other of them divides."""
    return [n for n in numbers if not any(n % other == 0 for other in numbers if other < n)][:_MOST_SHOWN]
