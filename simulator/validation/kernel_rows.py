"""Rows of a table of measured kernels: which can be priced, on which chip, and why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from hwmodels.catalog import chip as chip_by_id
from hwmodels.catalog import chip_ids, resolve_chip
from hwmodels.datafile import did_you_mean
from simulator.kernels.settings import PRECISION_WORDS, Setting, library_word

from .kernel_suites.family import Family, Row, RowError

#: Configuration columns every family uses; nothing else of a row is looked at (`Family.columns` adds the shapes).
COMMON_COLUMNS: Final = ("kernel", "chip", "precision", "library", "suite", "pass", "op")


@dataclass(frozen=True, kw_only=True)
class KernelJob:
    """A row that can be priced: its family and the settings it may mean, one for each candidate chip.

    ``group`` is (suite, chip as the table spells it): the finest set that errors are averaged over.
    """

    family: str
    settings: tuple[Setting, ...]
    group: tuple[str, str]


def resolve_kernel(row: Row, families: Mapping[str, Family]) -> KernelJob:
    """The job of a row.

    Raises
    ------
    RowError
        With the reason it cannot be priced.
    """
    kernel = row.get("kernel", "")
    fitting = [name for name, entry in families.items() if kernel in entry.kernels]
    if not fitting:
        legal = sorted({word for entry in families.values() for word in entry.kernels})
        raise RowError(f"kernel {kernel!r} is not known; one of {', '.join(legal)}.{did_you_mean(kernel, legal)}")
    candidates = resolve_chip(row.get("chip", ""))
    if not candidates:
        spelling = row.get("chip", "")
        near = did_you_mean(spelling.lower().replace(" ", "-"), chip_ids())
        raise RowError(f"chip {spelling!r} is not in the catalogue.{near}")
    precision = row.get("precision", "")
    if precision not in PRECISION_WORDS:
        raise RowError(
            f"precision {precision!r} is not known; one of {', '.join(PRECISION_WORDS)}."
            f"{did_you_mean(precision, PRECISION_WORDS)}"
        )
    word = PRECISION_WORDS[precision][0]
    chips = [chip_by_id(id).one_die for id in candidates if word in chip_by_id(id).peak_flop_per_s]
    if not chips:
        has = sorted({w for c in candidates for w in chip_by_id(c).peak_flop_per_s})
        raise RowError(f"chip {row.get('chip')!r} has no rate for {word}; it has {', '.join(has)}.")
    kinds = {chip.kind for chip in chips}
    family = next((name for name in fitting if kinds <= set(families[name].kinds)), "")
    if not family:
        priced = sorted({kind for name in fitting for kind in families[name].kinds})
        raise RowError(f"no model of {kernel} on a chip of kind {', '.join(sorted(kinds))}; there is for {priced}.")
    families[family].check(row)
    library, suite = library_word(row.get("library", "")), row.get("suite", "")
    settings = tuple(Setting(chip=c, precision=precision, library=library, suite=suite) for c in chips)
    return KernelJob(family=family, settings=settings, group=(suite, row.get("chip", "")))
