"""What others published of these deployments, as data: ``published.yaml``, with its source."""

from functools import lru_cache
from importlib import resources
from typing import Annotated

from pydantic import Field

from prep_triton.artifact import Record
from prep_triton.spec.yaml_text import parse_document

_Positive = Annotated[float, Field(gt=0.0)]
_FILE = "published.yaml"


class PublishedSource(Record):
    """Where figures were published: the page with the conditions, the article, and the day of it (ISO 8601)."""

    name: str
    url: str
    article: str
    date: str


class PublishedRow(Record):
    """One published deployment: what it served, on which machine, and its best figures.

    `accelerator` is None on a machine without a GPU; `precision` that of the model, in prep's words.
    `usd_per_hour` is what was published beside the figures, for the whole machine.
    """

    name: str
    model: str
    runtime: str
    precision: str
    machine: str
    accelerator: str | None
    usd_per_hour: _Positive
    sequence_length: Annotated[int, Field(ge=1)]
    batch: Annotated[int, Field(ge=1)]
    latency_ms: _Positive
    inferences_per_s: _Positive
    source: PublishedSource


@lru_cache(maxsize=1)
def load_published() -> tuple[PublishedRow, ...]:
    """Return the five deployments of 2021, in the order in which they were published."""
    text = (resources.files("prep_triton.bench") / _FILE).read_text(encoding="utf-8")
    table = parse_document(text, where=_FILE).value
    source = PublishedSource(**table["source"])
    return tuple(PublishedRow(source=source, **row) for row in table["rows"])
