"""Which Python `scripts/bootstrap` takes, and what it says where there is none that it can use."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BOOTSTRAP = Path(__file__).parents[3] / "scripts" / "bootstrap"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout without requirements, and a PATH with the programs that a script needs but no Python."""
    for folder in ("scripts", "bin"):
        (tmp_path / folder).mkdir()
    shutil.copy(BOOTSTRAP, tmp_path / "scripts")
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
    for name in ("dirname", "sha256sum", "cut", "cat", "flock", "tail", "rm"):
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    return tmp_path


def add_python(checkout: Path, name: str, version: tuple[int, int], *, lacks: str = "") -> None:
    """Put a Python on PATH that says it has a version, and whose virtual environments are empty."""
    pretend = f'import sys; sys.version_info = {(*version, 0)}; sys.modules["{lacks}"] = None; exec(sys.argv[1])'
    script = f"""#!/bin/sh
if [ "$1" = -c ]; then exec {sys.executable} -c '{pretend}' "$2"; fi
if [ "$1" = --version ]; then echo "Python {version[0]}.{version[1]}"; fi
if [ "$1" = -m ]; then echo "{name}" "$2" >"{checkout}/taken"; exit 9; fi
"""
    path = checkout / "bin" / name
    path.write_text(script)
    path.chmod(0o755)


def run_bootstrap(checkout: Path) -> "subprocess.CompletedProcess[str]":
    command = ["/bin/bash", str(checkout / "scripts" / "bootstrap"), "dev"]
    environment = {"PATH": str(checkout / "bin")}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("pythons", "taken"),
    [
        ({"python3.11": (3, 11), "python3.12": (3, 12), "python3": (3, 13)}, "python3.11"),
        ({"python3.12": (3, 12), "python3.13": (3, 13)}, "python3.12"),
        ({"python3.12": (3, 9), "python3": (3, 12)}, "python3"),  # a shim that starts another one
    ],
)
def test_the_first_python_that_can_run_everything_is_taken(checkout: Path, pythons: dict, taken: str):
    for name, version in pythons.items():
        add_python(checkout, name, version)
    done = run_bootstrap(checkout)
    assert done.returncode == 9, done.stderr  # its `-m venv`
    assert (checkout / "taken").read_text() == f"{taken} venv\n"


def test_where_venv_has_no_pip_virtualenv_is_taken(checkout: Path):
    """As in Triton's image, which has Ubuntu's Python without python3-venv."""
    add_python(checkout, "python3.12", (3, 12), lacks="ensurepip")
    assert run_bootstrap(checkout).returncode == 9
    assert (checkout / "taken").read_text() == "python3.12 virtualenv\n"


@pytest.mark.parametrize("version", [(3, 10), (3, 13), (3, 14)])
def test_a_python_without_a_server_is_refused_in_a_sentence(checkout: Path, version: tuple[int, int]):
    add_python(checkout, "python3", version)
    add_python(checkout, "python3.13", version)
    done = run_bootstrap(checkout)
    assert done.returncode == 1
    error, hint = done.stderr.splitlines()
    assert error.startswith("error: Python 3.11 or 3.12, with venv, is needed")
    assert "pip install '.[export,cpu,engine]'" in hint
    assert not (checkout / "taken").exists()
