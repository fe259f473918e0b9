"""Options of a command that runs a step many times beside its input and checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

import click

from ..errors import InputError

if TYPE_CHECKING:
    from ..run_beside import RunOptions

#: Field of `RunOptions` -> option, what is legal, its dimension ("": a word, "count": a whole number), help.
_OPTIONS: Final = {
    "steps": ("--steps", "N", "count", "Run so many steps beside input and checkpoints."),
    "input": ("--input", "NAME", "", "What feeds them: imagenet (decoded on the host) or tokens."),
    "prefetch": ("--prefetch", "N", "count", "Batches prepared ahead. Default: 2."),
    "spread": ("--input-spread", "X", "1", "Standard deviation over mean of a batch's input times. Default: 0."),
    "storage_byte_per_s": ("--storage", "RATE", "byte/s", "The file system all servers share, as 100GB/s."),
    "disk_byte_per_s": ("--disk", "RATE", "byte/s", "Each server's own disks, as 5GB/s."),
    "host_memory_byte": ("--host-memory", "SIZE", "byte", "Each host's memory, as 512GiB. Default: nothing is cached."),
    "checkpoint_every": ("--checkpoint-every", "N", "count", "Steps from one checkpoint to the next. Default: none."),
    "checkpoint_mode": ("--checkpoint-mode", "NAME", "", "blocking (default) or asynchronous."),
}


def runs_steps(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command, which gets `run`: a `RunOptions`, or None without --steps."""

    @wraps(command)
    def inner(**given: Any) -> Any:
        texts = {name: given.pop(f"run_{name}") for name in _OPTIONS}
        return command(run=run_options(texts), **given)

    decorated: Callable[..., Any] = inner
    for name, (option, metavar, _, words) in reversed(_OPTIONS.items()):
        decorated = click.option(option, f"run_{name}", metavar=metavar, help=words)(decorated)
    return decorated


def run_options(texts: dict[str, str | None]) -> RunOptions | None:
    """The options from what was typed.

    Raises
    ------
    InputError
        With every problem, one line each.
    """
    given = {name: text for name, text in texts.items() if text is not None}
    if not given:
        return None
    from ..run_beside import RunOptions

    problems, values = [], {}
    for name, text in given.items():
        option, _, dimension, _ = _OPTIONS[name]
        try:
            values[name] = _value(text, dimension)
        except InputError as error:
            problems.append(f"{option}: {error}")
    if "steps" not in given:
        first = _OPTIONS[next(iter(given))][0]
        problems.append(f"--steps is missing: {first} is about a run of steps; give --steps 100.")
    if problems:
        raise InputError(*problems)
    return RunOptions(**values)


def _value(text: str, dimension: str) -> Any:
    from hwmodels.units import UnitError, parse_quantity

    if not dimension:
        return text
    try:
        value = parse_quantity(text.replace(",", ""), "1" if dimension == "count" else dimension)
    except UnitError as error:
        raise InputError(str(error)) from None
    if dimension != "count":
        return value
    if value != int(value) or value > 10**9:
        raise InputError(f"{text!a} is not a whole number up to 1,000,000,000.")
    return int(value)
