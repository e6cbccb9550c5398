"""The locks: what pyproject.toml requires, in the versions of constraints.txt, and hashes."""

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.fakes.bare_environment import SITE, close_requirements, list_installed, list_requirements

ROOT = Path(__file__).parents[3]
LOCKS = {"bare": (), "full": ("quickstart", "dev")}
PYTHONS = ("3.11", "3.12", "3.13")
# Installed before a lock, in the build that the machine wants.
TORCH = "torch"


def read_pins(path: Path) -> list[Requirement]:
    """The requirements of a requirements file, without hashes and comments."""
    lines = path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    return [Requirement(line.split("--hash")[0].strip()) for line in lines if line.strip() and line[0] != "#"]


def versions_on(python: str, pins: list[Requirement]) -> dict[str, str]:
    """The version of each distribution that is installed on Linux with a Python."""
    machine = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    machine |= {"platform_machine": "x86_64", "implementation_name": "cpython"}
    fitting = [pin for pin in pins if not pin.marker or pin.marker.evaluate(machine)]
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in fitting}


CASES = [(lock, python) for lock in LOCKS for python in PYTHONS]


@pytest.mark.parametrize(("lock", "python"), CASES)
def test_a_lock_has_the_versions_of_the_constraints(lock: str, python: str):
    constraints = versions_on(python, read_pins(ROOT / "constraints.txt"))
    locked = versions_on(python, read_pins(ROOT / "locks" / f"{lock}.txt"))
    assert locked
    assert {name: version for name, version in locked.items() if constraints.get(name) != version} == {}


@pytest.mark.parametrize(("lock", "python"), CASES)
def test_a_lock_has_all_that_pyproject_requires(lock: str, python: str):
    locked = versions_on(python, read_pins(ROOT / "locks" / f"{lock}.txt"))
    for requirement in list_requirements(*LOCKS[lock]):
        name = canonicalize_name(requirement.name)
        if name != TORCH and name in versions_on(python, [requirement]):
            assert locked.get(name, "0") in requirement.specifier, f"{requirement}: run scripts/lock"


def test_no_pin_of_the_constraints_is_left_over():
    locked = {name for python in PYTHONS for name in versions_on(python, read_pins(ROOT / "locks" / "full.txt"))}
    with_torch = locked | close_requirements(list_installed(), [Requirement(TORCH)])
    assert {canonicalize_name(pin.name) for pin in read_pins(ROOT / "constraints.txt")} - with_torch == set()


@pytest.mark.parametrize("lock", LOCKS)
def test_every_file_of_a_lock_is_known_by_its_hash_alone(lock: str):
    text = (ROOT / "locks" / f"{lock}.txt").read_text(encoding="utf-8")
    for entry in text.replace("\\\n", " ").splitlines()[1:]:
        assert re.fullmatch(r"[\w.-]+==[\w.]+( ; [^\\]+?)?( +--hash=sha256:[0-9a-f]{64})+", entry), entry
    assert "://" not in text
    assert str(SITE) not in text
