"""The extras: what pyproject.toml installs for each, and what is said where it is missing."""

import importlib
import importlib.metadata
import sys
from pathlib import Path

import pytest
from prep_triton.errors import MissingPackageError
from prep_triton.extras import EXTRAS, Extra, check_extra, error_from_import, module_of
from prep_triton.run.processes import ChildProcesses
from prep_triton.run.report import RowCollector, Silent

from tests.fakes.bare_environment import list_requirements, load_project

# Polygraphy's log is coloured with it, and plain without.
OPTIONAL = {"colored"}
PAIRS = [(extra, name) for extra, names in EXTRAS.items() for name in names]


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_is_what_pyproject_installs_for_it(extra: Extra):
    core = {requirement.name for requirement in list_requirements()}
    installed = {requirement.name for requirement in list_requirements(extra)} - core - OPTIONAL
    assert set(EXTRAS[extra]) == installed


def test_quickstart_is_every_extra_that_needs_no_gpu():
    (quickstart,) = load_project()["optional-dependencies"]["quickstart"]
    assert set(quickstart.removeprefix("prep-triton[").removesuffix("]").split(",")) == set(EXTRAS) - {
        "tensorrt",
        "gpu",
    }


@pytest.mark.parametrize(("extra", "name"), PAIRS)
def test_a_missing_library_is_refused_at_the_door(extra: Extra, name: str, monkeypatch: pytest.MonkeyPatch):
    for other in EXTRAS[extra]:
        monkeypatch.setitem(sys.modules, module_of(other), importlib)  # there
    spec = importlib.machinery.ModuleSpec("there", None)
    monkeypatch.setattr(importlib, "__spec__", spec)
    check_extra(extra)
    monkeypatch.setitem(sys.modules, module_of(name), None)
    with pytest.raises(MissingPackageError, match=f"needs {name}, which is not installed") as refused:
        check_extra(extra)
    assert refused.value.hint == f"pip install 'prep-triton[{extra}]'"
    assert refused.value.code == "missing_package"


@pytest.mark.parametrize("name", sorted({name for _, name in PAIRS}))
def test_an_import_in_vain_names_the_extra(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, module_of(name), None)
    with pytest.raises(ModuleNotFoundError) as caught:
        importlib.import_module(module_of(name))
    error = error_from_import(caught.value)
    extra = next(extra for extra, names in EXTRAS.items() if name in names)
    assert error
    assert error.message.endswith(f"needs {name}, which is not installed")
    assert error.hint == f"pip install 'prep-triton[{extra}]'"


def test_a_version_in_vain_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(importlib.metadata.PackageNotFoundError) as caught:
        importlib.metadata.version("huggingface-hub")
    error = error_from_import(caught.value)
    assert error
    assert "[export]" in error.hint


@pytest.mark.parametrize(
    "error",
    [
        ModuleNotFoundError("No module named 'torch.fx.gone'", name="torch.fx.gone"),  # another version: a bug of ours
        ModuleNotFoundError("No module named 'prep_triton.gone'", name="prep_triton.gone"),
        ImportError("libcudart.so.13: cannot open shared object file", name="torch"),
        ImportError("no name at all"),
    ],
    ids=str,
)
def test_an_import_that_fails_otherwise_keeps_its_traceback(error: ImportError):
    assert error_from_import(error) is None


def import_in_vain(rows: RowCollector) -> None:
    raise ModuleNotFoundError("No module named 'onnxscript'", name="onnxscript")


def test_a_job_in_a_process_of_its_own_names_the_extra():
    children = ChildProcesses(RowCollector(Silent()), lambda *_: None)
    with pytest.raises(MissingPackageError, match="needs onnxscript"):
        children.run(import_in_vain, "a model")
