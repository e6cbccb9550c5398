"""Entries of a repository that its pipeline file no longer makes: a variant left the file, and its entry stays."""

import json
import logging
from collections.abc import Collection, Iterator
from pathlib import Path

from prep_triton.errors import PrepError
from prep_triton.files import load_json, write_atomically
from prep_triton.layout import MANIFEST_NAME, RUN_ENTRIES_NAME
from prep_triton.run.names import names_of_entries
from prep_triton.run.resolve import ResolvedRun

log = logging.getLogger(__name__)


def record_made_entries(run: ResolvedRun) -> list[str]:
    """Write beside the entries which of them the pipeline file makes, for lint; warn of the others.

    Returns:
        The names of the assembled entries that it does not make, in order.
    """
    names = {name for model in (*run.spec.models, *run.others) for name in names_of_entries(model)}
    path = run.repository_dir / RUN_ENTRIES_NAME
    content = json.dumps({"entries": sorted(names)}, indent=2).encode() + b"\n"
    if not path.is_file() or path.read_bytes() != content:
        write_atomically(path, content)
    others = sorted(_find_others(run.repository_dir, names))
    if others:
        log.warning(
            "%s also holds %s, which this file does not make: no release of this run has them, `prep publish` would "
            "publish them; to remove them: rm -r %s",
            run.repository_dir,
            ", ".join(others),
            " ".join(str(run.repository_dir / name) for name in others),
        )
    return others


def _find_others(repository_dir: Path, names: Collection[str]) -> Iterator[str]:
    """Yield the assembled entries that neither have one of the names nor serve the text of one that has."""
    for path in repository_dir.glob(f"[!.]*/{MANIFEST_NAME}"):
        try:
            manifest = load_json(path)
        except (OSError, ValueError, PrepError):  # lint says what is wrong with it
            continue
        if path.parent.name not in names and manifest.get("serves") not in names:
            yield path.parent.name
