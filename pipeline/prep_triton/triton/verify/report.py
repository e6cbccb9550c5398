"""What `prep verify` measured."""

from collections.abc import Sequence
from typing import Any, Literal

from prep_triton.artifact import AccuracyRecord, Backend, EntryKind, Record, RepositoryEntry
from prep_triton.errors import VerifyError
from prep_triton.spec import Precision
from prep_triton.triton.server.client import TIMED_OUT, TIMEOUT_HINT

Status = Literal["loaded", "config-accepted-only", "failed"]
# What the answers were compared with: PyTorch's own, or the bare model's answer on the same server.
ComparedWith = Literal["pytorch", "bare model"]


class BatchingReport(Record):
    """What the server's statistics say of requests that were in flight together.

    `model` is the entry whose statistics these are: of an ensemble, the model that it calls. `batch_sizes` maps
    a batch size to the executions that had it; `cache_hits` requests were answered without an execution. The
    times are means over requests, in microseconds; None where nothing was executed.
    """

    model: str
    in_flight: int
    requests: int
    cache_hits: int
    rows: int
    executions: int
    batch_sizes: dict[int, int]
    mean_batch_size: float | None
    queue_us: float | None
    compute_input_us: float | None
    compute_infer_us: float | None
    compute_output_us: float | None


class EntryReport(Record):
    """How one entry answered.

    A cosine is taken over all values of one output for one row (its unpadded positions), or over the whole
    embedding of a text, against `compared_with`; `max_abs_error` is the largest difference of any of these
    values, or of a score. `requests` were sent with `rows` different rows or texts; `widths` are the sequence
    lengths at which they were sent, `full_batch` is the size of the largest batch. `batching` describes the
    requests that were in flight together, and `mean_batch_size` is its rows per execution. `p50_ms` is the
    median of the single requests, seen from the client. `accuracy` is what the labelled rows of the entry's gate
    scored on the server, beside FP32's. None where it was not measured, or is not a number.
    `library_texts` counts the texts that were compared with what the checkpoint's own library answered at export.
    `serves` names the model entry that a tokenizer, a post-processor or an ensemble was made for.
    `example` shows one sentence with its answer. `notes` are what a person should know of an entry that passed.
    """

    name: str
    kind: EntryKind = "model"
    serves: str | None = None
    runtime: Backend
    precision: Precision
    status: Status
    detail: str = ""
    compared_with: ComparedWith | None = None
    requests: int = 0
    rows: int = 0
    widths: tuple[int, ...] = ()
    full_batch: int | None = None
    tolerance: float
    mean_cosine: float | None = None
    min_cosine: float | None = None
    max_abs_error: float | None = None
    text_checked: bool = False
    accuracy: AccuracyRecord | None = None
    library_texts: int = 0
    mean_batch_size: float | None = None
    batching: BatchingReport | None = None
    p50_ms: float | None = None
    example: str = ""
    notes: tuple[str, ...] = ()


class VerifyReport(Record):
    """How every entry of a repository answered, on which server, started with which arguments of the entries."""

    repository_uri: str
    server_version: str
    server_flavour: str
    server_arguments: tuple[str, ...] = ()
    entries: tuple[EntryReport, ...]


def report_entry(entry: RepositoryEntry, status: Status, **measured: Any) -> EntryReport:
    """Return the report of an entry, with what was measured in the fields of `EntryReport`."""
    facts = {key: getattr(entry, key) for key in ("name", "kind", "serves", "runtime", "precision", "tolerance")}
    return EntryReport(**facts, status=status, **measured)


class EntriesFailedError(VerifyError):
    """Entries did not answer as their references say; `report` has what was measured, of all of them."""

    def __init__(self, message: str, *, hint: str, report: VerifyReport) -> None:
        super().__init__(message, hint=hint)
        self.report = report


def check_report(report: VerifyReport) -> None:
    """Raise unless every entry passed, or could not be checked further on this machine.

    Raises:
        EntriesFailedError: Names each failed entry, the value seen and the value expected.
    """
    failed = [entry for entry in report.entries if entry.status == "failed"]
    if failed:
        message = "; ".join(f"{entry.name}: {entry.detail}" for entry in failed)
        names = ", ".join(entry.name for entry in failed)
        raise EntriesFailedError(
            f"{len(failed)} of {len(report.entries)} entries failed on Triton {report.server_version}: {message}",
            hint=TIMEOUT_HINT
            if all(TIMED_OUT in entry.detail for entry in failed)
            else _hint_of_bf16(report, failed) or _hint_to_make_again(names),
            report=report,
        )


def _hint_of_bf16(report: VerifyReport, failed: Sequence[EntryReport]) -> str:
    """Say what OpenVINO does with FP32, where only such entries and those before them failed; empty elsewhere."""
    in_fp32 = {entry.name for entry in report.entries if entry.runtime == "openvino" and entry.precision == "fp32"}
    if not all({entry.name, entry.serves} & in_fp32 for entry in failed):
        return ""
    return (
        "OpenVINO computes FP32 in BF16 on a CPU that has it, and its backend has no parameter against that: build it "
        "with --runtime openvino --bf16, whose gate measures what BF16 costs, or assemble it with --runtime onnxruntime"
    )


def _hint_to_make_again(names: str) -> str:
    return (
        f"export and assemble {names} again; where only the precision is to blame, use a higher one, or lower "
        "the key of its gate that the message names (--min-cosine, --min-row-cosine), build and assemble it again"
    )
