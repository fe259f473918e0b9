"""What a file is, by how it begins."""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from ..errors import InputError
from ..probe.record import is_probe

#: Kinds of files, and how a message calls them.
KINDS: Final = {
    "probe": "a file of `trainyard probe`", "trace": "a PyTorch profiler (Kineto) trace", "nccl-tests": "nccl-tests text",
    "kernels": "a table of measured kernels", "collectives": "a table of measured collectives",
    "runs": "a table of measured runs",
}  # fmt: skip
_HEAD: Final = 1 << 16
_COLUMNS: Final = {
    "kernels": {"kernel", "chip", "precision", "time_s"},
    "collectives": {"collective", "ranks", "size_bytes", "time_s"},
    "runs": {"model", "chip", "num_chips", "metric", "value"},
}  # fmt: skip


@contextmanager
def opened(path: str | Path) -> Iterator[IO[str]]:
    """A text file, unpacked as it is read where it is gzip. Raises `InputError`."""
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        binary: IO[bytes] = gzip.open(path, "rb") if packed else open(path, "rb")  # noqa: SIM115 (closed below)
        with io.TextIOWrapper(binary, encoding="utf-8-sig", errors="replace", newline="") as text:
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
        "A trace begins with \"traceEvents\", a table with its columns' names."
    )
