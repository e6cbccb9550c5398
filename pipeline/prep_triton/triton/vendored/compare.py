"""Whether the code in an entry is what this prep would copy into it, by the digests in the entry's manifest."""

import importlib.metadata
from collections.abc import Iterator

from prep_triton.artifact import RepositoryEntry
from prep_triton.files import digest_file
from prep_triton.triton.vendored.packages import PACKAGE, list_package_files
from prep_triton.triton.vendored.server_side import SERVER_PARTS, SERVER_TOOL, digest_server_files, list_server_files

# What Python imports; an entry's other files are data.
_CODE = (".py", ".pyc", ".so")


def describe_other_version(entry: RepositoryEntry) -> str:
    """Say which prep assembled an entry whose code this one does not have; empty where it is this one's, or none."""
    if entry.kind not in SERVER_PARTS or entry.tools.get(SERVER_TOOL) == digest_server_files(entry.kind):
        return ""
    theirs, ours = entry.tools.get("prep-triton", "of an unknown version"), importlib.metadata.version("prep-triton")
    return f"prep {theirs}, and this is {'another build of it' if theirs == ours else f'prep {ours}'}"


def find_edited_code(entry: RepositoryEntry) -> Iterator[tuple[str, str]]:
    """Yield the files of an entry that are not what this prep copied there, each with what became of it.

    Only for an entry of this prep's own code (`describe_other_version`). Its package is compared where the same
    version of it is installed.
    """
    if entry.kind not in SERVER_PARTS:
        return
    sources = dict(list_server_files(entry.kind))
    record, is_compared = entry.vendored, False
    if record and record.package == PACKAGE and record.version == importlib.metadata.version(PACKAGE):
        sources |= {relative.as_posix(): path for relative, path in list_package_files() if path.is_file()}
        is_compared = True
    foreign = f"{record.package}/" if record and not is_compared else None
    for folder in sorted({name.partition("/")[0] for name in entry.files if "/" in name}):
        present = {name.partition("/")[2]: file for name, file in entry.files.items() if name.startswith(f"{folder}/")}
        for relative, source in sources.items():
            if relative not in present:
                yield f"{folder}/{relative}", "is missing"
            elif present[relative].sha256 != digest_file(source):
                yield f"{folder}/{relative}", "was edited"
        for relative in sorted(present.keys() - sources.keys()):
            if relative.endswith(_CODE) and not (foreign and relative.startswith(foreign)):
                yield f"{folder}/{relative}", "was added"
