"""Runs every rule over a repository."""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prep_triton.errors import RepositoryError, RepositoryMissingError, suggest
from prep_triton.files import find_unreadable_folder
from prep_triton.layout import CONFIG_NAME, DEFAULT_REPOSITORY, list_names
from prep_triton.manifest import has_only_config
from prep_triton.target import Target
from prep_triton.triton.lint.batch_tensors import find_batch_tensor_problems
from prep_triton.triton.lint.ensembles import find_ensemble_problems
from prep_triton.triton.lint.entry import EntryFolder, read_entry
from prep_triton.triton.lint.finding import Finding, LintReport, make_finding
from prep_triton.triton.lint.instances import find_backend_problems, find_instance_problems, find_resource_problems
from prep_triton.triton.lint.manifests import (
    find_manifest_problems,
    find_resource_count_problems,
    find_server_argument_problems,
    read_server_arguments,
)
from prep_triton.triton.lint.models import find_model_problems
from prep_triton.triton.lint.named_files import find_named_file_problems
from prep_triton.triton.lint.openvino import find_openvino_problems, find_openvino_target_problems
from prep_triton.triton.lint.place import check_is_repository
from prep_triton.triton.lint.scheduling import find_scheduling_problems
from prep_triton.triton.lint.sequences import find_sequence_problems
from prep_triton.triton.lint.targets import find_target_problems
from prep_triton.triton.lint.tensors import find_tensor_problems
from prep_triton.triton.lint.text_parts import find_text_problems
from prep_triton.triton.lint.tree import (
    find_case_problems,
    find_file_problems,
    find_top_problems,
    find_unmade_problems,
    find_version_problems,
    is_entry,
)
from prep_triton.triton.lint.vendored import find_vendored_problems
from prep_triton.triton.lint.warmups import find_warmup_problems

log = logging.getLogger(__name__)

_MAKE_HINT = "make one with prep assemble or prep run"
_EXAMPLES_HINT = (
    f"these are examples of generated configurations, kept in git; prep assemble writes what a server loads to "
    f"{DEFAULT_REPOSITORY}: prep lint {DEFAULT_REPOSITORY}"
)


@dataclass(frozen=True)
class _Repository:
    """What the rules of one run share: `tracked` are folders that hold config.pbtxt alone, as git tracks them.

    `unreadable` are entries with a folder that the user may not read, and that folder.
    """

    folder: Path
    entries: Mapping[str, EntryFolder]
    tracked: Sequence[str]
    unreadable: Mapping[str, Path]
    target: Target | None
    digest_all: bool


def lint_repository(
    repository_dir: Path,
    target: Target | None = None,
    names: Sequence[str] | None = None,
    *,
    digest_all: bool = False,
) -> LintReport:
    """Lint a Triton model repository offline; reads only, and changes nothing.

    Args:
        repository_dir: The repository, written by prep or not.
        target: The server that it is for; None leaves out what only a server decides.
        names: The entries to lint, each with what it calls; all of them, and what lies beside them, where None.
        digest_all: Digest every file that a manifest vouches for, also large ones that were not touched since.

    Raises:
        RepositoryMissingError: There is no such folder, or a named entry is not in it.
        RepositoryError: It cannot be read.
        SpecError: It is not a repository.
    """
    if not repository_dir.is_dir():
        raise RepositoryMissingError(f"there is no model repository {repository_dir}", hint=_MAKE_HINT)
    if not os.access(repository_dir, os.R_OK | os.X_OK):
        message = f"the folder {repository_dir} cannot be read: permission denied"
        raise RepositoryError(message, hint=f"chmod u+rx {repository_dir}")
    folders = [repository_dir / name for name in list_names(repository_dir) if is_entry(repository_dir / name)]
    check_is_repository(repository_dir, folders)
    unreadable = {folder.name: problem for folder in folders if (problem := find_unreadable_folder(folder)) is not None}
    folders = [folder for folder in folders if folder.name not in unreadable]
    tracked = [folder.name for folder in folders if has_only_config(folder)]
    entries = {folder.name: read_entry(folder) for folder in folders if folder.name not in tracked}
    _check_names(names or (), [*entries, *unreadable], repository_dir)
    repository = _Repository(repository_dir, entries, tracked, unreadable, target, digest_all)
    chosen = _choose_entries(entries, names)
    findings = [
        _unreadable_finding(name, folder) for name, folder in unreadable.items() if names is None or name in names
    ]
    findings += [*_find_problems_of_each(chosen, repository), *_find_common_problems(chosen, names, repository)]
    findings.sort(
        key=lambda finding: (finding.severity, finding.path, finding.line or 0, finding.code, finding.message)
    )
    return LintReport(
        repository=str(repository_dir),
        target=None if target is None else _describe_target(target),
        entries=tuple(entry.name for entry in chosen),
        findings=tuple(dict.fromkeys(findings)),
    )


