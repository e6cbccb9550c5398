"""Runs as files, and what a report says of them."""

import json
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from prep_triton.artifact import FidelityRecord, FileRecord, RepositoryEntry
from prep_triton.bench.records import BenchReport, Load, Point, Slo

from scripts.benchmarks.records import make_entry, make_graph
from tests.fakes.benched import make_points, make_report

SLO = Slo(percent=99, bound_ms=50)
LOADS = tuple(Load(kind="closed", value=value) for value in (1, 2, 4))
VOID = ("meta", "link", "br", "input", "img")


def make_run(*names: str, slo: Slo | None = SLO, loads: tuple[Load, ...] = LOADS, **changed: Any) -> BenchReport:
    """Return a run of entries, each half as fast as the one before; `changed` are conditions."""
    points = _draw_points(names or ("m-fp32", "m-int8"), slo, loads)
    return make_report(points, **changed).model_copy(update={"slo": slo})


@cache
def _draw_points(names: tuple[str, ...], slo: Slo | None, loads: tuple[Load, ...]) -> tuple[Point, ...]:
    drawn = (
        make_points(loads, name=name, slowdown=2.0**index, slo=slo, repeats=3, seed=index)
        for index, name in enumerate(names)
    )
    return tuple(point for points in drawn for point in points)


def save_run(path: Path, report: BenchReport, **fields: Any) -> Path:
    """Write a run as `prep bench -o` does; `fields` replace some of it."""
    path.write_text(json.dumps({**json.loads(report.model_dump_json()), **fields}))
    return path


def make_served(name: str, key: str = "k1", **fields: Any) -> RepositoryEntry:
    """Return an entry of 2 MiB whose graph has a cosine of 0.99."""
    fidelity = FidelityRecord(rows=16, mean_cosine=0.99, min_cosine=0.98, runtime="onnxruntime")
    graph = make_graph(name, fidelity=fidelity)
    files = {"1/model.onnx": FileRecord(size=2 * 2**20, sha256="0")}
    return make_entry(name, **{"key": key, "onnx": graph, "files": files, "precision": "int8", **fields})


class Page(HTMLParser):
    """A parsed report: whether its elements close in order, its text, and the attributes of each element."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open an element."""
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element of an SVG that closes itself."""
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Close the element that was opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note text, but no style."""
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        """All its text, a line for each piece."""
        return "\n".join(self.words)

    def count(self, tag: str) -> int:
        """Return how many elements there are."""
        return sum(name == tag for name, _ in self.elements)
