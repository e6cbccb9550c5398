"""What `prep verify` measured."""

from typing import Literal

from pipeline.artifact import Record
from pipeline.errors import VerifyError
from pipeline.spec import Precision, Runtime

Status = Literal["loaded", "config-accepted-only", "failed"]


class EntryReport(Record):
    """How one entry answered.

    A cosine is taken over all values of one output for one row (its unpadded positions) against PyTorch
    FP32; `mean_batch_size` is rows per execution while requests came at once, from the server's
    statistics; `p50_ms` is the median of the single requests, seen from the client. None where it was
    not measured, or is not a number. `example` shows one sentence with the first values of its answer.
    """

    name: str
    runtime: Runtime
    precision: Precision
    status: Status
    detail: str = ""
    requests: int = 0
    rows: int = 0
    tolerance: float
    mean_cosine: float | None = None
    min_cosine: float | None = None
    max_abs_error: float | None = None
    text_checked: bool = False
    mean_batch_size: float | None = None
    p50_ms: float | None = None
    example: str = ""


class VerifyReport(Record):
    """How every entry of a repository answered, and on which server."""

    repository_uri: str
    server_version: str
    server_flavour: str
    entries: tuple[EntryReport, ...]


def check_report(report: VerifyReport) -> None:
    """Raise unless every entry passed, or could not be checked further on this machine.

    Raises:
        VerifyError: Names each failed entry, the value seen and the value expected.
    """
    failed = [entry for entry in report.entries if entry.status == "failed"]
    if failed:
        told = "; ".join(f"{entry.name}: {entry.detail}" for entry in failed)
        names = ", ".join(entry.name for entry in failed)
        raise VerifyError(
            f"{len(failed)} of {len(report.entries)} entries failed on Triton {report.server_version}: {told}",
            hint=f"export and assemble {names} again; where only the precision is to blame, use a higher one",
        )
