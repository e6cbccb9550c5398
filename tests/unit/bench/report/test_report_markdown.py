"""The Markdown of a report, as GitHub reads it."""

import re
from typing import Any

from markdown_it import MarkdownIt
from prep_triton.bench.report.document import make_document
from prep_triton.bench.report.markdown import render_markdown
from prep_triton.bench.report.runs import ReportedRun

from tests.fakes.reported import make_run

HOSTILE = "a|b `c` <img src=x> [d](http://e) @f"


def render(*names: str, **changed: Any) -> str:
    return render_markdown(make_document([ReportedRun("run.json", make_run(*names, **changed))], most_plots=0))


def test_its_tables_are_those_of_the_html():
    document = make_document([ReportedRun("run.json", make_run())])
    tables = [part for section in document.sections for part in section.parts if hasattr(part, "rows")]
    html = MarkdownIt("gfm-like", {"linkify": False}).render(render())
    assert html.count("<table>") == len(tables)
    assert html.count("<tbody>\n<tr>") == len([table for table in tables if table.rows])
    assert "Latency against throughput" not in html  # there it would be a heading over nothing
    assert html.count("<tr>") == sum(1 + len(table.rows) for table in tables)


def test_a_name_stays_text():
    html = MarkdownIt("gfm-like", {"linkify": False}).render(render(HOSTILE, command=f"prep bench ``` {HOSTILE}"))
    assert "<img" not in html
    assert "<a " not in html
    assert not re.search(r"<td>[^<]*<code>", html)
    assert "a|b `c` &lt;img src=x&gt; [d](http://e) @f" in html
    assert html.count("<pre>") == 1
