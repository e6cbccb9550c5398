"""Sends the reference's own text to a real Triton and compares the answers with PyTorch."""

import importlib.metadata
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from pipeline.artifact import RepositoryEntry
from pipeline.errors import RepositoryError, ServerError, VerifyError
from pipeline.progress import Progress, ignore_progress
from pipeline.spec import VerifySpec
from pipeline.triton.client import TritonClient, grpc_address_from_url
from pipeline.triton.config import CONFIG_NAME, parse_config
from pipeline.triton.installation import find_server
from pipeline.triton.reference import Comparison, check_tokenizer, load_reference
from pipeline.triton.report import EntryReport, VerifyReport
from pipeline.triton.repository import REFERENCE_NAME, TOKENIZER_NAME
from pipeline.triton.server import Ports, RunningTriton, run_triton

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

DEFAULT_SPEC = VerifySpec()
CONCURRENT_REQUESTS = 16
# A container's shared memory, through which a Python backend answers, is often 64 MiB.
ANSWER_BUDGET_BYTES = 32 << 20
NO_BACKEND = "unable to find backend library for backend 'tensorrt'"
CONFIG_ONLY = "the server accepted the configuration up to the missing TensorRT backend, nothing more was checked"


def verify_entries(
    entries: Sequence[RepositoryEntry],
    repository_uri: str,
    spec: VerifySpec = DEFAULT_SPEC,
    *,
    progress: Progress = ignore_progress,
) -> VerifyReport:
    """Load every entry into a real Triton and compare its answers with the reference.

    Each entry gets single unpadded rows, full padded batches, and single rows at once.

    Args:
        entries: What to verify; their folders hold ``config.pbtxt``, ``reference.npz`` and perhaps
            ``tokenizer.json``, whatever the server itself loads.
        repository_uri: What the server loads: a folder or ``gs://bucket/prefix``.
        spec: A running server that has the entries loaded, or the port for one of our own; and how long
            the server may take to start, to load an entry, and to answer.
        progress: Told which entry is on.

    Returns:
        The report, with failures in it; `check_report` raises for them.

    Raises:
        ServerError: The server does not start, dies, or has not loaded an entry.
        RepositoryError: The repository is not there.
    """
    if spec.server_url:
        return _verify_on_running(entries, repository_uri, spec, progress)
    with run_triton(
        repository_uri,
        entries=[entry.name for entry in entries],
        ports=Ports(grpc=spec.grpc_port),
        timeout_s=spec.timeout_s,
        progress=progress,
    ) as server:
        with TritonClient(server.grpc_url, timeout_s=spec.timeout_s) as client:
            reports = tuple(
                _verify_loaded(entry, client) if entry.name in server.loaded else _report_unloaded(entry, server)
                for entry in _each(entries, progress)
            )
        return VerifyReport(
            repository_uri=repository_uri,
            server_version=server.version,
            server_flavour=server.flavour,
            entries=reports,
        )


def verification_tools() -> dict[str, str]:
    """Return the versions of what a verification on a server of our own runs with; starts nothing."""
    packages = ("prep-triton", "nvidia-pytriton", "onnxruntime", "tokenizers", "tritonclient")
    found = {}
    for package in packages:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    own = find_server()
    if own is None:
        return found
    about = own.stat()  # its version is known only once it runs; a new one has another size and time
    return {**found, "tritonserver": f"{own} {about.st_size} {about.st_mtime_ns}"}


def _verify_on_running(
    entries: Sequence[RepositoryEntry], repository_uri: str, spec: VerifySpec, progress: Progress
) -> VerifyReport:
    assert spec.server_url
    with TritonClient(grpc_address_from_url(spec.server_url), timeout_s=spec.timeout_s) as client:
        version = client.server_version()
        missing = [entry.name for entry in entries if not client.is_loaded(entry.name)]
        if missing:
            raise ServerError(
                f"the server at {client.address} has not loaded {', '.join(missing)}",
                hint=f"start it on {repository_uri}, or leave --server out so that one is started",
            )
        return VerifyReport(
            repository_uri=repository_uri,
            server_version=version,
            server_flavour=f"the running server at {client.address}",
            entries=tuple(_verify_loaded(entry, client) for entry in _each(entries, progress)),
        )


