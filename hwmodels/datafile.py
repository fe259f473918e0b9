"""Reading TOML data files: every failure is one `DataFileError` whose lines say file, line, key and the way out.

This module knows nothing of hardware; the other packages read their own data files through it.
"""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path
from typing import Any, Final

KeyPath = tuple[str | int, ...]

#: Folders of the user's own data files, searched after those that ship; joined as in PATH. An environment variable, so
#: that worker processes see the same catalogue.
CATALOG_VARIABLE: Final = "TRAINYARD_CATALOG"
#: Kinds of data files a user may add, each in a folder of its name; files that stand in no such folder are chips.
ADDABLE: Final = ("chips", "links", "servers", "systems", "stacks", "calibrations")

MAX_BYTE: Final = 10 * 2**20
#: Tables and arrays inside one another. Nothing we read needs more than six; tomllib needs time that grows with
#: the square of the depth of dotted keys.
MAX_DEPTH: Final = 32
_MAX_INTEGER: Final = 2**63 - 1
_LONG_DOTTED_KEY: Final = re.compile(r"""(?<![\w"'-])(?:[\w"'-]++[ \t]*+\.[ \t]*+){64}""")
_AT_LINE: Final = re.compile(r"\s*\(at line (\d+), column (\d+)\)$")
_AT_END: Final = re.compile(r"\s*\(at end of document\)$")


class DataFileError(ValueError):
    """A data file that cannot be used. `problems` holds every problem found, one line each."""

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems: tuple[str, ...] = problems

    def __str__(self) -> str:
        return "\n".join(self.problems)


def user_folders() -> tuple[str, ...]:
    """Folders of the user's own data files, in order."""
    return tuple(part for part in os.environ.get(CATALOG_VARIABLE, "").split(os.pathsep) if part)


def use_catalog(folder: str) -> None:
    """Search a folder of the user's own data files too, from now on and in worker processes.

    It holds ``chips/*.toml``, ``links/*.toml``, ``servers/*.toml``, ``systems/*.toml``, ``stacks/*.toml`` and
    ``calibrations/*.toml``, written as those that ship; files directly in it are chips.

    Raises
    ------
    DataFileError
        If there is no such folder, or it holds no data file.
    """
    if not os.path.isdir(folder):
        raise DataFileError(f"{folder!a}: is not a folder; name one that holds chips/*.toml or the like.")
    path = os.path.abspath(folder)
    if os.pathsep in path:
        raise DataFileError(f"{folder!a}: has {os.pathsep!r} in its path; name a folder without.")
    if not any(_files_of(kind, path) for kind in ADDABLE):
        where = ", ".join(f"{kind}/" for kind in ADDABLE)
        raise DataFileError(f"{folder!a}: holds no *.toml; looked for chips there and in {where}.")
    if path not in user_folders():
        os.environ[CATALOG_VARIABLE] = os.pathsep.join((*user_folders(), path))


def data_files(kind: str, shipped: str) -> Mapping[str, str]:
    """Paths of the data files of one of the `ADDABLE` kinds by the name of the file: those that ship, then the user's.

    Raises
    ------
    DataFileError
        If two files have one name: an entry of the user's never replaces one that ships.
    """
    return _data_files(kind, shipped, user_folders())


@cache
def _data_files(kind: str, shipped: str, folders: tuple[str, ...]) -> Mapping[str, str]:
    found = {id: os.path.join(shipped, f"{id}.toml") for id in _names(shipped)}
    for folder in folders:
        for id, path in _files_of(kind, folder).items():
            if id in found:
                raise DataFileError(f"{path}: {id!r} is the name of {found[id]} already; give the file another name.")
            found[id] = path
    return dict(sorted(found.items()))


def _files_of(kind: str, folder: str) -> dict[str, str]:
    inner = os.path.join(folder, kind)
    found = {id: os.path.join(inner, f"{id}.toml") for id in _names(inner)}
    if kind == "chips":
        found |= {id: os.path.join(folder, f"{id}.toml") for id in _names(folder)}
    return found


def _names(folder: str) -> list[str]:
    if not os.path.isdir(folder):
        return []
    return sorted(name.removesuffix(".toml") for name in os.listdir(folder) if name.endswith(".toml"))


