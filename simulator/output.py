"""Writing results to files: found impossible before the work, and all of it or nothing after it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .errors import InputError


class OutputError(InputError, OSError):
    """A place that nothing can be written to: input that cannot be used, and an operating system's refusal."""


def require_writable(path: str | os.PathLike[str]) -> None:
    """Raise `OutputError` now if a result could not be written there later; changes nothing.

    A file beside the target is made and removed again: permissions alone do not tell about read-only or full disks.
    """
    shown = ascii(os.fspath(path))
    target = Path(path)
    try:
        if target.is_dir():
            raise OutputError(f"{shown}: this is a directory; name a file in it.")
        if _is_special(target):
            return
        target = Path(os.path.realpath(target))
        if not target.parent.is_dir():
            raise OutputError(f"{shown}: there is no directory {str(target.parent)!a}; make it first.")
        if target.exists() and not os.access(target, os.W_OK):
            raise OutputError(f"{shown}: the file is write-protected.")
        probe = _beside(target)
        probe.open("w", encoding="utf-8").close()
        probe.unlink()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{shown}: cannot be written: {_reason(error)}.") from None


def write_atomically(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file, all of it or nothing; what stood there stays until the new text is complete.

    A link keeps pointing where it pointed; a pipe or a device is written to as it is.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    try:
        with whole_file(path) as file:
            file.write(text.encode("utf-8"))
    except (OSError, ValueError) as error:
        raise OutputError(f"{os.fspath(path)!a}: cannot be written: {_reason(error)}.") from None


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write bytes into that takes the place of what stands at `path` when all of them are there, else never.

    A link keeps pointing where it pointed; a pipe or a device is written to as it is, for it cannot be replaced.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    target = Path(path)
    if _is_special(target):
        with target.open("wb") as file:
            yield file
        return
    target = Path(os.path.realpath(target))
    temporary = _beside(target)
    try:
        with temporary.open("wb") as file:
            yield file
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _is_special(target: Path) -> bool:
    return target.exists() and not target.is_file() and not target.is_dir()


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}.tmp")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
