"""Finding the entries of a repository."""

import os

import pytest
from prep_triton.errors import RepositoryError
from prep_triton.spec import ServingSpec
from prep_triton.triton.entries.load import load_repository

from scripts.benchmarks.serving_configs import assemble_entry
from scripts.benchmarks.small_artifacts import make_model


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    entry = assemble_entry(make_model(tmp_path / "model"), [], ServingSpec(), tmp_path / "repo").artifact
    closed = entry.folder / "1"
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != str(closed))  # root may read everything
    with pytest.raises(RepositoryError, match=f"the folder {closed} cannot be read") as raised:
        load_repository(tmp_path / "repo")
    assert raised.value.hint == f"chmod u+rx {closed}"


def test_an_upper_case_name_is_one(tmp_path):
    model = make_model(tmp_path / "model")
    assemble_entry(model, [], ServingSpec(), tmp_path / "repo", name="BERT-Large")
    assert [entry.name for entry in load_repository(tmp_path / "repo")] == ["BERT-Large"]
