"""What `prep tune` looked at, measured and chose: its document, and the evidence behind a serving file."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from prep_triton.artifact import Record, Share
from prep_triton.bench.records import Amount, BenchedEntry, Natural, Positive, Slo, Verdict
from prep_triton.spec import Padding

TUNE_SCHEMA = 1

Objective = Literal["throughput", "latency", "cost"]
Purpose = Literal["batch times", "screen", "halve", "bisect", "confirm"]
Size = Annotated[int, Field(ge=1)]


class Layout(Record):
    """How the cores are shared out: instances of the model, and threads of each; None where the backend decides."""

    instances: Size
    threads: Size | None = None

    def describe(self) -> str:
        """Say it in a few words."""
        threads = "" if self.threads is None else f" x {self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"{self.instances} instance{'s' if self.instances > 1 else ''}{threads}"


class Choice(Record):
    """Serving choices that are tried: the layout, what is merged, and what text is padded to.

    `max_batch` is in rows, and `delay_us` how long a request waits for others; both say nothing where `merges` is
    False. `padding` is None of an entry that takes ids.
    """

    layout: Layout
    merges: bool = True
    max_batch: Size
    delay_us: Natural = 0
    preferred: tuple[Size, ...] = ()
    padding: Padding | None = None

    def describe(self) -> str:
        """Say it in a line."""
        words = [self.layout.describe(), f"batches up to {self.max_batch}" if self.merges else "no batches"]
        if self.merges and self.delay_us:
            words.append(f"delay {self.delay_us} us")
        if self.preferred:
            words.append(f"preferred {'/'.join(map(str, self.preferred))}")
        if self.padding:
            words.append("length buckets" if self.padding == "buckets" else "exact lengths")
        return ", ".join(words)


class BatchTimes(Record):
    """What a batch takes with a layout, measured: `seconds` [lengths][batches], in tokens and in rows.

    `overhead_s` is what a request takes beside it. `contention` is the factor where 1, 2, ... instances are busy, and
    `scale` what later measurements say of all of it: 1 where they agree.
    """

    layout: Layout
    lengths: tuple[Size, ...]
    batches: tuple[Size, ...]
    seconds: tuple[tuple[Positive, ...], ...]
    overhead_s: Amount = 0.0
    contention: tuple[Positive, ...] = (1.0,)
    scale: Positive = 1.0


class TuneMeasurement(Record):
    """One load on one configuration.

    One that measured batch times has no rate and no verdict. `ended_early` says that the binomial rule had seen
    enough. The simulated figures are those of the model as it was before this measurement; None where it has none.
    """

    number: Size
    purpose: Purpose
    choice: Choice
    rate: Positive | None = None
    seconds: Amount
    requests: Natural = 0
    verdict: Verdict | None = None
    ended_early: bool = False
    mean_ms: Amount | None = None
    p50_ms: Amount | None = None
    p99_ms: Amount | None = None
    simulated_mean_ms: Amount | None = None
    simulated_p99_ms: Amount | None = None


class ModelError(Record):
    """How far the simulation was from what was measured: medians and extremes of |simulated / measured - 1|."""

    measurements: Natural
    mean_median: Amount
    mean_worst: Amount
    p99_median: Amount
    p99_worst: Amount


class Winner(Record):
    """The choices of one measured configuration, the highest rate at which it held the level, and what was seen there.

    `is_shown` is False where the requests were too few for a verdict. Tokens are those of the texts, and those that the
    model computes on; None where nothing tells them.
    """

    choice: Choice
    rate: Positive
    is_shown: bool
    verdict: Verdict
    mean_ms: Amount
    p99_ms: Amount
    tokens_per_s: Amount | None = None
    padded_tokens_per_s: Amount | None = None


class TuneConditions(Record):
    """What the figures depend on."""

    cpu: str
    cpu_flags: tuple[str, ...]
    cores: Natural
    load_before: Amount
    load_after: Amount
    steal_share: Share | None
    triton_version: str
    triton_flavour: str
    prep_version: str
    seed: int
    started_at: datetime
    command: str
    workload: BenchedEntry


class TuneReport(Record):
    """What `prep tune` found.

    `best` is None where nothing held the level; `best_seen` then says the best that was. `current` is what the entry
    is served with now, where that was measured, and `by_padding` has the best of length buckets and of exact lengths.
    `serving` are the keys of the serving file. A `partial` one was ended before its end, for the `partial_reason`.
    """

    schema_version: int = TUNE_SCHEMA
    partial: bool = False
    partial_reason: str = ""
    entry: str
    objective: Objective
    objective_note: str = ""
    slo: Slo
    max_measurements: Size
    simulated: Natural
    seconds: Amount
    conditions: TuneConditions | None = None
    batch_times: tuple[BatchTimes, ...] = ()
    measurements: tuple[TuneMeasurement, ...] = ()
    model_error: ModelError | None = None
    best: Winner | None = None
    current: Winner | None = None
    by_padding: dict[Padding, Winner] = Field(default_factory=dict)
    best_seen: str = ""
    serving: dict[str, Any] = Field(default_factory=dict)
    serving_file: str | None = None