def _check_names(names: Iterable[str], known: Sequence[str], repository_dir: Path) -> None:
    for name in names:
        if name not in known:
            otherwise = f"it has {', '.join(sorted(known))}" if known else _MAKE_HINT
            message = f"{repository_dir} has no entry '{name}'"
            raise RepositoryMissingError(message, hint=suggest(name, known, otherwise=otherwise))


def _unreadable_finding(name: str, folder: Path) -> Finding:
    message = f"the folder {folder} cannot be read: permission denied, and {name} was not linted"
    return make_finding("file-unreadable", name, message, f"chmod u+rx {folder}")


def _describe_target(target: Target) -> str:
    gpus = ", ".join(f"{name} ({capability})" for name, capability in target.gpus.items()) or "no GPU"
    return f"Triton {target.release.tag}, {gpus}, {target.platform}"


def _choose_entries(entries: Mapping[str, EntryFolder], names: Sequence[str] | None) -> list[EntryFolder]:
    """Return the named entries and what they call, by name; all of them where no names are given."""
    if names is None:
        return list(entries.values())
    chosen: list[str] = []
    waiting = [name for name in names if name in entries]
    while waiting:
        name = waiting.pop()
        if name in chosen:
            continue
        chosen.append(name)
        config = entries[name].config
        steps = config.ensemble_scheduling.step if config is not None else ()
        waiting += [step.model_name for step in steps if step.model_name in entries]
    return [entries[name] for name in sorted(chosen)]


def _find_problems_of_each(chosen: Iterable[EntryFolder], repository: _Repository) -> Iterator[Finding]:
    for entry in chosen:
        log.debug("linting %s", entry.folder)
        try:
            yield from _find_entry_problems(entry, repository)
        except OSError as err:
            message = f"a file of {entry.name} cannot be read, or went while it was: {err}"
            hint = "give read permission, or lint again when nothing writes"
            yield entry.on("file-unreadable", "", message, hint)


def _find_common_problems(
    chosen: Sequence[EntryFolder], names: Sequence[str] | None, repository: _Repository
) -> Iterator[Finding]:
    """Find what concerns several entries, or none; what lies beside the entries only where all were asked for."""
    if names is None:
        yield from find_top_problems(repository.folder)
        yield from find_case_problems(repository.entries)
        yield from find_unmade_problems(repository.folder, repository.entries)
        if not chosen and not repository.unreadable:
            hint = _EXAMPLES_HINT if repository.tracked else _MAKE_HINT
            yield make_finding("repository-empty", "", "the repository has no entry", hint)
        if repository.tracked:
            folders = f"{len(repository.tracked)} folders hold {CONFIG_NAME} alone, and no server loads them"
            more = f" and {len(repository.tracked) - 3} more" if len(repository.tracked) > 3 else ""
            message = f"{folders}: {', '.join(repository.tracked[:3])}{more}"
            yield make_finding("entry-unassembled", "", message, _EXAMPLES_HINT)
    yield from find_resource_problems(chosen)
    arguments = read_server_arguments(repository.folder)
    yield from find_server_argument_problems(chosen, arguments)
    yield from find_resource_count_problems(chosen, arguments)


def _find_entry_problems(entry: EntryFolder, repository: _Repository) -> Iterator[Finding]:
    yield from entry.problems
    yield from find_version_problems(entry)
    yield from find_file_problems(entry, repository.folder)
    yield from find_manifest_problems(entry, digest_all=repository.digest_all)
    if repository.target is not None:
        yield from find_target_problems(entry, repository.target, repository.entries)
        yield from find_openvino_target_problems(entry, repository.target)
    if entry.config is None:
        return
    yield from find_scheduling_problems(entry)
    yield from find_tensor_problems(entry)
    yield from find_batch_tensor_problems(entry)
    yield from find_sequence_problems(entry)
    yield from find_text_problems(entry, repository.entries)
    yield from find_named_file_problems(entry)
    if entry.config.HasField("ensemble_scheduling"):
        yield from find_ensemble_problems(entry, repository.entries)
        return
    yield from find_instance_problems(entry)
    yield from find_backend_problems(entry)
    yield from find_model_problems(entry)
    yield from find_openvino_problems(entry)
    yield from find_warmup_problems(entry)
    yield from find_vendored_problems(entry, repository.target)
