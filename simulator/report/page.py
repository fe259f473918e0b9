"""The shell of a page to mail: self-contained, asks nothing of the network, the same bytes for the same content.

The content security policy allows the page its own inline script and style and nothing else; everything that comes
from a name, a note or a source is escaped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

from .figures import Figure

POLICY: Final = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"

#: No logo, no upload to anybody's cloud, pictures saved as SVG (a PNG would need a blob, which the policy forbids).
CONFIG: Final = {
    "displaylogo": False,
    "showSendToCloud": False,
    "plotlyServerURL": "",
    "responsive": True,
    "modeBarButtonsToRemove": ["sendChartToCloud", "lasso2d", "select2d"],
    "toImageButtonOptions": {"format": "svg"},
}

STYLE: Final = """
:root { color-scheme: light; }
body { margin: 0; background: #fdfcfa; color: #1f2933; font: 16px/1.55 Georgia, 'Times New Roman', serif; }
main { max-width: 60rem; margin: 0 auto; padding: 3rem 1.5rem 5rem; }
header p.kind { margin: 0; color: #616e7c; font-variant: small-caps; letter-spacing: .06em; }
h1 { font-size: 1.6rem; line-height: 1.35; font-weight: normal; margin: .3rem 0 1.6rem; text-wrap: balance; }
h2 { font-size: 1.15rem; margin: 3rem 0 .4rem; padding-top: .8rem; border-top: 1px solid #e4e7eb; }
p { margin: .4rem 0; max-width: 44rem; }
p.note, figcaption, footer { color: #616e7c; font-size: .9rem; }
p.warning { border-left: 3px solid #b44d12; padding-left: .8rem; }
figure { margin: 1rem 0 .6rem; }
figcaption { margin-top: .5rem; }
.plot { width: 100%; min-height: 240px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; margin: .6rem 0; }
th { text-align: right; font-weight: normal; color: #616e7c; border-bottom: 1px solid #9aa5b1; }
th { padding: 0 .9rem .2rem 0; }
td { text-align: right; padding: .22rem .9rem .22rem 0; border-bottom: 1px solid #eceff2; vertical-align: top;
 white-space: nowrap; }
th.left, td.left { text-align: left; white-space: normal; }
tr.total td { border-top: 1px solid #9aa5b1; border-bottom: 0; font-weight: bold; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.4rem; margin: .6rem 0; }
dt { color: #616e7c; } dd { margin: 0; }
ul { padding-left: 1.2rem; max-width: 48rem; }
@media print { .modebar { display: none; } h2, figure, tr { break-inside: avoid; } body { background: #fff; } }
""".strip()

#: The last line of every page.
CLOSING: Final = (
    "<footer><p>Made by Trainyard. The page holds all it shows and asks nothing of the network.</p></footer>"
)


def page(title: str, body: str, drawn: Mapping[str, Figure]) -> str:
    """The whole page: a title, a body that has a place for every figure, and the figures by the id of their place."""
    from plotly.offline import get_plotlyjs  # 5 MB of text: only when a page is made

    calls = "\n".join(
        f"Plotly.newPlot({script(name)}, {script(figure['data'])}, {script(figure['layout'])}, {script(CONFIG)});"
        for name, figure in drawn.items()
    )
    scripts = f"<script>{get_plotlyjs()}</script>\n<script>\n{calls}\n</script>\n" if drawn else ""
    return (
        "<!doctype html>\n"
        '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n"
        f"{scripts}</body>\n</html>\n"
    )


def heading(text: str) -> str:
    """A heading inside the page."""
    return f"<h2>{escape(text)}</h2>"


def figure_place(name: str, drawn: Mapping[str, Figure], caption: str) -> str:
    """The place of a figure with its caption; "" where it is not drawn."""
    if name not in drawn:
        return ""
    height = drawn[name]["layout"]["height"]
    return (
        f'<figure><div id="{name}" class="plot" style="height:{height}px"></div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def pairs(rows: Iterable[tuple[str, str]]) -> str:
    """Names and what they are, those without a text left out."""
    return "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in rows if text) + "</dl>"


def listing(texts: Iterable[str]) -> str:
    """A list of texts."""
    return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[int], total: bool = False) -> str:
    """A table; columns in `left` are set left, the others right; with `total` the last row is one."""

    def cells(row: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=left' if i in left else ''}>{escape(cell)}</{tag}>" for i, cell in enumerate(row)
        )

    head = f"<thead><tr>{cells(header, 'th')}</tr></thead>"
    body = "".join(
        f"<tr{' class=total' if total and i == len(rows) - 1 else ''}>{cells(row, 'td')}</tr>"
        for i, row in enumerate(rows)
    )
    return f'<div class="scroll"><table>{head}<tbody>{body}</tbody></table></div>'


def script(value: Any) -> str:
    """JSON that cannot end the script it stands in."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
