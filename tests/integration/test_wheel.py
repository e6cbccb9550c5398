"""The wheel holds one package, whole, and works where there is no checkout, beside a user's own `pipeline/`."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import prep_triton
import pytest

from tests.fakes.bert_checkpoint import write_checkpoint

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE")
NOT_SHIPPED = shutil.ignore_patterns("__pycache__", "*.egg-info")


def run(*command: object, cwd: Path, **environment: str) -> str:
    """Run a command to its end and return what it printed; fail with what it wrote to stderr."""
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy: a checkout's own build/lib may hold modules that are gone."""
    checkout, built = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("built")
    shutil.copytree(ROOT / "pipeline", checkout / "pipeline", ignore=NOT_SHIPPED)
    for name in SOURCES:
        shutil.copy(ROOT / name, checkout)
    # Offline where setuptools is installed; elsewhere pip fetches it.
    isolation = [] if importlib.util.find_spec("setuptools") is None else ["--no-build-isolation"]
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", *isolation, "--wheel-dir", built, ".", cwd=checkout)
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into a folder of its own, which goes before the editable install of the checkout."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", folder, wheel]
    run(*pip, cwd=folder)
    return folder


@pytest.fixture
def user(installed: Path, tmp_path: Path) -> Path:
    """A user's folder, on whose path is a package called pipeline."""
    own = tmp_path / "project" / "pipeline"
    own.mkdir(parents=True)
    (own / "__init__.py").write_text("OWNER = 'the user'\n")
    return own.parent


def test_the_wheel_holds_one_package_with_every_file_of_it(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if ".dist-info/" not in name}
    package = ROOT / "pipeline" / "prep_triton"
    files = {f"prep_triton/{path.relative_to(package)}" for path in package.rglob("*") if path.is_file()}
    assert shipped == {name for name in files if "__pycache__" not in name}


def test_a_registry_shows_no_link_that_leads_nowhere(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = archive.read(name).decode()
    assert "Description-Content-Type: text/markdown" in metadata
    assert re.findall(r"\]\((?!https?:)[^)]+\)", metadata) == []


def test_a_users_own_pipeline_stays_theirs(installed: Path, user: Path):
    code = "import pipeline, prep_triton; print(pipeline.OWNER, prep_triton.__file__, sep='|')"
    owner, _, path = run(sys.executable, "-c", code, cwd=user, PYTHONPATH=str(installed)).strip().partition("|")
    assert owner == "the user"
    assert Path(path).is_relative_to(installed)


def test_the_command_serves_a_model_without_the_checkout(installed: Path, user: Path):
    prep, path = installed / "bin" / "prep", f"{installed}{os.pathsep}{user}"
    assert prep_triton.__version__ in run(prep, "--version", cwd=user, PYTHONPATH=path)
    write_checkpoint(user / "tiny")
    run(prep, "export", "./tiny", cwd=user, PYTHONPATH=path)
    run(prep, "assemble", "tiny", "--text", cwd=user, PYTHONPATH=path)
    report = json.loads(run(prep, "lint", "build/model_repository", "--json", cwd=user, PYTHONPATH=path))
    assert report["errors"] == 0
    assert len(report["entries"]) == 4
    assert (user / "build/model_repository" / "tiny-onnx-fp32-tokenizer" / "1" / "model.py").is_file()
