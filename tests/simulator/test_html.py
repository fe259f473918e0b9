"""The page stands alone: it draws its figures from file://, asks nothing of the network, runs nobody else's script."""

import json
import os
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from simulator.report.figures import figures
from simulator.report.html import plan_html

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ATTACKS = (
    "</script><script>document.title='run'</script>",
    "<img src=x onerror=\"document.title='run'\">",
    "<svg onload=\"document.title='run'\">",
    "\" onmouseover=\"document.title='run'",
    "<a href=\"javascript:document.title='run'\">x</a>",
)


def without_plotly(page):
    """The page less the drawing library's own text."""
    from plotly.offline import get_plotlyjs

    assert page.count(get_plotlyjs()) == 1
    return page.replace(get_plotlyjs(), "")


@pytest.fixture
def attacked(hand_made_report):
    """A report with an attack in every place that a name can reach."""
    evil = " ".join(ATTACKS)
    layers = tuple({**layer, "layer": evil} for layer in hand_made_report.roofline)
    return replace(
        hand_made_report,
        model=evil, system=evil, chip=evil, stack_name=evil, binds=evil, assumptions=(evil,), warnings=(evil,),
        mfu_convention=evil, peak_word=evil, roofline=layers, calibration=evil,
        sources=tuple(replace(line, quantity=evil, source=evil) for line in hand_made_report.sources),
    )  # fmt: skip


def test_the_same_report_gives_the_same_page(hand_made_report):
    assert plan_html(hand_made_report) == plan_html(replace(hand_made_report))


def test_the_page_is_smaller_than_six_megabytes(hand_made_report):
    assert len(plan_html(hand_made_report).encode()) < 6e6


def test_the_answer_stands_at_the_top(hand_made_report):
    page = without_plotly(plan_html(hand_made_report))
    heading = re.search(r"<h1>(.*?)</h1>", page)[1]
    assert "10.0 s a step" in heading
    assert page.index("<h1>") < page.index("<figure>") < page.index("Sources")


def test_the_page_may_load_nothing(hand_made_report):
    page = without_plotly(plan_html(hand_made_report))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", page)


def test_charts_cannot_be_sent_anywhere(hand_made_report):
    page = without_plotly(plan_html(hand_made_report))
    assert page.count('"showSendToCloud":false') == 4
    assert page.count('"plotlyServerURL":""') == 4
    assert '"displaylogo":false' in page


def test_no_figure_needs_webgl(hand_made_report):
    kinds = {trace["type"] for figure in figures(hand_made_report).values() for trace in figure["data"]}
    assert kinds == {"bar", "scatter"}


def test_scaling_is_drawn_on_linear_axes_with_the_linear_line(hand_made_report):
    figure = figures(hand_made_report)["scaling"]
    axes = [figure["layout"][name] for name in ("xaxis", "yaxis", "xaxis2", "yaxis2")]
    assert all(axis.get("type", "linear") == "linear" for axis in axes)
    linear, predicted, efficiency = figure["data"]
    assert (linear["x"], linear["y"]) == ([8.0, 64.0], [1, 8.0])
    assert predicted["y"] == [1.0, 7.0]
    assert efficiency["y"] == [100.0, 87.5]


def test_bars_hold_the_numbers_of_the_report(hand_made_report):
    drawn = figures(hand_made_report)
    best = hand_made_report.ranked[0]
    assert sum(trace["x"][0] for trace in drawn["breakdown"]["data"]) == pytest.approx(best.step.total_s)
    assert sum(trace["x"][0] for trace in drawn["memory"]["data"]) == pytest.approx(52.0)
    assert drawn["memory"]["layout"]["shapes"][0]["x0"] == pytest.approx(80.0)


def test_no_layer_of_the_roofline_is_drawn_above_the_roof(hand_made_report):
    roof, *points = figures(hand_made_report)["roofline"]["data"]
    low, ridge, _ = roof["x"]
    assert roof["y"][0] / low == pytest.approx(roof["y"][1] / ridge)
    for trace in points:
        assert all(y <= roof["y"][1] for y in trace["y"])


def test_plotly_accepts_every_figure(hand_made_report):
    from plotly.graph_objects import Figure

    drawn = figures(hand_made_report)
    assert list(drawn) == ["breakdown", "memory", "scaling", "roofline"]
    for figure in drawn.values():
        Figure(figure)


def test_a_page_where_nothing_fits_has_no_script_and_says_why(nothing_fits_report):
    page = plan_html(nothing_fits_report)
    assert "<script" not in page
    assert "needs 97.0 GiB of 80.0 GiB" in page


class Tags(HTMLParser):
    """Collects tags and attributes."""

    def __init__(self):
        super().__init__()
        self.tags = []
        self.attributes = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]


def test_attacks_in_names_make_no_tag_and_end_no_script(attacked, hand_made_report):
    seen, clean = Tags(), Tags()
    seen.feed(without_plotly(plan_html(attacked)))
    clean.feed(without_plotly(plan_html(hand_made_report)))
    assert seen.tags == clean.tags
    assert not [name for name in seen.attributes if name.startswith("on")]


def test_what_stands_in_the_script_is_json_with_nothing_that_ends_it(attacked):
    page = without_plotly(plan_html(attacked))
    calls = re.findall(r"Plotly\.newPlot\((.*)\);", page)
    assert len(calls) == 4
    for call in calls:
        assert "<" not in call
        assert len(json.loads(f"[{call}]")) == 4


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = os.environ.get("TRAINYARD_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no chromium on this machine")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def opened(browser, path: Path):
    """The page at `path`, the requests it made and the complaints it had."""
    page = browser.new_page(viewport={"width": 1100, "height": 900})
    requests, complaints = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(path.as_uri())
    page.wait_for_function("document.querySelectorAll('.plot .main-svg').length >= 4")
    return page, requests, complaints


def test_in_a_browser_the_page_draws_four_figures_and_asks_for_nothing(browser, hand_made_report, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(plan_html(hand_made_report), encoding="utf-8")
    page, requests, complaints = opened(browser, path)
    for name in ("breakdown", "memory", "scaling", "roofline"):
        assert page.locator(f"#{name} .main-svg").count() > 0
        assert page.locator(f"#{name} path").count() > 2
    assert requests == [path.as_uri()]
    assert complaints == []
    assert page.locator("[data-title*='loud']").count() == 0
    page.close()


def test_in_a_browser_no_attack_runs(browser, attacked, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(plan_html(attacked), encoding="utf-8")
    page, requests, _ = opened(browser, path)
    page.mouse.move(550, 450)
    assert page.title() != "run"
    assert requests == [path.as_uri()]
    page.close()
