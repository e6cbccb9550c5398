"""Verifies the entries of a repository, one after another, on a Triton of our own or a running one."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from prep_triton.artifact import EntryKind, RepositoryEntry
from prep_triton.errors import RepositoryError, ServerError, VerifyError
from prep_triton.layout import SERVER_ARGUMENTS_NAME
from prep_triton.progress import Progress, ignore_progress
from prep_triton.server_arguments import (
    describe_refused,
    find_refused,
    merge_server_arguments,
    parse_server_arguments,
)
from prep_triton.spec import VerifySpec
from prep_triton.triton.server.client import TritonClient, grpc_address_from_url
from prep_triton.triton.server.ports import Ports
from prep_triton.triton.server.process import run_triton
from prep_triton.triton.verify.ensemble import EnsembleCheck, describe_mismatches
from prep_triton.triton.verify.ensemble_parts import check_parts
from prep_triton.triton.verify.model import ModelCheck
from prep_triton.triton.verify.report import EntryReport, VerifyReport, report_entry
from prep_triton.triton.verify.served_config import describe_served_otherwise
from prep_triton.triton.verify.unloaded import report_unloaded

log = logging.getLogger(__name__)

# Takes a model entry that passed, the server that serves it, and its report.
CheckMore = Callable[[RepositoryEntry, TritonClient, EntryReport], EntryReport]

DEFAULT_SPEC = VerifySpec()
# The models, then the ensembles that call them, then the parts that are checked through an ensemble.
ORDER: tuple[EntryKind, ...] = ("model", "ensemble", "tokenizer", "postprocessor")


def verify_entries(
    entries: Sequence[RepositoryEntry],
    repository_uri: str,
    spec: VerifySpec = DEFAULT_SPEC,
    *,
    check_more: CheckMore | None = None,
    progress: Progress = ignore_progress,
) -> VerifyReport:
    """Load every entry into a real Triton and compare its answers with the reference.

    Args:
        entries: What to verify; their folders hold ``config.pbtxt``, ``reference.npz`` and perhaps
            ``tokenizer.json``, whatever the server itself loads.
        repository_uri: What the server loads: a folder or ``gs://bucket/prefix``. A server of our own gets the
            arguments that the folder's ``server.args`` or else the entries' manifests ask for.
        spec: A running server that has the entries loaded, or the port for one of our own; and how long
            the server may take to start, to load an entry, and to answer.
        check_more: Checks a model that passed further, on the same server, and returns its report.
        progress: Called with the entry that is on.

    Returns:
        The report, with failures in it; `check_report` raises for them.

    Raises:
        ServerError: The server does not start, dies, has not loaded an entry, or serves another one than the
            repository's.
        RepositoryError: The repository is not there, or its ``server.args`` cannot be read.
    """
    if spec.server_url:
        return _verify_on_running(entries, repository_uri, spec, check_more, progress)
    return _verify_on_own(entries, repository_uri, spec, check_more, progress)


def _verify_on_own(
    entries: Sequence[RepositoryEntry],
    repository_uri: str,
    spec: VerifySpec,
    check_more: CheckMore | None,
    progress: Progress,
) -> VerifyReport:
    arguments = find_server_arguments(entries, repository_uri)
    with run_triton(
        repository_uri,
        entries=[entry.name for entry in entries],
        ports=Ports(grpc=spec.grpc_port),
        arguments=arguments,
        timeout_s=spec.timeout_s,
        progress=progress,
    ) as server:
        with TritonClient(server.grpc_url, timeout_s=spec.timeout_s) as client:
            reports = _verify_each(entries, client, server.failures, check_more, progress)
        return VerifyReport(
            repository_uri=repository_uri,
            server_version=server.version,
            server_flavour=server.flavour,
            server_arguments=arguments,
            entries=reports,
        )


def find_server_arguments(entries: Sequence[RepositoryEntry], repository_uri: str) -> tuple[str, ...]:
    """Return what the server must be started with for the entries to be served as they were asked for.

    Raises:
        RepositoryError: The folder's ``server.args`` cannot be read, or has an argument that is refused.
    """
    path = Path(repository_uri) / SERVER_ARGUMENTS_NAME
    if "://" not in repository_uri and path.exists():
        try:
            arguments = parse_server_arguments(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeError) as err:
            raise RepositoryError(f"{path} cannot be read: {err}", hint="assemble an entry again") from err
        for refused in find_refused(arguments):
            raise RepositoryError(f"{path}: {describe_refused(refused)}", hint=f"remove that line from {path}")
        return arguments
    return merge_server_arguments(argument for entry in entries for argument in entry.server_arguments)


def _verify_on_running(
    entries: Sequence[RepositoryEntry],
    repository_uri: str,
    spec: VerifySpec,
    check_more: CheckMore | None,
    progress: Progress,
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
        for entry in entries:
            _check_served(entry, client, repository_uri)
        return VerifyReport(
            repository_uri=repository_uri,
            server_version=version,
            server_flavour=f"the running server at {client.address}",
            entries=_verify_each(entries, client, {}, check_more, progress),
        )


def _check_served(entry: RepositoryEntry, client: TritonClient, repository_uri: str) -> None:
    """Refuse a server that serves another configuration, or another version, of an entry than the repository's."""
    try:
        otherwise = describe_served_otherwise(entry, client)
    except RepositoryError:
        return  # its files cannot be read: the check of the entry says so, and goes on to the others
    if otherwise:
        raise ServerError(
            f"the server at {client.address} serves another {entry.name}: {otherwise}",
            hint=f"start it on {repository_uri}, or leave --server out so that one is started",
        )


