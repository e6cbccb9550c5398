"""A config.pbtxt edited by hand: lint, verify and publish say the same, and their hint works."""

import logging
import shlex

import pytest
from prep_triton.cli.app import app
from prep_triton.errors import RepositoryError
from prep_triton.publish.repository import scan_repository
from prep_triton.run.adoption import adopt_config
from prep_triton.spec import ServingSpec
from prep_triton.triton.entries.load import load_repository
from prep_triton.triton.entries.write import assemble_entry
from prep_triton.triton.lint import lint_repository
from typer.testing import CliRunner

from scripts.benchmarks.small_artifacts import make_model


@pytest.fixture
def model(tmp_path):
    return make_model(tmp_path / "model")


@pytest.fixture
def config(model, tmp_path):
    entry = assemble_entry(model, [], ServingSpec(max_batch_size=8), tmp_path / "repo", name="bert").artifact
    return entry.path("config.pbtxt")


EDITS = {
    "a comment": lambda text: f"# tuned by hand\n{text}",
    "a batch size of the same length": lambda text: text.replace("max_batch_size: 8", "max_batch_size: 4"),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_an_edit_is_refused_alike_and_the_hint_keeps_it(config, tmp_path, edit):
    repository = tmp_path / "repo"
    text = edit(config.read_text())
    config.write_text(text)
    hints = [finding.hint for finding in lint_repository(repository).findings if finding.code == "config-edited"]
    for load in (load_repository, scan_repository):
        with pytest.raises(RepositoryError) as caught:
            load(repository)
        hints.append(caught.value.hint)
    assert len(hints) == 3
    assert len(set(hints)) == 1
    command = shlex.split(hints[0].partition("`prep ")[2].partition("`")[0])
    assert CliRunner().invoke(app, command).exit_code == 0
    assert config.read_text() == text
    assert lint_repository(repository).findings == ()
    (entry,) = load_repository(repository)
    assert scan_repository(repository).entries == (entry,)
    assert f"max_batch_size: {entry.max_batch_size}" in text
    assert entry.spec["edited_by_hand"] == ["config.pbtxt"]


def test_an_adopted_edit_stays_until_other_choices_are_assembled(config, model, tmp_path, caplog):
    repository = tmp_path / "repo"
    written = config.read_text()
    config.write_text(f"# tuned by hand\n{written}")
    adopt_config(repository, "bert")
    with caplog.at_level(logging.WARNING):
        assert assemble_entry(model, [], ServingSpec(max_batch_size=8), repository, name="bert").reused
    assert "keeps the config.pbtxt that was edited by hand" in caplog.text
    with caplog.at_level(logging.WARNING):
        assemble_entry(model, [], ServingSpec(max_batch_size=4), repository, name="bert")
    assert "was edited by hand; it is written again from the spec" in caplog.text
    assert "tuned by hand" not in config.read_text()


def test_an_edit_that_no_server_takes_is_not_adopted(config, tmp_path):
    config.write_text(config.read_text() + "max_batch: 3\n")
    with pytest.raises(RepositoryError, match="config-unknown-field"):
        adopt_config(tmp_path / "repo", "bert")
    with pytest.raises(RepositoryError, match=r"no config\.pbtxt"):
        adopt_config(tmp_path / "repo", "absent")
