"""A config.pbtxt that was edited by hand, taken over into its entry's manifest."""

from pathlib import Path

from prep_triton.artifact import FileRecord, RepositoryEntry
from prep_triton.errors import RepositoryError
from prep_triton.files import digest_file, translate_os_errors
from prep_triton.layout import CONFIG_NAME
from prep_triton.manifest import load_manifest, save_manifest


def adopt_config(repository_dir: Path, name: str) -> RepositoryEntry:
    """Record the config.pbtxt of an entry as it is now, and that it was edited by hand.

    The entry keeps its key: it stays as it is until it is assembled with other choices.

    Raises:
        RepositoryError: There is no such entry, or lint finds an error in it.
    """
    from prep_triton.triton.config.parse import parse_config
    from prep_triton.triton.entries.load import EDITED, lock_repository
    from prep_triton.triton.lint import check_lint, lint_repository

    folder = repository_dir / name
    if not (folder / CONFIG_NAME).is_file():
        raise RepositoryError(f"{folder} has no {CONFIG_NAME}", hint=f"prep lint {repository_dir} lists the entries")
    with translate_os_errors(repository_dir, setting="--output"), lock_repository(repository_dir):
        report = lint_repository(repository_dir, None, [name])
        others = tuple(finding for finding in report.findings if finding.code != "config-edited")
        check_lint(report.model_copy(update={"findings": others}))
        try:
            entry = load_manifest(folder, RepositoryEntry)
        except (OSError, ValueError) as err:
            raise RepositoryError(f"{folder}: {err}", hint="write the entry again with prep assemble") from err
        path = folder / CONFIG_NAME
        record = FileRecord(size=path.stat().st_size, sha256=digest_file(path))
        if entry.files.get(CONFIG_NAME) == record:
            return entry
        adopted = entry.model_copy(
            update={
                "files": {**entry.files, CONFIG_NAME: record},
                "max_batch_size": parse_config(path.read_text(encoding="utf-8")).max_batch_size,
                "spec": {**entry.spec, EDITED: [CONFIG_NAME]},
            }
        )
        save_manifest(adopted, folder)
    return adopted
