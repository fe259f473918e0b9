"""Which strategies are legal for a job: one table of rules, read by the search, by checks of pins, by refusals.

A rule reads some fields of a strategy and facts of the job (`Premise`), never the software: what a stack does not do is
not searched, but may be pinned. Rules run over columns (`parallelism.COLUMNS`), so that many strategies are checked as
quickly as one.
"""

from __future__ import annotations

from .nearest import as_pins, divisors, nearest_legal
from .pins import problems_of_pins
from .premise import Premise
from .rule import Rule, written
from .table import RULES, broken, broken_rules, first_broken, passes

__all__ = [
    "RULES",
    "Premise",
    "Rule",
    "as_pins",
    "broken",
    "broken_rules",
    "divisors",
    "first_broken",
    "nearest_legal",
    "passes",
    "problems_of_pins",
    "written",
]
