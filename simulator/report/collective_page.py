"""The curve of one collective as one page to mail: the same bytes for the same curve."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Final

from ..collective_curve import CollectiveCurve
from .collective_text import LEFT, cells, conditions, footer, header, line_title, title
from .figures import Figure, collective_curve
from .page import CLOSING, figure_place, heading, listing, page, table

_CAPTION: Final = (
    "Left: time of one collective by the size of the full tensor, with its 80 % interval. Right: bus bandwidth, which "
    "for large messages can be compared with the rate of a chip's wires whatever the number of ranks."
)


def collective_html(curve: CollectiveCurve) -> str:
    """The whole page."""
    drawn = {"curve": collective_curve(curve)}
    return page(title(curve), "\n".join(_sections(curve, drawn)), drawn)


def _sections(curve: CollectiveCurve, drawn: dict[str, Figure]) -> Iterator[str]:
    yield f'<header><p class="kind">Trainyard collective</p>\n<h1>{escape(title(curve))}</h1></header>'
    if conditions(curve):
        yield f"<p>{escape(conditions(curve))}</p>"
    yield figure_place("curve", drawn, _CAPTION)
    for line in curve.lines:
        yield heading(line_title(curve, line))
        yield table(header(curve), cells(curve, line), left=LEFT)
    yield heading("What the columns mean and what this rests on")
    yield listing(footer(curve))
    yield CLOSING