def _each(entries: Sequence[RepositoryEntry], progress: Progress) -> Iterator[RepositoryEntry]:
    for index, entry in enumerate(entries):
        progress(f"verifying {entry.name}", index / len(entries))
        yield entry


def _report_unloaded(entry: RepositoryEntry, server: RunningTriton) -> EntryReport:
    reason = server.failures[entry.name].strip()
    if entry.runtime == "tensorrt" and NO_BACKEND in reason:
        return _report(entry, status="config-accepted-only", detail=CONFIG_ONLY)
    return _report(entry, status="failed", detail=f"Triton did not load it: {reason}")


def _report(entry: RepositoryEntry, **measured: Any) -> EntryReport:
    return EntryReport(
        name=entry.name, runtime=entry.runtime, precision=entry.precision, tolerance=entry.tolerance, **measured
    )


def _verify_loaded(entry: RepositoryEntry, client: TritonClient) -> EntryReport:
    try:
        trial = _Trial(entry, client)
        return trial.run()
    except (RepositoryError, VerifyError) as err:
        return _report(entry, status="failed", detail=err.message)


def _load_config(entry: RepositoryEntry) -> "ModelConfig":
    path = entry.path(CONFIG_NAME)
    try:
        return parse_config(path.read_text(encoding="utf-8"), where=str(path))
    except (OSError, UnicodeError) as err:
        raise RepositoryError(f"{path} cannot be read: {err}", hint="assemble the entry again") from err


