"""What the engine asks of TensorRT is in the real bindings: the oldest, the newest, and TensorRT-RTX's."""

import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from prep_triton.containers import load_triton_releases

from scripts.tensorrt_contract.__main__ import (
    DOCUMENT,
    ENGINE_DIR,
    FLOOR,
    LAST_OF_10,
    NEWEST,
    OLDEST,
    VERSIONS,
    load_columns,
    replace_table,
)
from scripts.tensorrt_contract.bindings import BindingsMissingError, load_rtx_bindings
from scripts.tensorrt_contract.contract import find_lacks, render_table
from scripts.tensorrt_contract.uses import collect_uses

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def columns():
    try:
        return load_columns()
    except BindingsMissingError as err:
        pytest.skip(str(err))


@pytest.fixture(scope="module")
def uses(columns):
    return collect_uses(ENGINE_DIR, columns[NEWEST])


def test_every_version_has_all_that_the_engine_uses(columns, uses):
    assert list(columns)[:-1] == list(VERSIONS)
    assert len(uses) > 70
    for version, bindings in columns.items():
        assert [lack.sentence for lack in find_lacks(uses, bindings, is_newest=version == NEWEST)] == [], version


def test_the_table_of_the_document_is_what_the_bindings_say(columns, uses):
    text = DOCUMENT.read_text(encoding="utf-8")
    assert replace_table(text, uses, columns) == text, "python -m scripts.tensorrt_contract --write"


def test_the_table_has_a_row_for_each_use_also_where_nothing_can_be_downloaded():
    rtx = load_rtx_bindings()
    rows = [line.split(" | ")[0] for line in render_table(collect_uses(ENGINE_DIR, rtx), {}).splitlines()]
    text = DOCUMENT.read_text(encoding="utf-8")
    assert [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| ")] == rows


def test_the_versions_are_those_that_the_table_of_containers_and_the_extra_name():
    known = [Version(release.tensorrt) for release in load_triton_releases().values() if release.tensorrt]
    assert min(known).release[:2] == Version(OLDEST).release[:2]
    assert max(version for version in known if version.major == 10) == Version(LAST_OF_10)
    assert max(known) <= Version(NEWEST)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    (extra,) = (Requirement(text) for text in extras["tensorrt"] if text.startswith("tensorrt>"))
    assert Version(FLOOR) in extra.specifier
    assert Version("10.11.0.33") not in extra.specifier


def test_what_tensorrt_11_dropped_is_missing_there_and_there_alone(columns, tmp_path):
    (tmp_path / "old.py").write_text(
        'def build(config: "trt.IBuilderConfig", builder: "trt.Builder"):\n'
        "    config.set_flag(trt.BuilderFlag.FP16)\n"
        "    flags = 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)\n"
        "    network = builder.create_network(flags)\n"
        "    network.get_layer(0).precision = trt.DataType.HALF\n"
    )
    uses = collect_uses(tmp_path, columns[NEWEST])
    assert find_lacks(uses, columns[LAST_OF_10]) == []
    assert [lack.sentence for lack in find_lacks(uses, columns[NEWEST])] == [
        f"old.py:2: BuilderFlag.FP16: TensorRT {NEWEST} has no BuilderFlag.FP16",
        f"old.py:5: ILayer.precision =: TensorRT {NEWEST} has no ILayer.precision",
        f"old.py:3: NetworkDefinitionCreationFlag.EXPLICIT_BATCH: TensorRT {NEWEST} has no "
        "NetworkDefinitionCreationFlag.EXPLICIT_BATCH",
    ]


def test_the_installed_rtx_is_looked_at_as_it_is():
    assert load_rtx_bindings().version == f"RTX {metadata.version('tensorrt_rtx')}"
