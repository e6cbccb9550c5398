"""A report in a real browser: it is shown, complains of nothing, asks for nothing, and fits a phone and a printer.

The second machine's run is a stand-in for one of a GPU: the first one's with another name and faster times.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prep_triton.bench.records import BenchReport, GpuFacts, Load
from prep_triton.bench.report.document import MOST_BYTES, render_report
from prep_triton.bench.report.runs import ReportedRun

from tests.fakes.browser import NAMES, Tab, find_browser, measure_ink, open_browser
from tests.fakes.reported import SLO, make_run, make_served

pytestmark = pytest.mark.integration

NAMED = ("minilm-onnx-fp32", "minilm-openvino-int8", "minilm-openvino-int8-text")
HOSTILE = "</title></svg><script>alert(1)</script><img src=http://127.0.0.1:9/x onerror=alert(2)>"
CLOSED = tuple(Load(kind="closed", value=value) for value in (1, 2, 4, 8))
LOADS = (*CLOSED, Load(kind="open", value=100, arrivals="poisson"))

# The parts of a plot that its drawing would cut off, and words too small to read.
OUTSIDE = """
[...document.querySelectorAll('svg[role=img]')].flatMap(svg => {
  const own = svg.getBoundingClientRect();
  return [...svg.querySelectorAll('text')].filter(text => {
    const box = text.getBoundingClientRect();
    return box.right > Math.max(own.right, 0) + 14 || box.left < own.left - 1 || box.height < 8;
  }).map(text => text.textContent);
})
"""
# Words of one plot that lie upon each other.
COLLIDING = """
[...document.querySelectorAll('svg[role=img]')].flatMap(svg => {
  const boxes = [...svg.querySelectorAll('text')].map(text => [text.textContent, text.getBoundingClientRect()]);
  return boxes.flatMap(([name, a], index) => boxes.slice(index + 1).filter(([_, b]) =>
    a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3 && b.top < a.bottom - 3
  ).map(([other]) => name + ' / ' + other));
})
"""


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    browser = find_browser()
    if browser is None:
        pytest.skip(f"there is no browser on PATH ({', '.join(NAMES)}); apt-get install chromium")
    with open_browser(browser) as opened:
        yield opened


def make_gpu_run() -> BenchReport:
    report = make_run(*NAMED[:2], loads=LOADS, cpu="EPYC", cores=4, gpus=(GpuFacts(name="T4 (made for this test)"),))
    fast = [
        point.model_copy(update={name: scale(getattr(point, name), 0.1) for name in ("p50_ms", "p99_ms")})
        for point in report.points
    ]
    return report.model_copy(update={"points": tuple(fast)})


def scale(figure, factor: float):
    return figure.model_copy(update={name: getattr(figure, name) * factor for name in ("value", "low", "high")})


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = [ReportedRun("cpu.json", make_run(*NAMED, loads=LOADS)), ReportedRun("t4.json", make_gpu_run())]
    html = render_report(runs, [make_served(name) for name in NAMED], place="build/model_repository")
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(html, encoding="utf-8")
    assert path.stat().st_size <= MOST_BYTES
    return path


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (1200, "dark"), (390, "light"), (390, "dark")])
def test_a_report_is_shown_whole_and_asks_for_nothing(tab: Tab, page: Path, width: int, scheme: str):
    tab.open(page, width=width, scheme=scheme)
    assert tab.complaints == []
    assert [url for url in tab.requests if not url.startswith("data:")] == [page.as_uri()]
    assert tab.evaluate("document.title") == "Benchmark report"
    assert tab.evaluate("document.querySelectorAll('svg[role=img]').length") == 4 + 2 + 5 + 5
    assert tab.evaluate(OUTSIDE) == []
    assert tab.evaluate(COLLIDING) == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    tab.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true })")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    ground = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 23, 27)")
    assert measure_ink(tab.screenshot()) > 0.01


def test_a_report_is_printed(tab: Tab, page: Path):
    tab.open(page, width=1200)
    assert tab.print().startswith(b"%PDF")
    assert tab.complaints == []


def test_names_that_are_code_do_nothing(tab: Tab, tmp_path: Path):
    page = tmp_path / "report.html"
    run = ReportedRun("run.json", make_run(HOSTILE, "m", slo=SLO, cpu=HOSTILE, command=HOSTILE))
    page.write_text(render_report([run]), encoding="utf-8")
    tab.open(page, width=1200)
    assert tab.complaints == []
    assert [url for url in tab.requests if not url.startswith("data:")] == [page.as_uri()]
    assert tab.evaluate("document.querySelectorAll('script,img').length") == 0


def test_what_a_page_asks_for_and_complains_of_is_noticed(tab: Tab, tmp_path: Path):
    """Else the tests above would prove nothing."""
    page = tmp_path / "loud.html"
    page.write_text("<img src='http://127.0.0.1:9/x.png'><script>console.error('loud')</script>")
    tab.open(page, width=1200)
    assert "http://127.0.0.1:9/x.png" in tab.requests
    assert any("loud" in complaint for complaint in tab.complaints)
    blank = tmp_path / "blank.html"
    blank.write_text("<title>blank</title>")
    tab.open(blank, width=1200)
    assert measure_ink(tab.screenshot()) < 0.01
    policy = "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'\">"
    page.write_text(f"{policy}<img src='http://127.0.0.1:9/x.png'>")
    tab.open(page, width=1200)
    assert any("Content Security Policy" in complaint for complaint in tab.complaints)
