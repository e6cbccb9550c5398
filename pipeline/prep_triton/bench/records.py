"""What a benchmark found: the document of `prep bench`, which a later run may take as its baseline."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from prep_triton.artifact import Record, Share
from prep_triton.bench.cost_records import Costs

# Of the document. A run of another version is still compared, as far as it can be read.
BENCH_SCHEMA = 1

# What sends a load.
OWN_GENERATOR = "prep"

LoadKind = Literal["closed", "open"]
Arrivals = Literal["poisson", "constant"]
Natural = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0.0)]
Amount = Annotated[float, Field(ge=0.0)]


class Load(Record):
    """How a server is loaded.

    A closed loop has `value` requests under way at any time; an open loop sends `value` requests a second, whatever
    becomes of them, at times that `arrivals` says. `priority` is that of its requests; 0 leaves it to the entry. `mix`
    names all that was sent at once, where that was more; `value` is then this entry's part of it.
    """

    kind: LoadKind
    value: Positive
    arrivals: Arrivals | None = None
    priority: Natural = 0
    mix: str | None = None

    def describe(self) -> str:
        """Say it in a few words: ``concurrency 4``, ``50/s poisson, priority 1, mixed``."""
        rate = f"concurrency {self.value:g}" if self.kind == "closed" else f"{self.value:g}/s {self.arrivals}"
        return f"{rate}{f', priority {self.priority}' if self.priority else ''}{', mixed' if self.mix else ''}"


class Figure(Record):
    """A measured value, and the interval of 95 % confidence from the bootstrap over blocks."""

    value: Amount
    low: Amount
    high: Amount


class Block(Record):
    """A stretch of the measured time of one repeat; what intervals and comparisons are made of.

    `requests` were answered in it, and `errors` were not. `latency` counts answers by the logarithm of their latency,
    see `prep_triton.bench.intervals`; in an open loop those of the requests that were meant to be sent in it.
    """

    repeat: Natural
    seconds: Positive
    requests: Natural
    errors: Natural
    latency: dict[int, Natural]


class PartTimes(Record):
    """What the server's statistics say of one model during a point: means over its requests, in microseconds.

    None where nothing was computed, as where the response cache answered. `batch_sizes` maps the rows of an execution
    to how many executions had them.
    """

    model: str
    requests: Natural
    cache_hits: Natural
    executions: Natural
    mean_batch: Amount | None
    batch_sizes: dict[int, Natural]
    queue_us: Amount | None
    compute_input_us: Amount | None
    compute_infer_us: Amount | None
    compute_output_us: Amount | None


class Slo(Record):
    """A service level: `percent` of the requests are answered within `bound_ms`."""

    percent: Annotated[float, Field(gt=0.0, lt=100.0)]
    bound_ms: Positive

    def describe(self) -> str:
        """Say it as it is written on the command line."""
        return f"p{self.percent:g} <= {self.bound_ms:g} ms"


class Verdict(Record):
    """Whether a point holds a service level, by the binomial tail at 99 % confidence.

    `over` of `requests` took longer or failed. `more` is how many further requests, none of them over, would show it
    where it is not shown. A point that its generator did not sustain is ``not counted``.
    """

    state: Literal["met", "not met", "not shown", "not counted"]
    requests: Natural
    over: Natural
    more: Natural = 0

    def describe(self) -> str:
        """Say it in a line."""
        if self.state == "not counted":
            return "not counted"
        if self.state == "not shown":
            return f"not shown: {self.more:,} more request{'s' if self.more > 1 else ''}"
        return f"{self.state} (99 % confidence, {self.requests:,} requests, {self.over:,} over)"


class GpuUse(Record):
    """What NVML said of a server's GPU during the measured time: means, and the most memory that was taken.

    `utilisation` is the share of the time in which a kernel ran, 0..1: not how full the GPU was.
    """

    name: str = ""
    utilisation: Share | None = None
    power_w: Amount | None = None
    memory_mib: Amount | None = None
    sm_clock_mhz: Amount | None = None


class ResourceUse(Record):
    """What a point used of the machine during its measured time; None where nothing tells it.

    CPU is in busy cores, as means: those of the server's processes, of prep (which sends), and of everything else
    on the machine. `server_memory_peak_mib` is the most memory that the server's processes held together, shared pages
    counted once (PSS). `unknown` says of what is not known why not.
    """

    server_cpu_cores: Amount | None = None
    server_cpu_s_per_inference: Amount | None = None
    server_memory_peak_mib: Amount | None = None
    generator_cpu_cores: Amount | None = None
    others_cpu_cores: Amount | None = None
    gpu: GpuUse | None = None
    unknown: dict[str, str] = Field(default_factory=dict)


class RepeatResources(Record):
    """CPU seconds during the measured time of one repeat, `seconds` long."""

    repeat: Natural
    seconds: Positive
    server_cpu_s: Amount | None = None
    generator_cpu_s: Amount | None = None
    others_cpu_s: Amount | None = None


class Point(Record):
    """One entry under one load.

    `inferences_per_s` are rows: requests times `batch`. Latencies are in milliseconds, in an open loop from the moment
    at which a request was meant to be sent. `sent_per_s` is what the generator sent, `lateness_p95_ms` how late it was
    itself; where that is too much, `sustained` is False and the point does not count. `error_messages` maps what the
    server said to how often. `tokens_per_s` are those of the requests, `padded_tokens_per_s` those that the model
    computes on, padding among them; None where nothing tells them. `notes` say what else is to be known of it. What
    perf_analyzer measured has no blocks; its intervals are of repeats.
    """

    entry: str
    load: Load
    batch: Annotated[int, Field(ge=1)]
    repeats: Natural
    seconds: Amount
    requests: Natural
    errors: Natural
    error_messages: dict[str, Natural]
    requests_per_s: Figure
    inferences_per_s: Figure
    mean_ms: Amount
    p50_ms: Figure
    p90_ms: Figure
    p95_ms: Figure
    p99_ms: Figure
    sent_per_s: Amount
    lateness_p95_ms: Amount
    sustained: bool
    parts: tuple[PartTimes, ...]
    verdict: Verdict | None = None
    tokens_per_s: Figure | None = None
    padded_tokens_per_s: Figure | None = None
    resources: ResourceUse | None = None
    repeat_resources: tuple[RepeatResources, ...] = ()
    notes: tuple[str, ...] = ()
    blocks: tuple[Block, ...]


class BenchedEntry(Record):
    """What was sent to an entry, and which entry it was.

    `key` is the entry's own; empty of a server whose repository was not named. Lengths are tokens of ids, and
    characters of text. `input_digest` is the SHA-256 of the requests, which have this `priority`.
    """

    name: str
    key: str
    config_digest: str
    input_kind: Literal["ids", "text"]
    input_digest: str
    distinct_requests: Natural
    shortest: Natural
    mean_length: Amount
    longest: Natural
    priority: Natural = 0


class GpuFacts(Record):
    """A GPU of the server's machine, as NVML describes it."""

    name: str
    driver: str | None = None
    memory_mib: Amount | None = None
    power_limit_w: Amount | None = None
    max_sm_clock_mhz: Amount | None = None


