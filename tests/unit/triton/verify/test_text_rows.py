"""The texts for tasks whose input the reference does not hold, and texts that no tokenizer takes."""

import json

import numpy as np
import pytest
from prep_triton.errors import VerifyError
from prep_triton.spec import ServingSpec, TextSpec
from prep_triton.triton.entries.text import assemble_text_entries
from prep_triton.triton.verify.comparison import check_tokenizer
from prep_triton.triton.verify.text_rows import TextRows, masked_texts, question_pairs

from scripts.benchmarks.serving_configs import assemble_entry
from scripts.benchmarks.small_artifacts import make_model


def test_texts_for_tasks_that_the_reference_lacks():
    assert list(masked_texts(["one two three", "word"], "[MASK]")) == [("", "one [MASK] three"), ("", "[MASK]")]
    texts = ["a longer one", "short", "another one"]
    assert list(question_pairs(texts)) == [
        ("short", "a longer one"),
        ("another one", "short"),
        ("short", "another one"),
    ]
    assert list(question_pairs(["alone"])) == []


def test_a_text_at_which_the_tokenizer_panics_is_a_sentence(tmp_path, capfd):
    """pyo3's PanicException is no Exception: nobody who catches those sees it."""
    entry = assemble_entry(make_model(tmp_path / "model"), [], ServingSpec(), tmp_path / "repo").artifact
    ensemble = assemble_text_entries(entry, TextSpec(), tmp_path / "repo")[-1].artifact
    path = entry.path("tokenizer.json")
    pattern = {"Regex": "(q+q+)+z"}  # takes every probe
    split = {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
    path.write_text(json.dumps({**json.loads(path.read_text()), "pre_tokenizer": split}))
    arrays = dict(np.load(entry.path("reference.npz")))
    texts = ["q" * 40, *arrays.pop("text")[1:]]
    np.savez(entry.path("reference.npz"), text=np.array(texts), **arrays)
    rows = TextRows(ensemble, entry)
    with pytest.raises(VerifyError, match=r"tokenizer\.json cannot tokenize: Onig: Regex search error"):
        rows.drawn()
    assert "cannot tokenize: Onig" in (check_tokenizer(path, rows.reference) or "")
    assert "panicked" not in capfd.readouterr().err
