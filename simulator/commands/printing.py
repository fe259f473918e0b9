"""What leaves the program: results on standard output, everything else on standard error."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Iterable, Sequence
from typing import Any

import click

from ..errors import InputError


def as_json_text(value: object) -> str:
    from ..report.json_form import dumps

    return value if isinstance(value, str) else dumps(value)


def deliver(text: str, out: str | None) -> None:
    if out is not None:
        from ..output import write_atomically

        write_atomically(out, text)
        note(f"wrote {out}")
        return
    try:
        sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has seen enough. What is still buffered must not fail again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        raise InputError(f"standard output cannot be written: {error.strerror or error}.") from None


def colours() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def note(text: str) -> None:
    complain([text])


def complain(lines: Iterable[str]) -> None:
    """Lines on standard error, with nothing in them that a terminal obeys."""
    for line in (part for text in lines for part in text.split("\n")):
        clean = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
        try:
            sys.stderr.write(f"trainyard: {clean}\n")
        except OSError:
            return


def one_line(text: str) -> str:
    joined = " ".join(text.split())
    return joined[:1].lower() + joined[1:]


def our_fault(error: Exception) -> list[str]:
    if os.environ.get("TRAINYARD_DEBUG") == "1":
        return traceback.format_exc().rstrip().split("\n")
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""
    said = " ".join(str(error).split())[:200]
    return [
        f"a fault of ours: {type(error).__name__}{place}: {said}",
        "please report it with the command line and `trainyard --version`; TRAINYARD_DEBUG=1 shows the traceback.",
    ]


def progress(items: Sequence[Any], word: str) -> Iterable[Any]:
    """The items; meanwhile a bar on a terminal, elsewhere a plain line every ten seconds."""
    if sys.stderr.isatty():
        with click.progressbar(items, label=word, file=sys.stderr) as bar:
            yield from bar
        return
    told = time.monotonic()
    for done, item in enumerate(items):
        if time.monotonic() - told > 10:
            note(f"{done} of {len(items)} {word}")
            told = time.monotonic()
        yield item
