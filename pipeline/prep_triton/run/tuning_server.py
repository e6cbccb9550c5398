"""The server behind a search: started anew for each configuration, and what is measured on it."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import fmean, median
from types import TracebackType
from typing import Self

from prep_triton.bench.batch_times import batch_seconds, contention_from_pair, time_requests
from prep_triton.bench.loads import draw_arrivals
from prep_triton.bench.predictor import Mix
from prep_triton.bench.records import Load, Slo
from prep_triton.bench.requests import EntryFacts, InputChoice, Workload, make_workload
from prep_triton.bench.slo import requests_needed
from prep_triton.bench.trials import Trial, TrialPlan, measure_trial
from prep_triton.bench.tuning_records import BatchTimes, Choice, Layout
from prep_triton.errors import SpecError
from prep_triton.layout import TOKENIZER_NAME
from prep_triton.run.candidate import TunedEntry, write_candidate
from prep_triton.scratch import scratch_folder
from prep_triton.spec import Padding
from prep_triton.triton.config.shapes import choose_bucket
from prep_triton.triton.server.client import TritonClient
from prep_triton.triton.server.load import LoadConnection, read_served_model
from prep_triton.triton.server.process import run_triton
from prep_triton.triton.server.request_texts import texts_from_request

_BATCHES = (1, 2, 8)
_LENGTHS = 5
_TEXTS_TIMED = 8
_WARMING_REQUESTS = 24
_WARMUP_S = 1.0
# So many late requests more than none still show the level; see `requests_needed`.
_LATE_ALLOWED = 2
_SHORTEST_S, _LONGEST_S = 4.0, 20.0


@dataclass(frozen=True)
class TuningLoad:
    """What is sent, and for how long: seconds of a measurement, or as long as a verdict takes where None."""

    inputs: InputChoice
    slo: Slo
    duration_s: float | None = None
    timeout_s: float = 30.0

    def seconds_at(self, rate: float) -> float:
        """Return the measured seconds of a load of so many requests a second."""
        if self.duration_s is not None:
            return self.duration_s
        needed = requests_needed(_LATE_ALLOWED, self.slo.percent) * 1.2
        return min(max(needed / rate, _SHORTEST_S), _LONGEST_S)


@dataclass
class TuningServer:
    """Serves one configuration at a time; a context. Servers of the same configuration are kept running."""

    entry: TunedEntry
    load: TuningLoad
    version: str = ""
    flavour: str = ""
    workload: Workload | None = None
    _client: TritonClient | None = None
    _choice: Choice | None = None
    _server: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self._server.close()

    def serve(self, choice: Choice) -> TritonClient:
        """Return a client of a server with these choices, which has answered requests already.

        Raises:
            ServerError: It does not start, or does not load the entry.
            SpecError: The choices, or what is to be sent, do not fit the entry.
        """
        if choice != self._choice or self._client is None:
            self._start(choice)
        assert self._client is not None
        return self._client

    def _start(self, choice: Choice) -> None:
        self._server.close()
        self._client = self._choice = None
        folder = self._server.enter_context(scratch_folder("tune")) / "repository"
        write_candidate(self.entry, choice, folder)
        arguments = self.entry.server_arguments
        triton = run_triton(str(folder), entries=self.entry.names, arguments=arguments)
        running = self._server.enter_context(triton)
        running.check_loaded()
        self.version, self.flavour = running.version, running.flavour
        client = TritonClient(running.grpc_url, timeout_s=self.load.timeout_s)
        self._client, self._choice = self._server.enter_context(client), choice
        model = read_served_model(client, self.entry.name)
        self.workload = make_workload(model, self._facts(), self.load.inputs)
        self._warm(client, self.workload.requests[:_WARMING_REQUESTS])

    def _facts(self) -> EntryFacts:
        model = self.entry.model
        limits = [model.spec.get("max_sequence"), model.onnx.max_sequence_length if model.onnx else None]
        longest = [limit for limit in limits if isinstance(limit, int)]
        return EntryFacts(model.key, model.onnx.vocab_size if model.onnx else None, min(longest) if longest else None)

    def _warm(self, client: TritonClient, requests: Sequence[bytes]) -> None:
        """Send some requests: the first ones of a server allocate memory for their shapes."""
        with LoadConnection(client.address, timeout_s=self.load.timeout_s) as sender:
            for request in requests:
                sender.infer(request)

    def measure(self, choice: Choice, rate: float, number: int) -> Trial:
        """Send an open load at a configuration; the seed and the number of the measurement decide its arrivals."""
        client = self.serve(choice)
        assert self.workload is not None
        load = Load(kind="open", value=rate, arrivals="poisson")
        seconds = self.load.seconds_at(rate)
        warmup_s = min(_WARMUP_S, seconds)
        moments_s = draw_arrivals(load, warmup_s + seconds, [self.load.inputs.seed, number])
        plan = TrialPlan(moments_s, warmup_s, rate, self.load.timeout_s)
        return measure_trial(client, self.workload.requests, plan, self.load.slo)

    def find_mix(self, choice: Choice) -> Mix:
        """Return the lengths of what is sent, for each padding; starts the server of a choice.

        Raises:
            SpecError: The entry is called with more texts than one and answers for each: it has no single length.
        """
        self.serve(choice)
        workload = self.workload
        assert workload is not None
        if not self.entry.text:
            return Mix({None: tuple(workload.lengths)}, workload.batch, workload.batch * fmean(workload.lengths))
        buckets = self.entry.model.length_buckets
        rows = [self._token_counts(request, buckets[-1]) for request in workload.requests]
        longest = tuple(max(lengths) for lengths in rows)
        lengths: dict[Padding | None, tuple[int, ...]] = {
            "buckets": tuple(choose_bucket(length, buckets) or length for length in longest),
            "longest": longest,
        }
        return Mix(lengths, workload.batch, fmean(sum(lengths) for lengths in rows))

    def _token_counts(self, request: bytes, longest: int) -> list[int]:
        """Return the tokens of each row of a request, special ones too, cut at the longest length bucket."""
        from prep_triton.reference import encode_all, load_tokenizer

        path = self.entry.model.path(TOKENIZER_NAME)
        tokenizer = load_tokenizer(path)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        texts = list(texts_from_request(request).values())
        if not texts:
            raise SpecError(f"{self.entry.name} takes no text", hint="name a model or a text ensemble")
        count = max(map(len, texts))
        # One text may stand beside all of the others.
        rows = list(zip(*(column if len(column) == count else column * count for column in texts), strict=True))
        encodings = encode_all(path, lambda: tokenizer.encode_batch([row if len(row) > 1 else row[0] for row in rows]))
        return [min(longest, len(encoding.ids)) for encoding in encodings]

    # Batch times

    def time_batches(self, layout: Layout, mix: Mix, largest: int, seconds: float) -> BatchTimes:
        """Measure what batches take with a layout, one at a time: one load of many shapes."""
        client = self.serve(self.timing_choice(layout, largest))
        shapes, texts = self._requests_to_time(client, mix, largest)
        requests = [*shapes.values(), *texts]
        before = client.read_statistics(self.entry.model.name)
        with LoadConnection(client.address, timeout_s=self.load.timeout_s) as sender:
            times = time_requests(sender, requests, 1, seconds)
        since = client.read_statistics(self.entry.model.name).since(before)
        inside_s = (since.queue_ns + since.compute_input_ns + since.compute_infer_ns + since.compute_output_ns) / 1e9
        table = _table_from_times(layout, {shape: times[request] for shape, request in shapes.items()})
        lengths = [mix.lengths["longest"][index] for index in range(len(texts))] if texts else []
        rows = mix.rows
        all_s = [*(times[request] for request in shapes.values()), *(batch_seconds(table, n, rows) for n in lengths)]
        # What a call takes beside the computation; the computation is what keeps an instance busy.
        call_s = fmean(all_s) - inside_s / max(1, since.requests)
        call_s = min(max(0.0, call_s), 0.5 * min(map(min, table.seconds)))
        around_s = [times[request] - batch_seconds(table, n, rows) for request, n in zip(texts, lengths, strict=True)]
        own = tuple(tuple(value - call_s for value in row) for row in table.seconds)
        overhead_s = call_s + max(0.0, median(around_s) if around_s else 0.0)
        return table.model_copy(update={"seconds": own, "overhead_s": overhead_s})

    def time_together(self, times: BatchTimes, mix: Mix, largest: int, seconds: float) -> BatchTimes:
        """Measure the same with all instances busy, and return the times with the contention between them."""
        instances = times.layout.instances
        client = self.serve(self.timing_choice(times.layout, largest))
        shapes, _ = self._requests_to_time(client, mix, largest)
        with LoadConnection(client.address, timeout_s=self.load.timeout_s) as sender:
            together = time_requests(sender, list(shapes.values()), instances, seconds)
        call_s = min(times.overhead_s, 0.5 * min(map(min, times.seconds)))
        alone = {
            shapes[length, rows]: value + call_s
            for length, row in zip(times.lengths, times.seconds, strict=True)
            for rows, value in zip(times.batches, row, strict=True)
        }
        return times.model_copy(update={"contention": tuple(contention_from_pair(alone, together, instances))})

    def timing_choice(self, layout: Layout, largest: int) -> Choice:
        """Return the choices with which batch times are measured: nothing is merged and nothing padded."""
        padding: Padding | None = "longest" if self.entry.text else None
        return Choice(layout=layout, merges=False, max_batch=largest, padding=padding)

    def _requests_to_time(
        self, client: TritonClient, mix: Mix, largest: int
    ) -> tuple[dict[tuple[int, int], bytes], list[bytes]]:
        """Return requests of ids for the model, by length and rows, and some of the workload's own texts."""
        model, inputs = read_served_model(client, self.entry.model.name), self.load.inputs
        sizes = sorted({size for size in (*_BATCHES, mix.rows) if size <= largest})
        shapes = {
            (length, rows): make_workload(
                model, self._facts(), InputChoice(batch=rows, sequence=length, seed=inputs.seed)
            ).requests[0]
            for length in spread_lengths([length for lengths in mix.lengths.values() for length in lengths])
            for rows in sizes
        }
        assert self.workload is not None
        return shapes, list(self.workload.requests[:_TEXTS_TIMED]) if self.entry.text else []


def spread_lengths(lengths: Sequence[int]) -> list[int]:
    """Return the shortest, the longest, and a few between them that are as common."""
    known = sorted(lengths)
    places = [round(index * (len(known) - 1) / (_LENGTHS - 1)) for index in range(_LENGTHS)]
    return sorted({known[place] for place in places})


def _table_from_times(layout: Layout, times: dict[tuple[int, int], float]) -> BatchTimes:
    lengths, batches = sorted({length for length, _ in times}), sorted({rows for _, rows in times})
    seconds = tuple(tuple(times[length, rows] for rows in batches) for length in lengths)
    return BatchTimes(layout=layout, lengths=tuple(lengths), batches=tuple(batches), seconds=seconds)