@dataclass(frozen=True, kw_only=True)
class TomlFile:
    """A TOML file that was read: its tables, and where in the file each key stands."""

    name: str
    data: Mapping[str, Any]
    lines: Mapping[KeyPath, int]

    def line_of(self, key: Sequence[str | int]) -> int | None:
        """The line of `key`, or of the nearest table around it that has one; elements of arrays of tables by number.

        Examples
        --------
        >>> parse_toml("[memory]\\nbandwidth = 3", name="x.toml").line_of(("memory", "bandwidth"))
        2
        """
        path = tuple(key)
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)

    def problem(self, key: Sequence[str | int], text: str) -> str:
        """One line for a `DataFileError`: `file.toml:12: memory.bandwidth: <text>`."""
        line = self.line_of(key)
        place = self.name if line is None else f"{self.name}:{line}"
        return f"{place}: {dotted(key)}: {text}" if key else f"{place}: {text}"


def dotted(key: Sequence[str | int]) -> str:
    """The key as a reader knows it: `layers[2].name`."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def read_toml(path: str | Path, *, name: str | None = None) -> TomlFile:
    """Read a TOML file.

    Refused, each with a `DataFileError`: files that are missing, unreadable, directories, over 10 MiB, not UTF-8 or
    not TOML; nesting deeper than 32; integers beyond 64 bits; `nan` and `inf`. `name` is how the file is called in
    messages (default: the path as given).
    """
    shown = str(path) if name is None else name
    return parse_toml(read_text(path, name=shown), name=shown)


def read_text(
    path: str | Path, *, name: str, too_large: str = "data files are small texts",
    directory: str = "this is a directory; name a TOML file in it",
) -> str:  # fmt: skip
    """The UTF-8 text of a small file, without its byte-order mark; every way it can fail is one `DataFileError`.

    ``too_large`` and ``directory`` end the messages for those two; without a ``directory`` the system's words do.
    """
    try:
        with open(path, "rb") as stream:
            raw = stream.read(MAX_BYTE + 1)
    except FileNotFoundError:
        raise DataFileError(f"{name}: there is no such file.") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        if directory and isinstance(error, IsADirectoryError):
            raise DataFileError(f"{name}: {directory}.") from None
        reason = getattr(error, "strerror", None) or str(error)
        raise DataFileError(f"{name!a}: cannot be read: {reason}.") from None
    if len(raw) > MAX_BYTE:
        raise DataFileError(f"{name}: larger than {MAX_BYTE // 2**20} MiB; {too_large}.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataFileError(f"{name}:{line}: not UTF-8 text (byte 0x{raw[error.start]:02x}).") from None


def parse_toml(text: str, *, name: str) -> TomlFile:
    """As `read_toml`, for a text already in memory."""
    if match := _LONG_DOTTED_KEY.search(text):
        line = text.count("\n", 0, match.start()) + 1
        raise DataFileError(f"{name}:{line}: a dotted key with more than {MAX_DEPTH} parts.")
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DataFileError(_syntax_problem(str(error), text, name)) from None
    except RecursionError:
        raise DataFileError(f"{name}: nested too deeply; at most {MAX_DEPTH} levels.") from None
    except ValueError:  # Python refuses to read integers of more than 4300 digits
        raise DataFileError(f"{name}: holds an integer beyond 64 bits.") from None
    file = TomlFile(name=name, data=data, lines=_locate(text))
    problems = _value_problems(file)
    if problems:
        raise DataFileError(*problems)
    return file


def _syntax_problem(message: str, text: str, name: str) -> str:
    if match := _AT_LINE.search(message):
        return f"{name}:{match[1]}: not TOML: {message[: match.start()]} (column {match[2]})."
    reason = _AT_END.sub("", message)
    return f"{name}:{text.count(chr(10)) + 1}: not TOML: {reason} (at the end of the file)."


def _value_problems(file: TomlFile) -> list[str]:
    """What TOML allows and we do not. Walks with a stack of its own: the depth is the file's, not ours."""
    problems: list[str] = []
    stack: list[tuple[KeyPath, Any]] = [((), file.data)]
    while stack:
        path, value = stack.pop()
        if len(path) > MAX_DEPTH:
            problems.append(file.problem(path[:1], f"nested too deeply; at most {MAX_DEPTH} levels."))
            break
        if isinstance(value, dict):
            stack.extend(((*path, key), inner) for key, inner in reversed(value.items()))
        elif isinstance(value, list):
            stack.extend(((*path, i), inner) for i, inner in reversed(list(enumerate(value))))
        elif isinstance(value, float) and not math.isfinite(value):
            problems.append(file.problem(path, f"{value} is not a finite number."))
        elif isinstance(value, int) and abs(value) > _MAX_INTEGER:
            problems.append(file.problem(path, "an integer beyond 64 bits."))
    return problems


# --- where keys stand -------------------------------------------------------------------------------------------

# What ends or hides structure on a line: strings (triple quotes first), comments, brackets.
_TOKEN: Final = re.compile(
    r"""\"\"\"|'''|"(?:\\.|[^"\\\n])*"|'[^'\n]*'|\#[^\n]*|[\[\]{}]""",
)
_KEY_PART: Final = re.compile(r"""\s*(?:"((?:\\.|[^"\\])*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*(\.?)""")


