"""An environment with some distributions of this one alone: their real files, linked, and a Python of its own."""

import sysconfig
import tomllib
import venv
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path, PurePath
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

ROOT = Path(__file__).parents[2]
SITE = Path(sysconfig.get_path("purelib"))


def load_project() -> dict[str, Any]:
    """The `[project]` table of pyproject.toml: what is declared, whatever this environment was installed from."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project


def list_requirements(*extras: str) -> list[Requirement]:
    """What prep requires with extras, those of an extra that an extra names too."""
    project = load_project()
    texts = [*project["dependencies"], *(text for extra in extras for text in project["optional-dependencies"][extra])]
    listed: list[Requirement] = []
    for requirement in map(Requirement, texts):
        listed += list_requirements(*requirement.extras) if requirement.name == project["name"] else [requirement]
    return listed


def make_environment(folder: Path, requirements: Iterable[Requirement]) -> Path:
    """Make an environment with the requirements, what they require in turn, and the checkout's prep.

    Returns:
        Its `prep` command.
    """
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    by_name = list_installed()
    chosen = close_requirements({name: entry for name, entry in by_name.items() if name != "prep-triton"}, requirements)
    foreign = {parent for name in by_name.keys() - chosen for path in _files(by_name[name]) for parent in path.parents}
    for path in {_topmost(path, foreign) for name in chosen for path in _files(by_name[name])}:
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).symlink_to(SITE / path)
    (site / "checkout.pth").write_text(f"{ROOT / 'pipeline'}\n")
    for info in SITE.glob("prep_triton-*.dist-info"):  # its version
        (site / info.name).symlink_to(info)
    prep = folder / "bin" / "prep"
    prep.write_text(f"#!{folder / 'bin' / 'python'}\nfrom prep_triton.cli.main import main\n\nmain()\n")
    prep.chmod(0o755)
    return prep


def list_installed() -> dict[NormalizedName, Distribution]:
    """The distributions of this environment."""
    return {canonicalize_name(entry.metadata["Name"]): entry for entry in distributions(path=[str(SITE)])}


def close_requirements(
    by_name: dict[NormalizedName, Distribution], requirements: Iterable[Requirement]
) -> set[NormalizedName]:
    """The installed distributions that the requirements come to."""
    queue, seen = list(requirements), set[tuple[NormalizedName, str]]()
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras}:
            if name in by_name and (name, extra) not in seen:
                seen.add((name, extra))
                needed = [Requirement(text) for text in by_name[name].requires or ()]
                queue += [item for item in needed if not item.marker or item.marker.evaluate({"extra": extra})]
    return {name for name, _ in seen}


def _files(distribution: Distribution) -> list[PurePath]:
    return [path for path in distribution.files or () if ".." not in path.parts and "__pycache__" not in path.parts]


def _topmost(path: PurePath, foreign: set[PurePath]) -> PurePath:
    """The outermost folder of a file in which nothing is foreign, else the file itself."""
    folders = [PurePath(*path.parts[:depth]) for depth in range(1, len(path.parts) + 1)]
    return next(folder for folder in folders if folder not in foreign)
