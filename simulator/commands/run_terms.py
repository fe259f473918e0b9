"""Options of what a whole run meets: failures, checkpoints, prices. Read together into `RunTerms`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from ..errors import InputError
from .asking import F

if TYPE_CHECKING:
    from ..whole_run import RunTerms

#: Option -> (field of `RunTerms` or of its price, dimension or kind, metavar, help).
_OPTIONS: Final[Mapping[str, tuple[str, str, str, str]]] = {
    "failures": ("failures", "word", "NAME", "As often as in llama-3-405b, rsc-1, opt-175b, bloom; none."),
    "mtbf": ("chip_mtbf_h", "number", "HOURS", "One mean time between failures for every chip, instead."),
    "restart": ("restart_s", "s", "TIME", "From a failure to training again, as 11min. Default: 660 s."),
    "detect": ("down_s", "s", "TIME", "Before a restart begins: detection, a spare server. Default: 0 s."),
    "repair": ("repair_s", "s", "TIME", "Until a failed server is back. Default: there is always another."),
    "spares": ("spares", "count", "N", "Servers that wait to replace failed ones; with --repair."),
    "elastic": ("elastic", "flag", "", "Go on with fewer replicas where no spare is left; with --repair."),
    "preempted": ("preemptions_per_server_hour", "number", "X", "A spot server is taken back so many times an hour."),
    "checkpoint_every": ("checkpoint_every", "count", "N", "Steps between checkpoints. Default: the best interval."),
    "checkpoint_mode": ("checkpoint_mode", "word", "NAME", "blocking (default) or asynchronous."),
    "storage": ("storage_byte_per_s", "byte/s", "RATE", "The file system, as 100GB/s. Default: 2 GB/s a server."),
    "input": ("input", "word", "NAME", "What feeds the steps: imagenet or tokens. Default: never waited for."),
    "startup": ("startup_s", "s", "TIME", "Until the first step. Default: 600 s."),
    "price": ("kind", "price", "KIND", "list (default), spot:SHARE of the list price, or owned."),
    "usd_per_chip_hour": ("usd_per_chip_hour", "price-number", "X", "The list price, instead of the one that ships."),
    "usd_per_chip": ("usd_per_chip", "price-number", "X", "Of owned chips: each with its share of everything."),
    "years": ("years", "price-number", "X", "Of owned chips: written off over so many. Default: 4."),
    "interest": ("interest", "price-number", "X", "Of owned chips: a year, as 0.05. Default: 0."),
    "used_share": ("used_share", "price-number", "X", "Of owned chips: share of the time in use. Default: 0.8."),
    "usd_per_kwh": ("usd_per_kwh", "price-number", "X", "Of owned chips: price of energy. Default: 0.10."),
    "trials": ("trials", "trials", "N[:SHARE]", "A search of N trials before, each that share of the run."),
    "carbon": ("kg_per_kwh", "number", "X", "Carbon of a kWh in kg, as 0.39."),
    "pue": ("pue", "number", "X", "Energy of the building over the computers'. Default: 1.1."),
    "seed": ("seed", "count", "N", "Of the drawn runs. Default: 0."),
}  # fmt: skip


def run_terms_options(command: F) -> F:
    """Add the options; the command gets them as ``terms_NAME``."""
    for key, (_, kind, metavar, text) in reversed(list(_OPTIONS.items())):
        name = f"--{key.replace('_', '-')}"
        if kind == "flag":
            command = click.option(name, f"terms_{key}", flag_value="yes", default=None, help=text)(command)
        else:
            command = click.option(name, f"terms_{key}", metavar=metavar, help=text)(command)
    return command


def take_terms(flags: dict[str, Any]) -> RunTerms:
    """The terms from what was typed, taken out of ``flags``. `InputError` with every problem."""
    given = {key: value for key in _OPTIONS if (value := flags.pop(f"terms_{key}", None)) is not None}
    from ..outcome.purchase import Terms
    from ..whole_run import RunTerms

    values: dict[str, Any] = {}
    price: dict[str, Any] = {}
    problems = []
    for key, text in given.items():
        field, kind, metavar, _ = _OPTIONS[key]
        try:
            if kind == "price":
                word, colon, share = text.partition(":")
                price |= {"kind": word, **({"spot_share": number(share)} if colon else {})}
            elif kind == "price-number":
                price[field] = number(text)
            elif kind == "trials":
                many, colon, share = text.partition(":")
                values |= {"trials": _read(many, "count"), **({"trial_share": number(share)} if colon else {})}
            else:
                values[field] = _read(text, kind)
            if key in ("mtbf", "storage") and not values[field]:
                raise InputError("above 0.")
        except InputError as error:
            problems.append(f"--{key.replace('_', '-')}: is {text[:80]!a}; legal: {metavar or 'no value'}, {error}")
    needs = [f"--{key}" for key in ("spares", "elastic") if key in given and "repair" not in given]
    if needs:
        problems.append(f"{', '.join(needs)}: only with --repair, as --repair 24h; without, a server is always there.")
    if problems:
        raise InputError(*problems)
    return RunTerms(price=Terms(**price), **values)


def number(text: str) -> float:
    """A plain number, 0 or more."""
    return float(_read(text, "number"))


def count(text: str) -> int:
    """A whole number, 0 or more."""
    return int(_read(text, "count"))


_DURATION: Final = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?)\s*(s|min|h|d)\s*")
_SECONDS: Final = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def duration(text: str) -> float:
    """A time [s], as 90s, 11min, 24h or 30d."""
    match = _DURATION.fullmatch(text) if len(text) < 40 else None
    if match is None or not float(match[1]) < 1e9:
        raise InputError("as 90s, 11min, 24h or 30d.")
    return float(match[1]) * _SECONDS[match[2]]


def _read(text: str, kind: str) -> Any:
    from hwmodels.units import UnitError, parse_quantity

    if kind == "word":
        return text
    if kind == "flag":
        return True
    if kind == "s":
        return duration(text)
    try:
        value = parse_quantity(text, "1" if kind in ("count", "number") else kind)
    except UnitError as error:
        raise InputError(str(error)) from None
    if not 0 <= value < 1e18:
        raise InputError("0 or more.")
    if kind == "count":
        if value != int(value) or value > 10**9:
            raise InputError("a whole number up to 1,000,000,000.")
        return int(value)
    return value
