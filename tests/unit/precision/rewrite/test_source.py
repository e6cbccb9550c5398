"""What a rewritten graph keeps of the FP32 artifact."""

import errno
import os

import pytest
from prep_triton.artifact import Artifact, OnnxModel
from prep_triton.precision.rewrite.source import KEPT_FIELDS, link_or_copy


def test_what_was_measured_is_not_kept_and_all_else_is():
    measured = {"precision", "parity", "fidelity", "accuracy", "quantization", "overflow"}
    assert set(KEPT_FIELDS) | measured | set(Artifact.model_fields) == set(OnnxModel.model_fields)
    assert not set(KEPT_FIELDS) & (measured | set(Artifact.model_fields))


def test_files_are_copied_where_they_cannot_be_linked(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("content")

    def refuse(*_):
        raise OSError(errno.EXDEV, "another device")

    monkeypatch.setattr(os, "link", refuse)
    link_or_copy(tmp_path / "a", tmp_path / "folder" / "b")
    assert (tmp_path / "folder" / "b").read_text() == "content"


def test_other_link_errors_are_not_hidden(tmp_path):
    with pytest.raises(FileNotFoundError):
        link_or_copy(tmp_path / "missing", tmp_path / "b")
