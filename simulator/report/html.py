"""A plan report as one page to mail: self-contained, asks nothing of the network, the same bytes for the same report.

The content security policy allows the page its own inline script and style and nothing else; everything that comes
from a name, a note or a source is escaped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Any, Final

from ..plan_report import PlanReport
from .figures import Figure, figures
from .quantities import capacity, digits, many, percent, seconds
from .text import (
    answer,
    breakdown_rows,
    in_common,
    known_error_text,
    memory_headroom,
    memory_rows,
    outcome_rows,
    peak_text,
    sentence,
)

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

_CAPTIONS: Final = {
    "breakdown": "Parts of one step, as the stage that sets the pace sees them. Strategies are numbered as above.",
    "memory": "Memory of the fullest chip by purpose, against what the chip has.",
    "scaling": "The best strategy at every number of chips, the same global batch throughout. Left: speed-up and the "
    "linear line. Right: what is kept of it.",
    "roofline": "Layers of one micro-batch, forward and backward: work per byte moved, and the rate that is reached.",
}


def plan_html(report: PlanReport) -> str:
    """The whole page."""
    from plotly.offline import get_plotlyjs  # 5 MB of text: only when a page is made

    drawn = figures(report)
    body = "\n".join(_sections(report, drawn))
    calls = "\n".join(
        f"Plotly.newPlot({_script(name)}, {_script(figure['data'])}, {_script(figure['layout'])}, {_script(CONFIG)});"
        for name, figure in drawn.items()
    )
    scripts = f"<script>{get_plotlyjs()}</script>\n<script>\n{calls}\n</script>\n" if drawn else ""
    title = escape(f"{report.model} on {report.chips:,} chips of {report.system}")
    return (
        "<!doctype html>\n"
        '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n"
        f"{scripts}</body>\n</html>\n"
    )


def _sections(report: PlanReport, drawn: dict[str, Figure]) -> Iterator[str]:
    yield f'<header><p class="kind">Trainyard plan</p>\n<h1>{escape(answer(report))}</h1></header>'
    yield from (f'<p class="warning">{escape(sentence(warning))}.</p>' for warning in report.warnings)
    if report.ranked:
        yield from _answered(report, drawn)
    if report.rejected:
        yield _heading("What was rejected")
        rows = [
            [
                f"{group.count:,}",
                group.limit,
                "; ".join(filter(None, (group.example.words() if group.example else "", group.by))),
            ]
            for group in report.rejected
        ]
        yield _table(["count", "first limit broken", "nearest, and by how much"], rows, left=(1, 2))
    yield from _basis(report)


def _answered(report: PlanReport, drawn: dict[str, Figure]) -> Iterator[str]:
    best = report.ranked[0]
    yield _pairs(
        [("best strategy", best.parallelism.words()), *(outcome_rows(report, best.outcome) if best.outcome else [])]
    )
    yield _heading("Strategies")
    yield f"<p class='note'>The best {len(report.ranked)} of {report.fitting:,} that fit, of {report.searched:,}.</p>"
    words, common = in_common([plan.parallelism.words() for plan in report.ranked])
    rows = [
        [
            str(place), seconds(plan.step.total_s), _interval(plan.low_s, plan.high_s), digits(plan.samples_per_s, 4),
            percent(plan.mfu), percent(plan.hfu), capacity(plan.memory.total_byte), own,
        ]
        for place, (plan, own) in enumerate(zip(report.ranked, words, strict=True), start=1)
    ]  # fmt: skip
    yield _table(["", "step", "80 % interval", "samples/s", "MFU", "HFU", "memory", "strategy"], rows, left=(7,))
    yield f"<p class='note'>All of them: {escape(common)}.</p>" if common else ""
    yield _heading("Where a step's time goes")
    yield _figure("breakdown", drawn)
    yield _table(["part", "time", "share"], [list(row) for row in breakdown_rows(best)], left=(0,), total=True)
    yield f"<p>{escape(sentence(report.binds))}.</p>" if report.binds else ""
    if report.gains:
        rows = [
            [
                f"2x {g.resource}",
                seconds(g.step_s),
                f"{g.speedup:.2f}x",
                g.parallelism.words() if g.parallelism else g.note,
            ]
            for g in report.gains
        ]
        yield "<p>What twice as much of one thing would do:</p>"
        yield _table(["with", "step", "faster", "best strategy then"], rows, left=(0, 3))
    yield _heading("Memory")
    yield _figure("memory", drawn)
    rows = [list(row) for row in memory_rows(best)]
    rows[-1][0] = f"total ({memory_headroom(best)})"
    yield _table(["purpose", "memory", "of capacity"], rows, left=(0,), total=True)
    if "scaling" in drawn:
        yield _heading("Scaling")
        yield _figure("scaling", drawn)
        rows = [
            [f"{p['chips']:,.0f}", seconds(p["step_s"]), f"{p['speedup']:.2f}x", percent(p["efficiency"])]
            for p in report.scaling
        ]
        yield _table(["chips", "step", "speed-up", "efficiency"], rows, left=())
    yield _heading("Utilisation")
    if "roofline" in drawn:
        yield _figure("roofline", drawn)
    yield _pairs(
        [
            (
                "MFU",
                f"{percent(best.mfu)} of {peak_text(report)}",
            ),
            ("MFU, full attention", percent(best.mfu_full_attention)),
            ("HFU", f"{percent(best.hfu)}, recomputation counted"),
            ("convention", report.mfu_convention),
        ]
    )


def _basis(report: PlanReport) -> Iterator[str]:
    yield _heading("What this rests on")
    yield _pairs(
        [
            ("model", f"{report.model}, {many(report.parameters)} parameters"),
            ("system", f"{report.system}, {report.chips:,} x {report.chip}"),
            ("software stack", f"{report.stack} ({report.stack_name})"),
            ("numbers", f"{report.recipe}; optimizer {report.optimizer}"),
            ("constants", report.calibration),
            ("known error", known_error_text(report.known_error)),
        ]
    )
    for heading, texts in (("Defaults used", report.defaults), ("Assumed", report.assumptions)):
        if texts:
            yield _heading(heading)
            yield _list(texts)
    if report.sources:
        yield _heading("Sources")
        rows = [
            [line.quantity, line.printed, ", ".join(filter(None, (line.source, line.locator))), line.kind]
            for line in report.sources
        ]
        yield _table(["quantity", "as printed", "where", "kind"], rows, left=(0, 1, 2, 3))
    yield "<footer><p>Made by Trainyard. The page holds all it shows and asks nothing of the network.</p></footer>"


def _heading(text: str) -> str:
    return f"<h2>{escape(text)}</h2>"


def _figure(name: str, drawn: dict[str, Figure]) -> str:
    if name not in drawn:
        return ""
    height = drawn[name]["layout"]["height"]
    return (
        f'<figure><div id="{name}" class="plot" style="height:{height}px"></div>'
        f"<figcaption>{escape(_CAPTIONS[name])}</figcaption></figure>"
    )


def _interval(low_s: float | None, high_s: float | None) -> str:
    return "" if low_s is None or high_s is None else f"{seconds(low_s)} to {seconds(high_s)}"


def _pairs(rows: Iterable[tuple[str, str]]) -> str:
    return "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in rows if text) + "</dl>"


def _list(texts: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[int], total: bool = False) -> str:
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


def _script(value: Any) -> str:
    """JSON that cannot end the script it stands in."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
