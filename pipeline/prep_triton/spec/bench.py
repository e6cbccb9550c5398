"""The load under which a run measures what it made: the keys of `prep bench` in a pipeline file."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from prep_triton.spec.base import Spec


def sweep_from_value(value: Any) -> Any:
    """Return the text of a sweep that YAML has as a number or a list: 4, [1, 4, 16]; anything else as it is."""
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def files_from_value(value: Any) -> Any:
    """Return a list of what may be one file, or none."""
    return () if value is None else (value,) if isinstance(value, str) else value


Sweep = Annotated[str, BeforeValidator(sweep_from_value, json_schema_input_type=str | float | list[float])]


class BenchSpec(Spec):
    """How a run measures its entries under load after it verified them, as `prep bench` does.

    `bench: {}` takes the defaults. What this machine cannot serve is left out, and said.
    """

    entries: tuple[str, ...] = Field(
        default=(), description="The entries to load, also those of text; empty: every model and text ensemble."
    )
    concurrency: Sweep | None = Field(
        default=None, description="Requests under way at a time: 4, [1, 4, 16] or 4:24:2. null: 1,4,16 without rate."
    )
    rate: Sweep | None = Field(
        default=None, description="Requests a second, sent whatever becomes of them: 50, [50, 100] or 50:400:50."
    )
    arrivals: Literal["poisson", "constant"] = Field(default="poisson", description="How the requests of rate follow.")
    batch: int = Field(default=1, ge=1, le=65536, description="Rows of a request.")
    seq_len: Annotated[
        int | None,
        Field(ge=1, le=65536, description="Tokens of a row of ids; null: 128, or the longest that the entry takes."),
    ] = None
    texts: str | None = Field(
        default=None, description="File of texts for text entries, one a line; null: sentences of prep's own."
    )
    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="Decides ids, texts and arrivals.")
    repeats: int = Field(default=5, ge=1, le=1000, description="How often each load is measured, interleaved.")
    duration_s: float = Field(default=2.0, ge=0.1, le=86400, description="Measured seconds of a repeat.")
    warmup_s: float = Field(default=0.5, ge=0, le=3600, description="Seconds before them, not counted.")
    timeout_s: float = Field(default=30.0, ge=0.1, le=86400, description="Longest wait for an answer, seconds.")
    slo: str | None = Field(default=None, description="Service level to judge each load by, such as p99=50ms.")
    baseline: Annotated[
        tuple[str, ...],
        BeforeValidator(files_from_value, json_schema_input_type=str | list[str] | None),
        Field(
            description="Earlier run to compare with, as prep bench -o writes it, or three and more: a history. Where "
            "this one is slower, the release does not become current, and the exit code is 4."
        ),
    ] = ()
    machine: str | None = Field(
        default=None,
        description="Machine to price inferences on, such as g2-standard-4 or n1-standard-4+t4; null: none.",
    )
    price: Literal["on-demand", "spot", "committed"] = Field(
        default="on-demand", description="Which price of machine; committed is for a year."
    )
    region: str = Field(default="us-central1", description="Region of the price.")
    report: bool = Field(default=True, description="Whether report.html is written beside bench.json.")

    @model_validator(mode="after")
    def check_price(self) -> Self:
        """Refuse a price of no machine: which one serves is not guessed."""
        for key in ("price", "region"):
            if self.machine is None and key in self.model_fields_set:
                raise ValueError(f"{key} is of no machine: add 'machine', such as g2-standard-4")
        return self
