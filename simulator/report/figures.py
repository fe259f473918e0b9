"""The figures of a report, as plain plotly figures: mappings of `data` and `layout`, ready for JSON or `go.Figure`.

No WebGL, no template, no random ids: the same report gives the same figures.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ..collective_curve import CollectiveCurve
from ..plan_report import PlanReport
from ..stepspec import PARTS
from .collective_text import size_word
from .text import PART_WORDS

Figure = dict[str, Any]

INK: Final = "#1f2933"
FAINT: Final = "#e4e7eb"
GREY: Final = "#7b8794"
ACCENT: Final = "#b44d12"
#: Distinct in hue and in lightness, so that they survive print and colour-blind eyes.
PART_COLOURS: Final = {
    "compute": "#1f4e79", "tensor": "#2e8b8b", "pipeline": "#7fb3b0", "bubble": "#d9d4c7", "data": "#c8791f",
    "optimizer": "#8a5a83", "fixed": "#9aa5b1",
}  # fmt: skip
#: One for every purpose of memory.
PURPOSE_COLOURS: Final = (
    "#1f4e79", "#4f81ad", "#8a5a83", "#2e8b8b", "#7fb3b0", "#c8791f", "#d9b26f", "#6b7a3a", "#b5533c", "#3d3d5c",
    "#9aa5b1",
)  # fmt: skip
MEMORY_COLOURS: Final = ("#1f4e79", "#4f81ad", "#8a5a83", "#2e8b8b", "#7fb3b0", "#9aa5b1")
BOUND_COLOURS: Final = {"compute": "#1f4e79", "memory": "#c8791f"}
_SYMBOLS: Final = ("circle", "square", "diamond", "triangle-up", "cross", "x")


def figures(report: PlanReport) -> dict[str, Figure]:
    """Every figure that the report has values for, by the id it carries in the page."""
    drawn = {}
    if report.ranked:
        drawn["breakdown"] = breakdown(report)
        drawn["memory"] = memory(report)
    if report.scaling:
        drawn["scaling"] = scaling(report.scaling)
    if report.roofline:
        drawn["roofline"] = roofline(report.roofline, report.peak_word)
    return drawn


def _layout(**changes: Any) -> dict[str, Any]:
    base = {
        "font": {"family": "Georgia, 'Times New Roman', serif", "size": 13, "color": INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 70, "r": 20, "t": 20, "b": 60},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
        "hoverlabel": {"font": {"family": "Georgia, serif", "size": 13}},
        "height": 400,
    }
    return {**base, **changes}


def _axis(title: str, **changes: Any) -> dict[str, Any]:
    base = {
        "title": {"text": title, "standoff": 10, "font": {"size": 13}},
        "gridcolor": FAINT, "linecolor": GREY, "zeroline": False, "ticks": "outside",
        "tickcolor": GREY, "automargin": True,
    }  # fmt: skip
    return {**base, **changes}


def _places(report: PlanReport) -> list[str]:
    return [f"{place}" for place in range(1, len(report.ranked) + 1)]


def _strategies(report: PlanReport) -> list[str]:
    return [plan.parallelism.words() for plan in report.ranked]


def breakdown(report: PlanReport) -> Figure:
    """Where a step's time goes: one stacked bar per ranked strategy [s]."""
    places, words = _places(report), _strategies(report)
    data = [
        {
            "type": "bar", "orientation": "h", "name": PART_WORDS[part], "y": places, "customdata": words,
            "x": [plan.step.part_s(part) for plan in report.ranked], "marker": {"color": PART_COLOURS[part]},
            "hovertemplate": f"%{{customdata}}<br>{PART_WORDS[part]}: %{{x:.4g}} s<extra></extra>",
        }
        for part in PARTS
        if any(plan.step.part_s(part) > 0 for plan in report.ranked)
    ]  # fmt: skip
    return {
        "data": data,
        "layout": _layout(
            barmode="stack",
            bargap=0.35,
            height=170 + 42 * len(places),
            xaxis=_axis("time of one step [s]", rangemode="tozero"),
            yaxis=_axis("strategy", autorange="reversed", type="category", ticks=""),
        ),
    }


