"""What a package registry shows of the project: README with links that work there, addresses, Pythons."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import prep_triton
import pytest
from packaging.specifiers import SpecifierSet

from tests.fakes.bare_environment import load_project

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TARGETS = re.compile(r"\]\(([^)]+)\)")
URL = "https://git.example/team/prep"


@pytest.fixture(scope="module")
def setup_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("setup_script", ROOT / "setup.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_links_lead_to_the_files_of_the_version(setup_script: ModuleType):
    targets = TARGETS.findall(setup_script.rewrite_links(README, f"{URL}/blob/v1"))
    assert len(targets) == len(TARGETS.findall(README)) > 10
    for target in targets:
        assert target.startswith(f"{URL}/blob/v1/")
        assert (ROOT / target.removeprefix(f"{URL}/blob/v1/")).exists(), target


def test_links_are_text_where_the_address_is_not_known(setup_script: ModuleType):
    text = setup_script.rewrite_links(README, None)
    assert TARGETS.findall(text) == []
    assert "| `docs/serving.md` |" in text
    assert "`schemas`" not in text
    assert "schemas (`docs/schemas`)" in text


def test_a_link_elsewhere_stays(setup_script: ModuleType):
    text = "[Triton](https://triton.example) [above](#install)"
    assert setup_script.rewrite_links(text, URL) == setup_script.rewrite_links(text, None) == text


def test_addresses_are_those_of_the_version(setup_script: ModuleType):
    assert setup_script.list_addresses(None, "1.0") == {}
    addresses = setup_script.list_addresses(URL, "1.0")
    assert addresses["Source"] == URL
    assert addresses["Changelog"] == f"{URL}/blob/v1.0/CHANGELOG.md"
    assert setup_script.read_version() == prep_triton.__version__


def test_the_pythons_that_are_named_are_those_that_are_taken():
    project = load_project()
    named = [text.rpartition(" :: ")[2] for text in project["classifiers"] if re.search(r":: 3\.\d+$", text)]
    taken = SpecifierSet(project["requires-python"])
    assert [f"3.{minor}" for minor in range(8, 14) if f"3.{minor}" in taken] == named
    assert all(project[key] for key in ("authors", "keywords", "license"))
