"""A config.pbtxt that was edited by hand, taken over into its entry's manifest."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prep_triton.artifact import FileRecord, RepositoryEntry
from prep_triton.errors import RepositoryError, RepositoryMissingError
from prep_triton.files import digest_file, translate_os_errors
from prep_triton.layout import CONFIG_NAME, SERVER_ARGUMENTS_NAME
from prep_triton.manifest import load_manifest, save_manifest
from prep_triton.target import EDITED_INSTANCES

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

log = logging.getLogger(__name__)

# What lint finds between entries: a resource that is each device's here and the whole server's there.
_SHARED_CODES = ("rate-limiter-resource",)


def adopt_config(repository_dir: Path, name: str) -> RepositoryEntry:
    """Record the config.pbtxt of an entry as it is now, and that it was edited by hand.

    What it needs of the server, and what was written into ``server.args`` by hand, becomes the entry's own and is in
    ``server.args`` afterwards. The entry keeps its key: it stays as it is until it is assembled with other choices.

    Raises:
        RepositoryMissingError: There is no such entry.
        RepositoryError: Lint finds an error in it.
    """
    from prep_triton.triton.config import decode_config, parse_config
    from prep_triton.triton.entries.edits import EDITED
    from prep_triton.triton.entries.load import lock_repository
    from prep_triton.triton.entries.server_arguments import write_server_arguments

    folder = repository_dir / name
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise RepositoryMissingError(
            f"{folder} has no {CONFIG_NAME}", hint=f"prep lint {repository_dir} lists the entries"
        )
    with translate_os_errors(repository_dir, setting="--output"), lock_repository(repository_dir):
        _check(repository_dir, name)
        try:
            entry = load_manifest(folder, RepositoryEntry)
        except (OSError, ValueError) as err:
            raise RepositoryError(f"{folder}: {err}", hint="write the entry again with prep assemble") from err
        config = parse_config(decode_config(path.read_bytes()), where=str(path))
        arguments = _list_arguments(repository_dir, entry, config)
        record = FileRecord(size=path.stat().st_size, sha256=digest_file(path))
        if entry.files.get(CONFIG_NAME) == record and entry.server_arguments == arguments:
            return entry
        adopted = entry.model_copy(
            update={
                "files": {**entry.files, CONFIG_NAME: record},
                "max_batch_size": config.max_batch_size,
                "server_arguments": arguments,
                "spec": {**entry.spec, EDITED: [CONFIG_NAME], EDITED_INSTANCES: _list_instances(config)},
            }
        )
        save_manifest(adopted, folder)
        merged = write_server_arguments(repository_dir)
    if arguments != entry.server_arguments:
        log.info("%s now holds: %s", SERVER_ARGUMENTS_NAME, " ".join(merged) or "nothing")
    return adopted


def discard_edits(repository_dir: Path, name: str) -> None:
    """Give up what was edited by hand in an entry and in those that serve its text; a copy stays beside the entries."""
    from prep_triton.triton.entries.edits import discard_edit
    from prep_triton.triton.entries.load import list_entries, lock_repository

    if not repository_dir.is_dir():
        return
    names = {name, *(entry.name for entry in list_entries(repository_dir) if entry.serves == name)}
    with translate_os_errors(repository_dir, setting="--output"), lock_repository(repository_dir):
        for edited in sorted(names):
            discard_edit(repository_dir / edited)


def _check(repository_dir: Path, name: str) -> None:
    """Refuse an edit in which lint finds an error, also one beside other entries; that it is an edit is none."""
    from prep_triton.triton.lint import check_lint, lint_repository

    report = lint_repository(repository_dir, None, [name])
    shared = [finding for finding in lint_repository(repository_dir).findings if finding.code in _SHARED_CODES]
    findings = dict.fromkeys([*report.findings, *shared])
    others = tuple(finding for finding in findings if finding.code != "config-edited")
    check_lint(report.model_copy(update={"findings": others}))


def _list_instances(config: "ModelConfig") -> list[dict[str, Any]]:
    """Return the instance groups of a configuration, in the words of the serving choices."""
    from tritonclient.grpc.model_config_pb2 import ModelInstanceGroup

    words = {ModelInstanceGroup.KIND_GPU: "gpu", ModelInstanceGroup.KIND_CPU: "cpu"}
    return [
        {"count": max(1, group.count), "kind": words.get(group.kind), "gpus": list(group.gpus)}
        for group in config.instance_group
    ]


def _list_arguments(repository_dir: Path, entry: RepositoryEntry, config: "ModelConfig") -> tuple[str, ...]:
    """Return what the edited entry needs of the server: its configuration's, and what no entry asked for so far."""
    from prep_triton.server_arguments import find_refused, merge_server_arguments
    from prep_triton.triton.config.server_arguments import CACHE, RATE_LIMIT, list_needed_arguments
    from prep_triton.triton.entries.load import list_entries
    from prep_triton.triton.lint.manifests import read_server_arguments

    needed = list_needed_arguments(config)
    others = {
        argument
        for other in list_entries(repository_dir)
        if other.name != entry.name
        for argument in other.server_arguments
    }
    written = read_server_arguments(repository_dir)
    refused = find_refused(written)
    by_hand = [text for text in written if text not in {*others, *refused, CACHE, RATE_LIMIT}]
    return merge_server_arguments([*by_hand, *(argument.text for argument in needed if not argument.is_among(by_hand))])