def memory(report: PlanReport) -> Figure:
    """Memory of the fullest chip by purpose, one stacked bar per ranked strategy, against the capacity [GiB]."""
    places, words = _places(report), _strategies(report)
    purposes = list(report.ranked[0].memory.by_purpose())
    data = [
        {
            "type": "bar", "orientation": "h", "name": purpose, "y": places, "customdata": words,
            "x": [plan.memory.by_purpose()[purpose] / 2**30 for plan in report.ranked],
            "marker": {"color": PURPOSE_COLOURS[i % len(PURPOSE_COLOURS)]},
            "hovertemplate": f"%{{customdata}}<br>{purpose}: %{{x:.4g}} GiB<extra></extra>",
        }
        for i, purpose in enumerate(purposes)
    ]  # fmt: skip
    capacity = report.ranked[0].memory.capacity_byte / 2**30
    return {
        "data": data,
        "layout": _layout(
            barmode="stack",
            bargap=0.35,
            height=170 + 42 * len(places),
            xaxis=_axis(
                "memory [GiB]", range=[0, 1.04 * max(capacity, *(p.memory.total_byte / 2**30 for p in report.ranked))]
            ),
            yaxis=_axis("strategy", autorange="reversed", type="category", ticks=""),
            shapes=[
                {
                    "type": "line",
                    "xref": "x",
                    "yref": "paper",
                    "x0": capacity,
                    "x1": capacity,
                    "y0": 0,
                    "y1": 1,
                    "line": {"color": ACCENT, "width": 2, "dash": "dash"},
                }
            ],
            annotations=[
                {
                    "x": capacity,
                    "y": 0,
                    "xref": "x",
                    "yref": "paper",
                    "yanchor": "bottom",
                    "xanchor": "right",
                    "text": f"capacity {capacity:.4g} GiB ",
                    "showarrow": False,
                    "font": {"color": ACCENT},
                }
            ],
        ),
    }


def scaling(points: Sequence[Mapping[str, float]]) -> Figure:
    """Speed-up with the linear line, and efficiency beside it; both on linear axes."""
    chips = [point["chips"] for point in points]
    base = chips[0]
    line = {"color": PART_COLOURS["compute"], "width": 2}
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "lines",
                "name": "linear",
                "x": [base, chips[-1]],
                "y": [1, chips[-1] / base],
                "line": {"color": GREY, "width": 1, "dash": "dot"},
                "hoverinfo": "skip",
            },
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": "predicted",
                "x": chips,
                "line": line,
                "y": [point["speedup"] for point in points],
                "customdata": [point["step_s"] for point in points],
                "hovertemplate": "%{x} chips: %{y:.3g} times<br>%{customdata:.4g} s a step<extra></extra>",
            },
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": "efficiency",
                "x": chips,
                "xaxis": "x2",
                "yaxis": "y2",
                "y": [100 * point["efficiency"] for point in points],
                "line": line,
                "showlegend": False,
                "hovertemplate": "%{x} chips: %{y:.3g} %<extra></extra>",
            },
        ],
        "layout": _layout(
            xaxis=_axis("chips", domain=[0, 0.44], rangemode="tozero"),
            yaxis=_axis(f"speed-up over {base:,.0f} chips", rangemode="tozero"),
            xaxis2=_axis("chips", domain=[0.56, 1], anchor="y2", rangemode="tozero"),
            yaxis2=_axis(
                "efficiency [%]", anchor="x2", range=[0, max(105.0, *(105 * p["efficiency"] for p in points))]
            ),
        ),
    }


def roofline(layers: Sequence[Mapping[str, Any]], peak_word: str) -> Figure:
    """Every layer's rate against its arithmetic intensity, under the roof of the chip; logarithmic axes."""
    counted = [layer for layer in layers if layer["flop"] and layer["time_s"] and layer["intensity_flop_per_byte"]]
    peak, bandwidth = float(layers[0]["peak_flop_per_s"]), float(layers[0]["memory_byte_per_s"])
    ridge = peak / bandwidth
    intensities = [ridge, *(float(layer["intensity_flop_per_byte"]) for layer in counted)]
    low, high = min(intensities) / 3, max(intensities) * 3
    data: list[dict[str, Any]] = [
        {
            "type": "scatter", "mode": "lines", "name": f"roof ({peak_word})", "x": [low, ridge, high],
            "y": [low * bandwidth / 1e12, peak / 1e12, peak / 1e12], "line": {"color": INK, "width": 2},
            "hoverinfo": "skip",
        }
    ]  # fmt: skip
    mode = "markers+text" if len(counted) <= 6 else "markers"  # more names would cover each other
    bounds = list(dict.fromkeys(str(layer["bound"]) for layer in counted))
    for i, bound in enumerate(bounds):
        mine = [layer for layer in counted if layer["bound"] == bound]
        data.append(
            {
                "type": "scatter", "mode": mode, "name": f"bound by {bound}",
                "x": [layer["intensity_flop_per_byte"] for layer in mine],
                "y": [layer["flop"] / layer["time_s"] / 1e12 for layer in mine],
                "text": [html.escape(str(layer["layer"])) for layer in mine], "textposition": "bottom center",
                "customdata": [[html.escape(str(layer["layer"])), 100 * layer["share_of_peak"]] for layer in mine],
                "marker": {"size": 10, "symbol": _SYMBOLS[i % len(_SYMBOLS)], "color": BOUND_COLOURS.get(bound, GREY)},
                "hovertemplate": "%{customdata[0]}<br>%{x:.3g} FLOP/B, %{y:.3g} TFLOP/s, "
                "%{customdata[1]:.3g} % of peak<extra></extra>",
            }
        )  # fmt: skip
    return {
        "data": data,
        "layout": _layout(
            xaxis=_axis("arithmetic intensity [FLOP/B]", type="log", dtick="D2"),
            yaxis=_axis("rate [TFLOP/s]", type="log", dtick="D2"),
        ),
    }


