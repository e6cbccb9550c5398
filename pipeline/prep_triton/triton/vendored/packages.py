"""The package `tokenizers` inside an entry, for a server image that does not have it."""

import importlib.metadata
import re
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from prep_triton.artifact import VendoredRecord
from prep_triton.errors import RepositoryError

PACKAGE = "tokenizers"
PLATFORMS = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}

_TAG = re.compile(r"cp3([0-9]+)-abi3-manylinux\w*_(x86_64|aarch64)")
# What it is, for which Python, under which licence; the rest of the metadata describes an installation.
_KEPT_METADATA = re.compile(r"METADATA|WHEEL|(licenses/.*)?(LICEN[CS]E|NOTICE|COPYING)[^/]*", re.IGNORECASE)
# Not imported by the package itself: types for editors, a notebook's visualiser.
_LEFT_OUT = (f"{PACKAGE}/tools/",)


def describe_tokenizers() -> VendoredRecord:
    """Return what would be copied, from the installed package's metadata alone.

    Raises:
        RepositoryError: It was not built for Linux on a processor that Triton's images exist for, or for one
            Python version alone.
    """
    distribution = importlib.metadata.distribution(PACKAGE)
    tags = re.findall(r"^Tag: (\S+)", distribution.read_text("WHEEL") or "", re.MULTILINE)
    tag = next((match for text in tags if (match := _TAG.fullmatch(text))), None)
    if tag is None:
        raise RepositoryError(
            f"the installed {PACKAGE} {distribution.version} is built for {', '.join(tags) or 'this machine alone'}; "
            "Triton's image needs one for manylinux and Python's stable ABI (cp3X-abi3)",
            hint=f"pip install --force-reinstall --only-binary {PACKAGE} {PACKAGE} on Linux, and assemble there",
        )
    return VendoredRecord(
        package=PACKAGE, version=distribution.version, python=f"3.{tag[1]}", platform=PLATFORMS[tag[2]]
    )


def copy_tokenizers(folder: Path) -> None:
    """Copy the installed package into a folder: its modules, its library, its licence and its wheel's tags.

    Raises:
        RepositoryError: A file of the installation is missing, or nothing says which are its files.
    """
    files = dict(list_package_files())
    missing = [str(source) for source in files.values() if not source.is_file()]
    if not any(relative.suffix == ".so" for relative in files):
        missing.append("its library")
    if missing:
        raise RepositoryError(
            f"the installed {PACKAGE} is incomplete: {', '.join(missing)} is missing",
            hint=f"pip install --force-reinstall {PACKAGE}",
        )
    for relative, source in files.items():
        target = folder / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def list_package_files() -> Iterator[tuple[PurePosixPath, Path]]:
    """Yield what is copied of the installed package: where each file goes, and where it is."""
    for file in importlib.metadata.distribution(PACKAGE).files or ():
        top, _, rest = file.as_posix().partition("/")
        is_module = top == PACKAGE and file.suffix in (".py", ".so") and not file.as_posix().startswith(_LEFT_OUT)
        if is_module or (top.endswith(".dist-info") and _KEPT_METADATA.fullmatch(rest)):
            yield PurePosixPath(file), Path(str(file.locate()))
