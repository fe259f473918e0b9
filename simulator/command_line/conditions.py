"""Tests of shell text: ``[ a = b ]``, ``[[ -n a ]]``, ``[ 3 -gt 2 ]``, as far as their values are known."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_COMPARED: Final = ("-eq", "-ne", "-gt", "-lt", "-ge", "-le")


def tested(words: Sequence[str]) -> bool | None:
    """One test of ``[ ]``; None where it is another or a value is not known."""
    negated = bool(words) and words[0] == "!"
    words = words[1:] if negated else words
    found: bool | None = None
    if any("$" in word or "`" in word for word in words):
        # A variable that nobody set is empty to a test for emptiness.
        empty = len(words) == 2 and re.fullmatch(r"\$\{?\w+\}?", words[1]) is not None
        found = {"-z": True, "-n": False}.get(words[0]) if empty else None
    elif len(words) == 2 and words[0] in ("-z", "-n"):
        found = (not words[1]) == (words[0] == "-z")
    elif len(words) == 3 and words[1] in ("=", "==", "!="):
        found = (words[0] == words[2]) == (words[1] != "!=")
    elif len(words) == 3 and words[1] in _COMPARED and all(re.fullmatch(r"-?[0-9]{1,18}", w, re.A) for w in words[::2]):
        left, right = int(words[0]), int(words[2])
        found = {"-eq": left == right, "-ne": left != right, "-gt": left > right, "-lt": left < right,
                 "-ge": left >= right, "-le": left <= right}[words[1]]  # fmt: skip
    return found if found is None else found != negated
