"""The schemas of the --json documents are those of the models, and every command has one."""

from pathlib import Path

import pytest
from prep_triton.cli.app import app
from prep_triton.cli.documents.schemas import DOCUMENTS, main, render_schemas
from prep_triton.cli.error_document import ErrorDocument
from typer.core import TyperGroup
from typer.main import get_command

from tests.fakes.documents import SCHEMAS_DIR, load_validator

REMEDY = "python -m prep_triton.cli.documents.schemas writes them"


def test_every_command_has_a_document():
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    assert set(DOCUMENTS) == {*group.commands, "error"}
    assert DOCUMENTS["error"] is ErrorDocument


def test_the_schemas_are_those_of_the_models():
    written = {path.name: path.read_text(encoding="utf-8") for path in SCHEMAS_DIR.iterdir()}
    schemas = render_schemas()
    assert sorted(written) == sorted(schemas), REMEDY
    assert [name for name in schemas if schemas[name] != written[name]] == [], REMEDY


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_schema_is_one_and_takes_not_everything(name: str):
    assert not load_validator(name).is_valid({"nothing": 1})


def test_the_schemas_are_written_to_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.argv", ["schemas", str(tmp_path / "schemas")])
    main()
    assert {path.name for path in (tmp_path / "schemas").iterdir()} == set(render_schemas())
