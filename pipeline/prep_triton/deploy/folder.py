"""Writing a base into a folder: whole or not at all, and never over a file that somebody changed."""

import logging
from pathlib import Path

from prep_triton.deploy.base import KUSTOMIZATION_NAME, MARK, Base, is_unchanged
from prep_triton.errors import SpecError
from prep_triton.files import translate_os_errors
from prep_triton.scratch import locked_folder

log = logging.getLogger(__name__)


def save_base(base: Base, folder: Path, *, force: bool = False) -> list[Path]:
    """Write a base.

    Every file is written beside the old ones before the first of them is replaced; kustomization.yaml, which
    names the others, comes last. Files of an earlier base that this one does not have are removed.

    Args:
        base: What `plan_base` rendered.
        folder: Where to; made where it is missing.
        force: Replace files that prep did not write, or that were changed since.

    Returns:
        The paths that were written or were the same already.

    Raises:
        SpecError: A file there is not prep's, or was changed.
        WorkspaceError: The folder cannot be written.
        DiskFullError: The device is full; the old files are as they were.
    """
    with translate_os_errors(folder, setting="--output"):
        if not force:
            _check_ours(base, folder)
        stale = [path for path in _list_written(folder) if path.name not in base.files]
        folder.mkdir(parents=True, exist_ok=True)
        with locked_folder(folder, ".prep-deploy-") as staging:
            for name, text in base.files.items():
                (staging / name).write_text(text, encoding="utf-8")
            for name in sorted(base.files, key=lambda name: name == KUSTOMIZATION_NAME):
                (staging / name).replace(folder / name)
                log.debug("wrote %s", folder / name)
        for path in stale:
            path.unlink(missing_ok=True)
            log.info("%s belonged to the earlier base and was removed", path)
    return [folder / name for name in base.files]


def _check_ours(base: Base, folder: Path) -> None:
    for name in base.files:
        path = folder / name
        if not path.exists() and not path.is_symlink():
            continue
        text = _read(path)
        if text is not None and (is_unchanged(text) or text == base.files[name]):
            continue
        was = "was changed after prep wrote it" if text and text.startswith(MARK) else "was not written by prep"
        raise SpecError(
            f"{path} {was} and would be overwritten",
            hint="name another folder with --output and patch the base from an overlay, or add --force",
        )


def _list_written(folder: Path) -> list[Path]:
    """Return the files of an earlier base, as it wrote them."""
    if not folder.is_dir():
        return []
    paths = [path for path in sorted(folder.glob("*.yaml")) if path.is_file() and not path.is_symlink()]
    return [path for path in paths if (text := _read(path)) is not None and is_unchanged(text)]


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, IsADirectoryError, FileNotFoundError):
        return None