def _locate(text: str) -> dict[KeyPath, int]:
    """The line of every table header and of every key that starts a line, of a text known to be TOML."""
    lines: dict[KeyPath, int] = {}
    elements: dict[KeyPath, int] = {}  # arrays of tables -> index of the newest element
    table: KeyPath = ()
    closing, depth = "", 0  # inside a multi-line string that ends so; inside so many brackets
    for number, line in enumerate(text.split("\n"), start=1):
        if not closing and depth == 0:
            header = re.match(r"\s*(\[\[?)", line)
            if header:
                keys, _ = _key_at(line, header.end())
                table = _resolve(keys, elements, new_element=header[1] == "[[")
                _note(lines, table, number)
                continue
            keys, end = _key_at(line, 0)
            if not keys or line[end : end + 1] != "=":
                continue
            _note(lines, table + keys, number)
            line = line[end + 1 :]
        closing, depth = _after(line, closing, depth)
    return lines


def _key_at(line: str, start: int) -> tuple[tuple[str, ...], int]:
    """The dotted key that begins at `start`, and where it ends."""
    keys: list[str] = []
    while match := _KEY_PART.match(line, start):
        escaped, literal, bare = match.groups()[:3]
        if escaped is not None and "\\" in escaped:
            escaped = next(iter(tomllib.loads(f'"{escaped}" = 0')))
        keys.append(next(part for part in (escaped, literal, bare) if part is not None))
        start = match.end()
        if not match[4]:
            break
    return tuple(keys), start


def _resolve(keys: tuple[str, ...], elements: dict[KeyPath, int], *, new_element: bool) -> KeyPath:
    """A header's key with the number of the element it belongs to after every array of tables."""
    path: KeyPath = ()
    for i, key in enumerate(keys):
        path = (*path, key)
        if new_element and i == len(keys) - 1:
            elements[path] = elements.get(path, -1) + 1
        if path in elements:
            path = (*path, elements[path])
    return path


def _note(lines: dict[KeyPath, int], path: KeyPath, number: int) -> None:
    for length in range(1, min(len(path), MAX_DEPTH) + 1):
        lines.setdefault(path[:length], number)


def _after(line: str, closing: str, depth: int) -> tuple[str, int]:
    """The state after a line: the multi-line string it leaves open ("" for none) and the open brackets."""
    position = 0
    while True:
        if closing:
            pattern = r'(?:\\.|[^\\])*?"""' if closing == '"""' else r".*?'''"
            match = re.compile(pattern).match(line, position)
            if match is None:
                return closing, depth
            position = match.end()
            while line[position : position + 1] == closing[0]:  # up to two more quotes belong to the string
                position += 1
            closing = ""
        token = _TOKEN.search(line, position)
        if token is None:
            return "", depth
        position = token.end()
        if token[0] in ('"""', "'''"):
            closing = token[0]
        elif token[0][0] == "#":
            return "", depth
        elif token[0] in "[{":
            depth += 1
        elif token[0] in "]}":
            depth -= 1


# --- words that were nearly right -------------------------------------------------------------------------------

_LONGEST_WORD: Final = 100


def _likeness(word: str, known: str) -> float:
    """1 for the same word; a word that only lacks the tail ("v100" of "v100-sxm2-16gb") is nearly the same."""
    word, known = word.lower(), known.lower()
    whole = SequenceMatcher(None, word, known).ratio()
    head = 0.95 * SequenceMatcher(None, word, known[: len(word)]).ratio()
    return max(whole, head)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`" Did you mean 'x'?"` for the known word nearest to `word`, "" if none is near.

    Examples
    --------
    >>> did_you_mean("bandwith", ["bandwidth", "capacity"])
    " Did you mean 'bandwidth'?"
    """
    if not word:
        return ""
    word = word[:_LONGEST_WORD]
    score, best = max(((_likeness(word, name), name) for name in known), default=(0.0, ""), key=lambda pair: pair[0])
    return f" Did you mean {best!r}?" if score >= 0.6 else ""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """`no chip 'v1000' in the catalogue. Did you mean 'v100-sxm2-16gb'? Known: ...`."""
    names = sorted(known)
    shown = name if len(name) <= _LONGEST_WORD else name[:_LONGEST_WORD] + "..."
    listed = ", ".join(names[:40]) + (f", ... ({len(names)} in all)" if len(names) > 40 else "")
    return f"no {kind} {shown!r} in the catalogue.{did_you_mean(name, names)} Known: {listed or 'none'}."
