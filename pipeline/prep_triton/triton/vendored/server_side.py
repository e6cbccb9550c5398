"""What an entry takes from `prep_triton.triton.inside_server`: the files that are copied, and nothing else of prep."""

import hashlib
import shutil
from pathlib import Path

from prep_triton.artifact import EntryKind
from prep_triton.layout import PYTHON_MODEL_NAME

INSIDE_SERVER = Path(__file__).parents[1] / "inside_server"
# The file that becomes model.py, and the package that it imports, of each kind of entry that runs our Python.
SERVER_PARTS: dict[EntryKind, tuple[str, str]] = {
    "tokenizer": ("tokenizer_model.py", "encode"),
    "postprocessor": ("postprocessor_model.py", "answer"),
}

# What a manifest's `tools` call the digest of these files.
SERVER_TOOL = "inside_server"


def list_server_files(kind: EntryKind) -> dict[str, Path]:
    """Return the files of a kind of entry: where each goes within the version folder, and where it is."""
    model, package = SERVER_PARTS[kind]
    modules = {f"{package}/{path.name}": path for path in sorted((INSIDE_SERVER / package).glob("*.py"))}
    return {PYTHON_MODEL_NAME: INSIDE_SERVER / model, **modules}


def copy_server_files(kind: EntryKind, version_dir: Path) -> None:
    """Copy the files of a kind of entry into its version folder."""
    for relative, source in list_server_files(kind).items():
        target = version_dir / relative
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(source, target)


def digest_server_files(kind: EntryKind) -> str:
    """Return a digest of what would be copied: the version of prep alone does not tell one checkout from another."""
    digest = hashlib.sha256()
    for relative, source in list_server_files(kind).items():
        digest.update(f"{relative}\0".encode() + source.read_bytes())
    return digest.hexdigest()[:16]
