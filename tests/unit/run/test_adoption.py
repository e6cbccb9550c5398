"""A config.pbtxt edited by hand: lint, verify and publish say the same, and their hint works."""

import logging
import re
import shlex

import pytest
from prep_triton.cli.app import app
from prep_triton.errors import RepositoryError
from prep_triton.publish.repository import scan_repository
from prep_triton.run.adoption import adopt_config
from prep_triton.spec import RateLimiterSpec, ServingSpec
from prep_triton.target import list_instances
from prep_triton.triton.config.server_arguments import CACHE, RATE_LIMIT
from prep_triton.triton.entries.load import load_repository
from prep_triton.triton.lint import lint_repository
from typer.testing import CliRunner

from scripts.benchmarks.serving_configs import assemble_entry
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


@pytest.mark.parametrize("edit", [b"# \0\n", b'parameters { key: "\xe9" value { string_value: "x" } }\n'])
def test_bytes_that_no_server_reads_are_not_adopted(config, tmp_path, edit):
    config.write_bytes(config.read_bytes() + edit)
    with pytest.raises(RepositoryError, match="codec"):
        adopt_config(tmp_path / "repo", "bert")


def test_an_edited_instance_group_is_where_a_deployment_counts_gpus(config, tmp_path):
    text = config.read_text()
    groups = "instance_group [{ count: 2 kind: KIND_GPU gpus: [0, 2] }]"
    config.write_text(re.sub(r"instance_group \{.*?\n\}", groups, text, flags=re.DOTALL))
    assert config.read_text() != text
    (group,) = list_instances(adopt_config(tmp_path / "repo", "bert"))
    assert (group.count, group.is_on_gpu, group.gpus) == (2, True, (0, 2))


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
    assert "was edited by hand and is written again; the edit is kept as" in caplog.text
    assert "tuned by hand" not in config.read_text()
    assert "tuned by hand" in (repository / ".edited-bert.pbtxt").read_text()


def test_an_edit_that_no_server_takes_is_not_adopted(config, tmp_path):
    config.write_text(config.read_text() + "max_batch: 3\n")
    with pytest.raises(RepositoryError, match="config-unknown-field"):
        adopt_config(tmp_path / "repo", "bert")
    with pytest.raises(RepositoryError, match=r"no config\.pbtxt"):
        adopt_config(tmp_path / "repo", "absent")


LIMITER = 'rate_limiter { resources { name: "R" count: 2 } }'


def edit_group(config, inserted):
    config.write_text(config.read_text().replace("kind: KIND_CPU", f"kind: KIND_CPU\n  {inserted}", 1))


def test_what_an_edit_needs_of_the_server_is_in_server_args_afterwards(config, model, tmp_path, caplog):
    repository = tmp_path / "repo"
    assemble_entry(model, [], ServingSpec(), repository, name="other")
    edit_group(config, LIMITER)
    config.write_text(config.read_text() + "response_cache { enable: true }\n")
    assert {finding.code for finding in lint_repository(repository).findings} == {"config-edited", "server-arguments"}
    with caplog.at_level(logging.INFO):
        adopted = adopt_config(repository, "bert")
    arguments = (repository / "server.args").read_text().split()
    assert arguments == [CACHE, RATE_LIMIT]
    assert adopted.server_arguments == (CACHE, RATE_LIMIT)
    assert f"server.args now holds: {CACHE} {RATE_LIMIT}" in caplog.messages
    assert lint_repository(repository).findings == ()
    # It stays when another entry is assembled, and goes with the edit.
    assemble_entry(model, [], ServingSpec(max_batch_size=2), repository, name="other")
    assert (repository / "server.args").read_text().split() == arguments
    config.write_text(config.read_text().replace(LIMITER, "").replace("response_cache { enable: true }", ""))
    assert adopt_config(repository, "bert").server_arguments == ()
    assert not (repository / "server.args").exists()
    assert lint_repository(repository).findings == ()


def test_lines_of_server_args_that_were_written_by_hand_are_adopted_too(config, tmp_path):
    repository = tmp_path / "repo"
    edit_group(config, LIMITER)
    config.write_text(config.read_text() + "response_cache { enable: true }\n")
    by_hand = ["--cache-config=local,size=1048576", "--rate-limit-resource=R:4"]
    (repository / "server.args").write_text("\n".join(by_hand))
    for _ in range(2):  # also where it was adopted before
        adopt_config(repository, "bert")
        assert (repository / "server.args").read_text().split() == sorted([*by_hand, RATE_LIMIT])
        assert lint_repository(repository).findings == ()


def test_a_resource_of_another_scope_than_elsewhere_is_refused(config, model, tmp_path):
    shared = RateLimiterSpec(resources=({"name": "R", "count": 1, "scope": "global"},))
    assemble_entry(model, [], ServingSpec(rate_limiter=shared), tmp_path / "repo", name="another")
    edit_group(config, LIMITER)
    with pytest.raises(RepositoryError, match=r"rate-limiter-resource"):
        adopt_config(tmp_path / "repo", "bert")


def test_a_comment_in_another_encoding_is_adopted(config, tmp_path):
    config.write_bytes(b"# caf\xe9\n" + config.read_bytes())
    adopt_config(tmp_path / "repo", "bert")
    assert lint_repository(tmp_path / "repo").findings == ()
