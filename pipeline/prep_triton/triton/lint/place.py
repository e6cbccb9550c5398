"""Whether a folder is a model repository at all: of one that is none, every folder would be a broken entry."""

from collections.abc import Sequence
from pathlib import Path

from prep_triton.errors import SpecError
from prep_triton.layout import CONFIG_NAME, MANIFEST_NAME, list_names

# Fewer folders may each be an entry that somebody only began.
_FEWEST_FOLDERS = 3
# Of a repository, most folders are entries; of a home or a project, perhaps a few look like one.
_LEAST_SHARE = 0.1


def check_is_repository(repository_dir: Path, folders: Sequence[Path]) -> None:
    """Refuse a folder that is no repository; `folders` are those in it that would be entries.

    Raises:
        SpecError: It is an entry itself, or next to none of its folders looks like an entry.
    """
    if _has_config(repository_dir) and not any(map(_has_config, folders)):
        where, name = repository_dir.absolute().parent, repository_dir.absolute().name
        raise SpecError(
            f"{repository_dir} is an entry, not a repository: it holds {CONFIG_NAME} itself",
            hint=f"lint it in its repository: prep lint {where} --entry {name}",
        )
    count = sum(map(_looks_like_entry, folders))
    if len(folders) < _FEWEST_FOLDERS or count >= len(folders) * _LEAST_SHARE:
        return
    within = next((folder for folder in folders if _is_repository(folder)), None)
    raise SpecError(
        f"{repository_dir} is not a model repository: {count or 'none'} of its {len(folders)} folders "
        f"{'has' if count < 2 else 'have'} a {CONFIG_NAME} or a version folder",
        hint=f"prep lint {within}" if within else "name the folder that holds the entries; prep assemble writes one",
    )


def _is_repository(folder: Path) -> bool:
    try:
        return any(_looks_like_entry(folder / name) for name in list_names(folder))
    except OSError:
        return False


def _has_config(folder: Path) -> bool:
    try:
        return (folder / CONFIG_NAME).is_file()
    except OSError:
        return False


def _looks_like_entry(folder: Path) -> bool:
    try:
        names = list_names(folder) if folder.is_dir() else []
    except OSError:
        return True  # a folder that cannot be read may be one
    return CONFIG_NAME in names or MANIFEST_NAME in names or any(name.isdecimal() for name in names)
