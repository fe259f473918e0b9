"""The residuals of a calibration as a page to mail: predicted over measured, a figure for each fit."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from ..machine_fit.fitting import LawFit
from .figures import ACCENT, FAINT, GREY, INK, Figure
from .page import CLOSING, figure_place, heading, page, table

_CAPTION = "Each point is one measured call, predicted with constants fitted without its fold; on the line both agree."


def residual_html(name: str, fits: Mapping[str, LawFit]) -> str:
    """The page; the same fits give the same bytes."""
    drawn = {f"fit{i}": residuals(law) for i, law in enumerate(fits.values())}
    rows = [
        [fit, str(law.rows), _share(law.median), _share(law.mean), _share(law.yardstick_median), _share(law.spread)]
        for fit, law in fits.items()
    ]
    header = ["fit", "rows", "median error", "mean error", "roofline's median", "quartile spread"]
    body = [f"<header><p class='kind'>Calibration</p><h1>{escape(name)}: predicted against measured</h1></header>"]
    body.append(table(header, rows, left=[0]))
    for i, fit in enumerate(fits):
        body += [heading(fit), figure_place(f"fit{i}", drawn, _CAPTION)]
    return page(f"Calibration of {name}", "\n".join([*body, CLOSING]), drawn)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def residuals(law: LawFit) -> Figure:
    """Predicted over measured against measured seconds."""
    points = sorted(zip(law.ids, law.measured_s.tolist(), law.predicted_s.tolist(), strict=True))
    x = [float(f"{measured:.6g}") for _, measured, _ in points]
    y = [float(f"{predicted / measured:.6g}") for _, measured, predicted in points]
    axis: dict[str, Any] = {
        "type": "log",
        "gridcolor": FAINT,
        "linecolor": GREY,
        "ticks": "outside",
        "automargin": True,
    }
    return {
        "data": [
            {
                "type": "scatter", "mode": "markers", "x": x, "y": y, "text": [escape(id) for id, _, _ in points],
                "marker": {"color": ACCENT, "size": 6, "opacity": 0.7},
                "hovertemplate": "%{text}<br>%{y:.2f}<extra></extra>",
            },
            {
                "type": "scatter", "mode": "lines", "x": [min(x), max(x)], "y": [1.0, 1.0],
                "line": {"color": GREY, "width": 1}, "hoverinfo": "skip",
            },
        ],
        "layout": {
            "font": {"family": "Georgia, 'Times New Roman', serif", "size": 13, "color": INK},
            "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)", "showlegend": False, "height": 360,
            "margin": {"l": 70, "r": 20, "t": 20, "b": 60},
            "xaxis": {**axis, "title": {"text": "measured [s]"}},
            "yaxis": {**axis, "title": {"text": "predicted / measured"}},
        },
    }  # fmt: skip
