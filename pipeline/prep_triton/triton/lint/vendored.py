"""Vendored code: ours by its digests, libraries by what their files say of themselves (ELF, Python's tag)."""

import re
import struct
from collections.abc import Iterator
from pathlib import Path

from prep_triton.layout import MANIFEST_NAME, walk_entry
from prep_triton.target import Target
from prep_triton.triton.lint.entry import EntryFolder
from prep_triton.triton.lint.finding import Finding
from prep_triton.triton.lint.tree import is_readable_file
from prep_triton.triton.vendored.compare import describe_other_version, find_edited_code

_MACHINES = {62: "linux/amd64", 183: "linux/arm64"}  # e_machine: EM_X86_64, EM_AARCH64 (elf.h)
_LIBRARY = re.compile(r"\.so(\.[0-9]+)*\Z")
_PYTHON_TAG = re.compile(r"\.cpython-([0-9])([0-9]+)[a-z]?[-.]")
_INSTALL = "assemble on a machine of that platform, with a package of the stable ABI (abi3)"


def find_vendored_problems(entry: EntryFolder, target: Target | None) -> Iterator[Finding]:
    """Find what is wrong with the shared libraries inside a Python entry."""
    if entry.backend != "python":
        return
    yield from _find_other_code(entry)
    record = entry.manifest.vendored if entry.manifest else None
    # Whether the record fits the target follows from the record: see `prep_triton.target.find_misfits`.
    platform = record.platform if record else target.platform if target else None
    for path in walk_entry(entry.folder):
        if not _LIBRARY.search(path.name) or not is_readable_file(path):
            continue
        relative = path.relative_to(entry.folder).as_posix()
        built_for = _read_platform(path)
        if built_for is None:
            yield entry.on("vendored-damaged", relative, f"{relative} is not an ELF library, or is truncated", _INSTALL)
        elif platform is not None and built_for != platform:
            message = f"{relative} is for {built_for}, expected {platform}"
            yield entry.on("vendored-platform", relative, message, _INSTALL)
        yield from _find_tag_problems(entry, path, relative, target)
    yield from _find_missing_package(entry)


def _find_other_code(entry: EntryFolder) -> Iterator[Finding]:
    """Find code that is not what this prep copies into such an entry.

    By the manifest's digests: that the files are those of the manifest is another rule.
    """
    if entry.manifest is None:
        return
    again = f"assemble {entry.manifest.serves or entry.name} again with --text"
    if other := describe_other_version(entry.manifest):
        message = f"{entry.name} was assembled by {other}: its code is not compared with what prep vendors"
        yield entry.on("vendored-version", MANIFEST_NAME, message, again)
        return
    for relative, change in find_edited_code(entry.manifest):
        message = f"{relative} {change}: it is not what prep vendors, and runs in the server"
        yield entry.on("vendored-edited", relative, message, f"read it, or {again}")


def _read_platform(path: Path) -> str | None:
    """Return what an ELF file was built for; None where it is none or shorter than it says."""
    with path.open("rb") as stream:
        header = stream.read(64)
    if len(header) < 64 or header[:4] != b"\x7fELF" or header[4] != 2 or header[5] != 1:
        return None
    machine: int = struct.unpack_from("<H", header, 18)[0]
    # The section headers are the last thing in the file: e_shoff, e_shentsize, e_shnum.
    offset, size, count = (*struct.unpack_from("<Q", header, 40), *struct.unpack_from("<HH", header, 58))
    if path.stat().st_size < offset + size * count:
        return None
    return _MACHINES.get(machine, f"machine {machine}")


def _find_tag_problems(entry: EntryFolder, path: Path, relative: str, target: Target | None) -> Iterator[Finding]:
    tag = _PYTHON_TAG.search(path.name)
    if tag is None or target is None:
        return
    version = f"{tag[1]}.{tag[2]}"
    if version != target.release.python:
        message = (
            f"{relative} is for Python {version} alone, and Triton {target.release.tag} has {target.release.python}"
        )
        yield entry.on("vendored-python", relative, message, _INSTALL)


def _find_missing_package(entry: EntryFolder) -> Iterator[Finding]:
    record = entry.manifest.vendored if entry.manifest else None
    if record is None:
        return
    for version in entry.served_versions:
        if not (entry.folder / str(version) / record.package).is_dir():
            message = f"the package {record.package} {record.version} is not in version {version}, as the manifest says"
            yield entry.on("file-missing", f"{version}/{record.package}", message, "assemble the entry again")
