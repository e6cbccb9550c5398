"""Runs every rule over a repository."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from prep_triton.errors import RepositoryError
from prep_triton.layout import CONFIG_NAME
from prep_triton.target import Target
from prep_triton.triton.lint.ensembles import find_ensemble_problems
from prep_triton.triton.lint.entry import EntryFolder, list_names, read_entry
from prep_triton.triton.lint.finding import Finding, LintReport, make_finding
from prep_triton.triton.lint.instances import find_backend_problems, find_instance_problems, find_resource_problems
from prep_triton.triton.lint.manifests import (
    find_manifest_problems,
    find_server_argument_problems,
    read_server_arguments,
)
from prep_triton.triton.lint.models import find_model_problems
from prep_triton.triton.lint.scheduling import find_scheduling_problems
from prep_triton.triton.lint.targets import find_target_problems
from prep_triton.triton.lint.tensors import find_tensor_problems
from prep_triton.triton.lint.text_parts import find_text_problems
from prep_triton.triton.lint.tree import (
    find_file_problems,
    find_name_clashes,
    find_top_problems,
    find_version_problems,
    is_entry,
)
from prep_triton.triton.lint.vendored import find_vendored_problems
from prep_triton.triton.lint.warmups import find_warmup_problems


def lint_repository(
    repository_dir: Path,
    target: Target | None = None,
    names: Sequence[str] | None = None,
    *,
    digest_all: bool = False,
) -> LintReport:
    """Judge a Triton model repository offline; reads only, and changes nothing.

    Args:
        repository_dir: The repository, written by prep or not.
        target: The server that it is for; None leaves out what only a server decides.
        names: The entries to judge, each with what it calls; all of them, and what lies beside them, where None.
        digest_all: Digest every file that a manifest vouches for, also large ones that were not touched since.

    Raises:
        RepositoryError: There is no such folder.
    """
    if not repository_dir.is_dir():
        raise RepositoryError(
            f"there is no model repository {repository_dir}", hint="make one with prep assemble or prep run"
        )
    folders = [repository_dir / name for name in list_names(repository_dir) if is_entry(repository_dir / name)]
    tracked = [folder.name for folder in folders if list_names(folder) == [CONFIG_NAME]]
    entries = {folder.name: read_entry(folder) for folder in folders if folder.name not in tracked}
    chosen = _choose(entries, names)
    found: list[Finding] = []
    for entry in chosen:
        try:
            found += _judge_entry(entry, entries, repository_dir, target, digest_all)
        except OSError as err:
            message = f"a file of {entry.name} cannot be read, or went while it was: {err}"
            found.append(
                entry.on("file-unreadable", "", message, "give read permission, or lint again when nothing writes")
            )
    found += _judge_together(repository_dir, chosen, names)
    if names is None and tracked:
        message = f"{len(tracked)} folders hold config.pbtxt alone, and no server loads them: {', '.join(tracked)}"
        found.append(make_finding("entry-unassembled", "", message, "assemble them, or point Triton at a release"))
    found.sort(key=lambda finding: (finding.severity, finding.path, finding.line or 0, finding.code, finding.message))
    described = None
    if target is not None:
        gpus = ", ".join(f"{name} ({capability})" for name, capability in target.gpus.items()) or "no GPU"
        described = f"Triton {target.release.tag}, {gpus}, {target.platform}"
    return LintReport(
        repository=repository_dir,
        target=described,
        entries=tuple(entry.name for entry in chosen),
        findings=tuple(dict.fromkeys(found)),
    )


def _choose(entries: Mapping[str, EntryFolder], names: Sequence[str] | None) -> list[EntryFolder]:
    if names is None:
        return list(entries.values())
    wanted: list[str] = []
    waiting = [name for name in names if name in entries]
    while waiting:
        name = waiting.pop()
        if name in wanted:
            continue
        wanted.append(name)
        config = entries[name].config
        steps = config.ensemble_scheduling.step if config is not None else ()
        waiting += [step.model_name for step in steps if step.model_name in entries]
    return [entries[name] for name in sorted(wanted)]


def _judge_together(
    repository_dir: Path, chosen: Sequence[EntryFolder], names: Sequence[str] | None
) -> Iterator[Finding]:
    hint = "make one with prep assemble or prep run"
    if names is None:
        yield from find_top_problems(repository_dir)
        if not chosen:
            yield make_finding("repository-empty", "", "the repository has no entry", hint)
    for name in sorted(set(names or ()) - {entry.name for entry in chosen}):
        yield make_finding("entry-missing", name, f"there is no entry '{name}'", hint)
    yield from find_name_clashes(chosen)
    yield from find_resource_problems(chosen)
    yield from find_server_argument_problems(chosen, read_server_arguments(repository_dir))


def _judge_entry(
    entry: EntryFolder,
    entries: Mapping[str, EntryFolder],
    repository_dir: Path,
    target: Target | None,
    digest_all: bool,  # noqa: FBT001 - internal
) -> Iterator[Finding]:
    yield from entry.problems
    yield from find_version_problems(entry)
    yield from find_file_problems(entry, repository_dir)
    yield from find_manifest_problems(entry, digest_all=digest_all)
    if target is not None:
        yield from find_target_problems(entry, target)
    if entry.config is None:
        return
    yield from find_scheduling_problems(entry)
    yield from find_tensor_problems(entry)
    yield from find_text_problems(entry, entries)
    if entry.config.HasField("ensemble_scheduling"):
        yield from find_ensemble_problems(entry, entries)
        return
    yield from find_instance_problems(entry)
    yield from find_backend_problems(entry)
    yield from find_model_problems(entry)
    yield from find_warmup_problems(entry)
    yield from find_vendored_problems(entry, target)
