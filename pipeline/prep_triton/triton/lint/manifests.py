"""Rules that compare an entry with its manifest, and the repository with server.args."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prep_triton.artifact import RepositoryEntry
from prep_triton.layout import CONFIG_NAME, MANIFEST_NAME, SERVER_ARGUMENTS_NAME
from prep_triton.manifest import describe_change, find_adopt_hint
from prep_triton.server_arguments import RESOURCE_ARGUMENT, describe_refused, find_refused, parse_server_arguments
from prep_triton.triton.config.server_arguments import (
    RATE_LIMIT,
    NeededArgument,
    list_needed_arguments,
    resource_limits,
)
from prep_triton.triton.lint.entry import EntryFolder
from prep_triton.triton.lint.finding import Finding, make_finding
from prep_triton.triton.lint.tree import is_readable_file

_AGAIN = "assemble the entry again"


def find_manifest_problems(entry: EntryFolder, *, digest_all: bool) -> Iterator[Finding]:
    """Compare an entry with its manifest."""
    manifest = entry.manifest
    if manifest is None:
        return
    if manifest.name != entry.name:
        message = f"the manifest is of '{manifest.name}', the folder is '{entry.name}'"
        yield entry.on("manifest-entry", MANIFEST_NAME, message, f"rename the folder to {manifest.name}, or {_AGAIN}")
    if manifest.kind == "model" and manifest.weights == "random":
        message = "its weights are random: it answers, and its answers mean nothing"
        yield entry.on("weights-random", MANIFEST_NAME, message, "export trained weights, but for a benchmark")
    yield from _find_file_problems(entry, manifest, digest_all=digest_all)
    if entry.config is None:
        return
    if entry.backend and entry.backend != manifest.runtime:
        message = f"the manifest is of a {manifest.runtime} entry, config.pbtxt of a {entry.backend} one"
        yield entry.at("manifest-entry", "backend", message, _AGAIN)
    if entry.config.max_batch_size != manifest.max_batch_size:
        message = f"max_batch_size is {entry.config.max_batch_size}, the manifest says {manifest.max_batch_size}"
        yield entry.at("manifest-batch-size", "max_batch_size", message, f"{_AGAIN} with that --max-batch-size")
    yield from _find_composition_problems(entry, manifest)


def _find_file_problems(entry: EntryFolder, manifest: RepositoryEntry, *, digest_all: bool) -> Iterator[Finding]:
    written_ns = (entry.folder / MANIFEST_NAME).stat().st_mtime_ns
    for relative, expected in sorted(manifest.files.items()):
        path = entry.folder / relative
        if ".." in Path(relative).parts or not path.is_relative_to(entry.folder):
            message = f"the manifest names '{relative}', which is not within the entry"
            yield entry.on("manifest-file", MANIFEST_NAME, message, _AGAIN)
            continue
        if not is_readable_file(path):
            message = f"{relative} is in the manifest and is {'not a readable file' if path.exists() else 'not there'}"
            yield entry.on("manifest-file", relative, message, _AGAIN)
            continue
        code = "config-edited" if relative == CONFIG_NAME else "manifest-file"
        if change := describe_change(path, expected, written_ns=written_ns, digest_all=digest_all):
            hint = find_adopt_hint(entry.folder) if relative == CONFIG_NAME else None
            yield entry.on(code, relative, f"{relative} {change}", hint or _AGAIN)


def _find_composition_problems(entry: EntryFolder, manifest: RepositoryEntry) -> Iterator[Finding]:
    config: Any = entry.config
    called = {step.model_name for step in config.ensemble_scheduling.step}
    if manifest.kind == "ensemble" and set(manifest.composes) != called:
        message = f"the manifest composes {', '.join(manifest.composes)}, the steps call {', '.join(sorted(called))}"
        yield entry.at("manifest-entry", "ensemble_scheduling", message, _AGAIN)


def read_server_arguments(repository_dir: Path) -> tuple[str, ...]:
    """Return the server's arguments, one a line; none where there is no such file."""
    path = repository_dir / SERVER_ARGUMENTS_NAME
    if not is_readable_file(path):
        return ()
    return parse_server_arguments(path.read_text(encoding="utf-8", errors="replace"))


def find_server_argument_problems(entries: Sequence[EntryFolder], arguments: Sequence[str]) -> Iterator[Finding]:
    """Find arguments that are refused, and what is without effect without an argument that server.args lacks."""
    for argument in find_refused(arguments):
        yield make_finding(
            "server-argument-refused", SERVER_ARGUMENTS_NAME, describe_refused(argument), "remove that line"
        )
    for entry in entries:
        needed = [] if entry.config is None else list_needed_arguments(entry.config)
        if entry.manifest is not None:
            needed += [NeededArgument("", (text,), text) for text in entry.manifest.server_arguments]
        reported: set[str] = set()
        for need in needed:
            if need.flag in reported or need.is_among(arguments):
                continue
            reported.add(need.flag)
            lacking = f"a server started with {need.text}, which {SERVER_ARGUMENTS_NAME} does not have"
            hint = f"add the line {need.text} to {SERVER_ARGUMENTS_NAME}"
            yield entry.at("server-arguments", need.field, f"{entry.name} needs {lacking}", hint)


def find_resource_count_problems(entries: Sequence[EntryFolder], arguments: Sequence[str]) -> Iterator[Finding]:
    """Find instances that need more of a resource than server.args gives (core, rate_limiter.cc, ResourceManager).

    Without any count the server has as much as the neediest instance takes; with one it has nothing of what is not
    named. The largest count of a name is its limit here: which devices there are is not known.
    """
    if RATE_LIMIT not in arguments:
        return  # the rate limiter is off, and counts nothing
    limits = resource_limits(arguments)
    for entry in entries:
        config: Any = entry.config
        for index, group in enumerate(config.instance_group if config is not None else ()):
            for resource in group.rate_limiter.resources if limits else ():
                limit = limits.get(resource.name, 0)
                if resource.count > limit:
                    message = (
                        f"an instance needs {resource.count} of the resource {resource.name}, and "
                        f"{SERVER_ARGUMENTS_NAME} gives {limit}: the server refuses the entry"
                    )
                    hint = f"write {RESOURCE_ARGUMENT}{resource.name}:{resource.count} into {SERVER_ARGUMENTS_NAME}"
                    yield entry.at("server-resource", f"instance_group[{index}].rate_limiter", message, hint)