def collective_curve(curve: CollectiveCurve) -> Figure:
    """Time with its 80 % interval, and bus bandwidth, over the size of the tensor; logarithmic axes, a line for each
    number of ranks."""
    data: list[dict[str, Any]] = []
    for i, line in enumerate(curve.lines):
        colour, name = MEMORY_COLOURS[i % len(MEMORY_COLOURS)], f"{line.ranks:,} ranks"
        size = [p.message_byte for p in line.points]
        look = {
            "type": "scatter", "mode": "lines+markers", "name": name, "legendgroup": name, "x": size,
            "text": [size_word(s) for s in size],
            "line": {"color": colour, "width": 2},
            "marker": {"color": colour, "size": 7, "symbol": _SYMBOLS[i // len(MEMORY_COLOURS) % len(_SYMBOLS)]},
            "customdata": [[p.choice, p.limit, 100 * p.wire_share] for p in line.points],
        }  # fmt: skip
        told = "%{customdata[0]}<br>limited by %{customdata[1]}, %{customdata[2]:.3g} % of the wire<extra></extra>"
        known = [p for p in line.points if p.low_s is not None and p.high_s is not None]
        if known:
            around = [*known, *reversed(known)]
            data.append(
                {
                    "type": "scatter", "mode": "lines", "name": f"{name}, 80 %", "legendgroup": name,
                    "showlegend": False, "hoverinfo": "skip", "fill": "toself", "opacity": 0.2, "fillcolor": colour,
                    "line": {"width": 0, "color": colour}, "x": [p.message_byte for p in around],
                    "y": [p.high_s for p in known] + [p.low_s for p in reversed(known)],
                }
            )  # fmt: skip
        data.append(
            {
                **look,
                "y": [p.seconds for p in line.points],
                "hovertemplate": f"{name}, %{{text}}: %{{y:.4g}} s<br>{told}",
            }
        )
        data.append(
            {
                **look,
                "xaxis": "x2",
                "yaxis": "y2",
                "showlegend": False,
                "y": [p.bus_byte_per_s / 1e9 for p in line.points],
                "hovertemplate": f"{name}, %{{text}}: %{{y:.4g}} GB/s<br>{told}",
            }
        )
        if curve.question.flows:
            data.append(
                {
                    **look, "mode": "lines", "name": f"{name} as flows", "y": [p.flow_s for p in line.points],
                    "line": {"color": colour, "width": 1, "dash": "dot"},
                    "customdata": [html.escape(p.flow_algorithm) for p in line.points],
                    "hovertemplate": f"{name} as flows, %{{text}}: %{{y:.4g}} s<br>%{{customdata}}<extra></extra>",
                }
            )  # fmt: skip
    shown = curve.question.message_byte[:: math.ceil(len(curve.question.message_byte) / 5)]
    sizes = {"type": "log", "tickvals": list(shown), "ticktext": [size_word(size) for size in shown]}
    return {
        "data": data,
        "layout": _layout(
            height=460,
            xaxis=_axis("size", domain=[0, 0.44], **sizes),
            yaxis=_axis("time [s]", type="log", exponentformat="power"),
            xaxis2=_axis("size", domain=[0.56, 1], anchor="y2", **sizes),
            yaxis2=_axis("bus bandwidth [GB/s]", type="log", anchor="x2", exponentformat="power"),
        ),
    }