class BenchConditions(Record):
    """What the figures depend on. `steal_share` is the time that the hypervisor gave to others meanwhile, 0..1.

    `kernel`, `cpu_governor`, `container`, `cpu_limit_cores` (of the control group) and `gpus` are of the machine that
    sends, as the processor is; `image` is that of Triton's container where prep runs in one. None where not known.
    `generator` is what sent the load, with its version where it is not prep, and `processes` from how many processes.
    """

    cpu: str
    cpu_flags: tuple[str, ...]
    cores: Natural
    load_before: Amount
    load_after: Amount
    steal_share: Share | None
    server: str
    triton_version: str
    triton_flavour: str
    prep_version: str
    seed: int
    repeats: Natural
    warmup_s: Amount
    duration_s: Positive
    started_at: datetime
    command: str
    protocol: Literal["grpc", "http"] = "grpc"
    kernel: str | None = None
    cpu_governor: str | None = None
    container: str | None = None
    cpu_limit_cores: Amount | None = None
    image: str | None = None
    gpus: tuple[GpuFacts, ...] = ()
    generator: str = OWN_GENERATOR
    processes: Natural = 1
    entries: tuple[BenchedEntry, ...]


class RatioFigure(Record):
    """This run over the baseline, with the interval of the ratio: in 98 of 100 runs all of them hold the truth."""

    metric: Literal["requests_per_s", "p50_ms", "p99_ms"]
    ratio: Positive
    low: Amount
    high: Amount


class PointComparison(Record):
    """How a point compares with the baseline's: by throughput in a closed loop, by the median in an open one.

    The `reason` says what made the interval wider than the repeats alone: what other programs took of the processor.
    """

    entry: str
    baseline_entry: str
    load: Load
    batch: Annotated[int, Field(ge=1)]
    verdict: Literal["faster", "slower", "no difference shown", "not counted"]
    decided_by: RatioFigure
    others: tuple[RatioFigure, ...]
    reason: str = ""


class BaselineComparison(Record):
    """This run beside an earlier one. `differences` say what else is not the same, in sentences.

    By the `method` ``run`` it is one earlier run, by ``history`` several, by ``turns`` another server that was
    measured in the same session, whose points are then `other_points`; repeat r of both belongs to round r // 2.
    """

    baseline: str
    method: Literal["run", "history", "turns"] = "run"
    runs: Natural = 1
    rounds: Natural = 0
    other_points: tuple[Point, ...] = ()
    differences: tuple[str, ...]
    points: tuple[PointComparison, ...]
    unmatched: tuple[str, ...]

    @property
    def is_slower(self) -> bool:
        """Whether a point was shown to be slower."""
        return any(point.verdict == "slower" for point in self.points)


class NotMeasured(Record):
    """A variant of a pipeline file that this machine did not measure, and why."""

    entry: str
    model: str
    precision: str
    runtime: str
    reason: str

    @property
    def names(self) -> tuple[str, str]:
        """The entry's name, and that of the ensemble that serves its text."""
        return self.entry, f"{self.entry}-text"


class BenchReport(Record):
    """What `prep bench` measured.

    A `partial` one was ended before its end, for the `partial_reason`. `not_loaded` says of each entry that the server
    could not load why not, in the server's words; `not_measured` has the other variants of a pipeline file.
    `costs` are those on a machine that was named. `notes` are what is to be known of what was sent.
    """

    schema_version: int = BENCH_SCHEMA
    partial: bool = False
    partial_reason: str = ""
    slo: Slo | None = None
    best_seen: str = ""
    not_loaded: dict[str, str] = Field(default_factory=dict)
    not_measured: tuple[NotMeasured, ...] = ()
    notes: tuple[str, ...] = ()
    conditions: BenchConditions
    points: tuple[Point, ...]
    comparison: BaselineComparison | None = None
    costs: Costs | None = None
