"""reference.npz is written and read whole or refused, and so is the tokenizer."""

import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from prep_triton import reference as reference_module
from prep_triton.errors import PrecisionError, RepositoryError, VerifyError
from prep_triton.reference import (
    load_arrays,
    load_reference,
    load_tokenizer,
    save_reference,
    translate_tokenizer_errors,
)

from tests.fakes.wordpiece import make_tokenizer

IDS = np.array([[5, 6, 7], [8, 0, 0]])
INPUTS = {"input_ids": IDS, "attention_mask": (IDS > 0).astype(np.int64)}
OUTPUTS = {"logits": np.ones((2, 4), np.float32), "other": np.zeros((2, 1), np.float32)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_reference(tmp_path / "reference.npz", INPUTS, OUTPUTS, ["two words", ""])
    return tmp_path / "reference.npz"


def test_the_file_holds_text_inputs_and_outputs_without_pickles(path):
    with np.load(path, allow_pickle=False) as loaded:
        assert set(loaded) == {"text", *(f"input/{name}" for name in INPUTS), *(f"output/{name}" for name in OUTPUTS)}
        assert loaded["text"].tolist() == ["two words", ""]
        assert loaded["output/logits"].dtype == np.float32


def test_what_was_written_is_read_with_the_length_of_each_row(path):
    reference = load_reference(path, ["input_ids"], ["logits"])
    assert reference.inputs.keys() == INPUTS.keys()
    assert reference.inputs["input_ids"].tolist() == IDS.tolist()
    assert reference.outputs.keys() == {"logits"}
    assert list(reference.lengths) == [3, 1]
    assert list(reference.text) == ["two words", ""]


def test_a_reference_without_text_has_empty_ones(path):
    np.savez(path, **{"input/attention_mask": INPUTS["attention_mask"]})
    assert list(load_reference(path, [], []).text) == ["", ""]


def test_a_reference_must_be_there_whole_and_of_this_model(path):
    with pytest.raises(RepositoryError, match="has no input/position_ids, output/scores") as caught:
        load_reference(path, ["position_ids"], ["scores"])
    assert "prep export" in caught.value.hint
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(PrecisionError, match="is not a reference file"):
        load_reference(path, [], [], error=PrecisionError)
    path.unlink()
    with pytest.raises(RepositoryError, match="is not a reference file"):
        load_reference(path, [], [])


@pytest.mark.parametrize(
    "arrays",
    [
        {"input/attention_mask": np.zeros((0, 3), np.int64)},
        {"input/attention_mask": np.zeros(3, np.int64)},
        {"input/attention_mask": INPUTS["attention_mask"], "input/input_ids": IDS[:1]},
    ],
    ids=["no rows", "no sequence", "other rows"],
)
def test_a_reference_without_rows_is_refused(path, arrays):
    np.savez(path, **arrays)
    with pytest.raises(RepositoryError, match="has no rows, or not the same number everywhere"):
        load_reference(path, [], [])


def test_a_file_that_claims_to_hold_more_than_fits_is_refused(path, monkeypatch):
    monkeypatch.setattr(reference_module, "LARGEST_ARCHIVE_BYTES", 100)
    with pytest.raises(RepositoryError, match=r"claims to hold \d+ bytes, expected at most 100"):
        load_reference(path, [], [])


def test_a_header_that_claims_a_shape_beyond_any_memory_is_refused(path):
    header = b"{'descr': '<i8', 'fortran_order': False, 'shape': (1000000, 1000000000), }\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("input/attention_mask.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    with pytest.raises(RepositoryError, match="is not a reference file"):
        load_reference(path, [], [])


@pytest.mark.parametrize("content", [b"", b"not a zip", b"\x93NUMPY"])
def test_what_is_no_archive_is_refused_in_one_line(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        load_arrays(path, lambda _: True)


def test_arrays_of_objects_are_refused_only_where_they_are_needed(path):
    np.savez(path, ids=IDS, notes=np.array([{"a": 1}], dtype=object))
    assert load_arrays(path, lambda name: name == "ids").keys() == {"ids"}
    with pytest.raises(ValueError, match="allow_pickle"):
        load_arrays(path, lambda _: True)


def test_a_tokenizer_is_loaded_without_its_own_padding_and_truncation(tmp_path):
    tokenizer = make_tokenizer()
    tokenizer.enable_truncation(max_length=2)
    tokenizer.enable_padding(length=9)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    loaded = load_tokenizer(tmp_path / "tokenizer.json")
    assert loaded.truncation is None
    assert loaded.padding is None


def test_a_tokenizer_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(VerifyError, match=r"tokenizer\.json cannot be read") as caught:
        load_tokenizer(tmp_path / "tokenizer.json", error=VerifyError)
    assert "assemble" in caught.value.hint
    with pytest.raises(RepositoryError, match=r"missing\.json cannot be read"):
        load_tokenizer(tmp_path / "missing.json")


@pytest.mark.parametrize("kind", ["regex", "unk"])
def test_a_tokenizer_that_cannot_work_is_named(tmp_path, kind, capfd):
    content = json.loads(make_tokenizer().to_str())
    if kind == "unk":
        content["model"]["unk_token"] = "nowhere"
    else:
        pattern = {"Regex": "(([a-z ])+.)+[A-Z]([a-z])+$"}
        content["pre_tokenizer"] = {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(VerifyError, match=r"tokenizer\.json cannot "):
        load_tokenizer(tmp_path / "tokenizer.json", error=VerifyError)
    assert "panicked" not in capfd.readouterr().err


def test_a_failure_at_a_later_text_names_the_file_and_other_exceptions_pass(tmp_path):
    translate = translate_tokenizer_errors(tmp_path / "t.json", error=PrecisionError)
    with pytest.raises(PrecisionError, match=r"t\.json cannot tokenize: no"), translate:
        raise ValueError("no")
    with pytest.raises(KeyboardInterrupt), translate_tokenizer_errors(tmp_path / "t.json"):
        raise KeyboardInterrupt
    with pytest.raises(VerifyError, match="own"), translate_tokenizer_errors(tmp_path / "t.json"):
        raise VerifyError("own", hint="none")
