"""Tables in plain text."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Sequence

#: Holds a number and its sign together when lines are folded; `fold` and `table` put a plain space in its place.
_GLUE = "\xa0"


def fold(text: str, width: int, *, first: str = "", rest: str | None = None) -> list[str]:
    """Lines of at most `width`, `first` before the first and `rest` (default: the same) before the others.

    Words with hyphens stay whole, and so do percentages.
    """
    lines = textwrap.wrap(
        text.replace(" %", f"{_GLUE}%"),
        width,
        initial_indent=first,
        subsequent_indent=first if rest is None else rest,
        break_on_hyphens=False,
    )
    return [line.replace(_GLUE, " ") for line in lines]


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, left: Collection[int], width: int, indent: str = "  "
) -> list[str]:
    """Lines of a table; columns in `left` are set left, the others right; the last column is folded to `width`.

    Headings stand over their column; a column that is empty throughout keeps only its heading.
    """
    columns = len(header)
    sizes = [max([len(header[i]), *(len(row[i]) for row in rows)]) for i in range(columns - 1)]
    used = len(indent) + sum(sizes) + 2 * (columns - 1)
    room = max(width - used, 20)
    lines: list[str] = []
    for row in (header, *rows):
        cells = [row[i].ljust(sizes[i]) if i in left else row[i].rjust(sizes[i]) for i in range(columns - 1)]
        start = indent + "".join(f"{cell}  " for cell in cells)
        folded = fold(row[-1], room) or [""]
        if columns - 1 not in left:
            longest = max([len(header[-1]), *(len(r[-1]) for r in rows)])
            folded = [part.rjust(min(longest, room)) for part in folded]
        lines.append((start + folded[0]).rstrip())
        lines += [(" " * used + part).rstrip() for part in folded[1:]]
    return lines