class _Trial:
    """The requests of one entry and what came of them."""

    def __init__(self, entry: RepositoryEntry, client: TritonClient) -> None:
        self.entry = entry
        self.client = client
        self.config = _load_config(entry)
        self.outputs = [tensor.name for tensor in self.config.output]
        self.reference = load_reference(
            entry.path(REFERENCE_NAME), [tensor.name for tensor in self.config.input], self.outputs
        )
        # A dynamic first axis is the sequence; a fixed one (labels) has no padding.
        self.is_sequence = {tensor.name: tensor.dims[0] == -1 for tensor in self.config.output}
        self.min_sequence = int(entry.spec.get("min_sequence", 1))
        longest = int(entry.spec.get("max_sequence", 1 << 30))
        self.rows = [row for row, length in enumerate(self.reference.lengths) if 0 < length <= longest]
        self.comparison = Comparison()
        self.latencies_ms: list[float] = []
        self.requests = 0
        self.example = ""

    def run(self) -> EntryReport:
        if not self.rows:
            raise VerifyError("no row of the reference fits its profile", hint="build with a longer profile")
        text_checked = self._check_text()
        self._ask_single_rows()
        self._ask_full_batches()
        mean_batch_size = self._ask_at_once()
        detail = self._judge()
        numbers = {
            "mean_cosine": fmean(self.comparison.cosines),
            "min_cosine": min(self.comparison.cosines),
            "max_abs_error": self.comparison.max_abs_error,
        }
        return _report(
            self.entry,
            status="failed" if detail else "loaded",
            detail=detail,
            requests=self.requests,
            rows=len(self.comparison.rows),
            text_checked=text_checked,
            mean_batch_size=mean_batch_size,
            p50_ms=median(self.latencies_ms),
            example=self.example,
            **{key: None if math.isnan(value) else value for key, value in numbers.items()},
        )

    def _check_text(self) -> bool:
        path = self.entry.path(TOKENIZER_NAME)
        if not path.is_file() or not any(self.reference.text):
            return False
        wrong = check_tokenizer(path, self.reference)
        if wrong:
            raise VerifyError(wrong, hint="export the model again: its tokenizer is not the reference's")
        return True

    def _judge(self) -> str:
        expected = f"expected {self.entry.tolerance} or more in every answer"
        # Not min(): it drops a NaN that is not its first value.
        if any(math.isnan(cosine) for cosine in self.comparison.cosines):
            return f"the answers hold NaN or have another shape; {expected}"
        worst = min(self.comparison.cosines)
        if worst < self.entry.tolerance:
            mean = fmean(self.comparison.cosines)
            return f"the smallest cosine to PyTorch FP32 is {worst:.6f} (mean {mean:.6f}), {expected}"
        return ""

    def _ask_single_rows(self) -> None:
        for row in self.rows:
            inputs = self._inputs([row], max(self.reference.lengths[row], self.min_sequence))
            answer, elapsed_ms = self.client.ask(self.entry.name, inputs, self.outputs)
            self.latencies_ms.append(elapsed_ms)
            self._compare([row], answer)
            self.example = self.example or self._describe_answer(row, answer)

    def _describe_answer(self, row: int, answer: dict[str, Any]) -> str:
        """Show a sentence and the first values of its answer beside PyTorch's; nothing for a row without text."""
        text, name = self.reference.text[row], self.outputs[0]
        if not text:
            return ""
        values = [
            ", ".join(f"{value:.4f}" for value in array.ravel()[:3])
            for array in (answer[name][0], self.reference.outputs[name][row])
        ]
        return f'"{text}" -> {name} [{values[0]}, …], PyTorch [{values[1]}, …]'

    def _ask_full_batches(self) -> None:
        size = min(self.config.max_batch_size, len(self.rows), self._affordable_rows())
        # Every batch is full: the last one takes again what it lacks.
        for start in range(0, len(self.rows), size):
            rows = self.rows[min(start, len(self.rows) - size) :][:size]
            answer, _ = self.client.ask(self.entry.name, self._inputs(rows, self._widest()), self.outputs)
            self._compare(rows, answer)

    def _ask_at_once(self) -> float | None:
        # Rows of one width: the dynamic batcher merges requests of the same shape only.
        count = max(2, min(CONCURRENT_REQUESTS, self._affordable_rows()))
        rows = [self.rows[index % len(self.rows)] for index in range(count)]
        before = self.client.count_executions(self.entry.name)
        requests = [self._inputs([row], self._widest()) for row in rows]
        for row, answer in zip(rows, self.client.ask_at_once(self.entry.name, requests, self.outputs), strict=True):
            self._compare([row], answer)
        after = self.client.count_executions(self.entry.name)
        executions = after[1] - before[1]
        return (after[0] - before[0]) / executions if executions else None

    def _widest(self) -> int:
        return max(self.min_sequence, *(self.reference.lengths[row] for row in self.rows))

    def _affordable_rows(self) -> int:
        row_bytes = sum(array[:1].size * 4 for array in self.reference.outputs.values())
        return max(1, ANSWER_BUDGET_BYTES // max(1, row_bytes))

    def _inputs(self, rows: Sequence[int], width: int) -> dict[str, Any]:
        """Take rows of the reference, cut or padded with zeros to a width."""
        import numpy as np
        from tritonclient.utils import triton_to_np_dtype

        made = {}
        for tensor in self.config.input:
            array = self.reference.inputs[tensor.name][rows, :width]
            padded = np.pad(array, ((0, 0), (0, width - array.shape[1])))
            kind = type(self.config).DESCRIPTOR.fields_by_name["input"].message_type.fields_by_name["data_type"]
            triton_dtype = kind.enum_type.values_by_number[tensor.data_type].name.removeprefix("TYPE_")
            made[tensor.name] = padded.astype(triton_to_np_dtype(triton_dtype))
        return made

    def _compare(self, rows: Sequence[int], answer: dict[str, Any]) -> None:
        self.requests += 1
        for name in self.outputs:
            for index, row in enumerate(rows):
                found, expected = answer[name][index], self.reference.outputs[name][row]
                if self.is_sequence[name]:
                    length = self.reference.lengths[row]
                    found, expected = found[:length], expected[:length]
                self.comparison.add(row, found, expected)
