"""What a file is, by how it begins."""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, Final, cast

from ..errors import InputError
from ..probe.record import is_probe

#: Kinds of files, and how a message calls them.
KINDS: Final = {
    "probe": "a file of `trainyard probe`", "trace": "a PyTorch profiler (Kineto) trace",
    "nccl-tests": "nccl-tests text",
    "kernels": "a table of measured kernels", "collectives": "a table of measured collectives",
    "runs": "a table of measured runs",
}  # fmt: skip
_HEAD: Final = 1 << 16
_COLUMNS: Final = {
    "kernels": {"kernel", "chip", "precision", "time_s"},
    "collectives": {"collective", "ranks", "size_bytes", "time_s"},
    "runs": {"model", "chip", "num_chips", "metric", "value"},
}  # fmt: skip


def _plain(path: str | Path) -> BinaryIO:
    return open(path, "rb")


def _unpacked(path: str | Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb"))


@contextmanager
def opened(path: str | Path) -> Iterator[IO[str]]:
    """A text file, unpacked as it is read where it is gzip. Raises `InputError`."""
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        opener: Callable[[str | Path], BinaryIO] = _unpacked if packed else _plain
        with io.TextIOWrapper(opener(path), encoding="utf-8-sig", errors="replace", newline="") as text:
            yield text
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file.") from None
    except (OSError, EOFError) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}.") from None


def kind_of(path: str | Path) -> str:
    """One of `KINDS`. Raises `InputError` where a file is none of them."""
    with opened(path) as stream:
        head = stream.read(_HEAD)
    if is_probe(head):
        return "probe"
    if head.lstrip()[:1] in ("{", "[") and ('"traceEvents"' in head or '"ph"' in head):
        return "trace"
    if re.search(r"^#.*\balgbw\b.*\bbusbw\b", head, re.MULTILINE):
        return "nccl-tests"
    first = next(csv.reader([head.splitlines()[0]]), []) if head.strip() else []
    columns = {word.strip() for word in first}
    for kind, needed in _COLUMNS.items():
        if needed <= columns:
            return kind
    raise InputError(
        f"{path}: is none of the files that calibrate reads: {', '.join(KINDS.values())}. "
        'A trace begins with "traceEvents", a table with its columns\' names.'
    )