def _verify_each(
    entries: Sequence[RepositoryEntry],
    client: TritonClient,
    failures: Mapping[str, str],
    check_more: CheckMore | None,
    progress: Progress,
) -> tuple[EntryReport, ...]:
    by_name = {entry.name: entry for entry in entries}
    reports: dict[int, EntryReport] = {}
    for count, index in enumerate(sorted(range(len(entries)), key=lambda at: ORDER.index(entries[at].kind))):
        entry = entries[index]
        progress(f"verifying {entry.name}", count / len(entries))
        earlier = {report.name: report for report in reports.values()}
        if entry.name in failures:
            report = report_unloaded(entry, failures[entry.name], earlier)
            if entry.kind == "ensemble" and report.status == "config-accepted-only":
                report = _check_parts(entry, report, by_name, client)
        elif entry.kind in {"tokenizer", "postprocessor"}:
            report = _report_part(entry, entries, earlier)
        else:
            report = _check_loaded(entry, by_name, client)
            if check_more and entry.kind == "model" and report.status == "loaded":
                report = check_more(entry, client, report)
        for note in report.notes:
            log.warning("%s: %s", entry.name, note)
        reports[index] = report
    return tuple(reports[index] for index in range(len(entries)))


def _check_loaded(entry: RepositoryEntry, by_name: Mapping[str, RepositoryEntry], client: TritonClient) -> EntryReport:
    try:
        if entry.kind == "model":
            return ModelCheck(entry, client).run()
        served = by_name.get(entry.serves or "")
        if served is None:
            raise VerifyError(
                f"{entry.serves or 'the model'}, whose reference it is compared with, is not among the entries",
                hint="verify both together",
            )
        return EnsembleCheck(entry, served, client).run()
    except (RepositoryError, VerifyError) as err:
        return report_entry(entry, "failed", detail=err.message)


def _check_parts(
    entry: RepositoryEntry, report: EntryReport, by_name: Mapping[str, RepositoryEntry], client: TritonClient
) -> EntryReport:
    """Add to the report of an ensemble whose model cannot run here what its other steps answered."""
    served = by_name.get(entry.serves or "")
    if served is None:
        return report
    try:
        check = check_parts(entry, served, client)
    except (RepositoryError, VerifyError) as err:
        return report_entry(entry, "failed", detail=err.message)
    mismatch = describe_mismatches(check.answers)
    outcome = mismatch or f"the other steps answered {len(check.answers)} texts correctly"
    return report_entry(
        entry,
        "failed" if mismatch else "config-accepted-only",
        detail=f"{served.name} could not be loaded here; with {check.source} in its place {outcome}",
        rows=len(check.answers),
    )


def _report_part(
    entry: RepositoryEntry, entries: Sequence[RepositoryEntry], reports: Mapping[str, EntryReport]
) -> EntryReport:
    """Report a tokenizer or post-processor that was loaded, by what became of an ensemble that calls it."""
    callers = [reports[caller.name] for caller in entries if entry.name in caller.composes]
    checked = next((caller for caller in callers if caller.rows), None)
    if checked is None:
        because = f"{callers[0].name} was not run" if callers else "no ensemble of this repository calls it"
        return report_entry(entry, "loaded", detail=f"loaded, and nothing more was checked: {because}")
    if checked.status == "failed":
        return report_entry(entry, "loaded", detail=f"loaded; for its answers see {checked.name}")
    without = "" if checked.status == "loaded" else ", without the model"
    detail = f"{checked.rows} texts answered correctly through {checked.name}{without}"
    return report_entry(entry, "loaded", detail=detail, rows=checked.rows)
