"""A repository as a server of our own is given it: nothing that the server's code writes reaches the repository."""

import os
import shutil
from pathlib import Path

from prep_triton.layout import CACHE_DIRS, is_graph_file

# Larger files, which are weights and not code, are linked instead of copied.
COPY_LIMIT_BYTES = 64 << 20


def lay_out_repository(repository: Path, alias: Path) -> str:
    """Make a folder that a server loads instead of a repository, and return its path.

    Entries without Python code are linked. Those with some are copied: WAR(triton 2.51): the stub of the Python
    backend ignores PYTHONDONTWRITEBYTECODE and leaves ``__pycache__`` beside model.py.

    WAR(triton 2.51): the Python backend also hands its stub the path unquoted: where there is a space in it, the
    stub ends with ``what(): stol``, and the load hangs. The new path has none.
    """
    alias.mkdir()
    for path in sorted(repository.iterdir()):
        if path.is_dir():
            _lay_out_entry(path, alias / path.name)
    return str(alias)


def _lay_out_entry(entry: Path, target: Path) -> None:
    if any(name.endswith(".py") for _, _, names in os.walk(entry) for name in names) or _has_linked_folder(entry):
        _copy_tree(entry, target, above=())
    else:
        target.symlink_to(entry, target_is_directory=True)


def _has_linked_folder(entry: Path) -> bool:
    return any(path.is_symlink() and path.is_dir() for path in entry.iterdir())


def _copy_tree(source: Path, target: Path, *, above: tuple[Path, ...]) -> None:
    """Copy a folder; what is large or no readable file, and a folder that lies within itself, is linked.

    So is a graph of any size: ONNX Runtime looks for weights beside it where the graph really lies, or refuses them.
    """
    real = source.resolve()
    target.mkdir()
    for path in sorted(source.iterdir()):
        if path.name in CACHE_DIRS:
            continue
        if path.is_dir() and path.resolve() not in (real, *above):
            _copy_tree(path, target / path.name, above=(real, *above))
        elif _is_copied(path):
            shutil.copyfile(path, target / path.name)
            shutil.copymode(path, target / path.name)
        else:
            (target / path.name).symlink_to(path)


def _is_copied(path: Path) -> bool:
    is_small = path.is_file() and path.stat().st_size <= COPY_LIMIT_BYTES
    return is_small and os.access(path, os.R_OK) and not is_graph_file(path.name)
