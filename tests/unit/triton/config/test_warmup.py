import numpy as np
import pytest
from prep_triton.artifact import TensorSpec
from prep_triton.errors import RepositoryError
from prep_triton.triton.config.warmup import write_warmup_files

from scripts.benchmarks.records import INPUT_NAMES, INPUTS

CLS, SEP = 101, 102
IDS = np.array([[CLS, 7, 8, SEP, 0], [CLS, 9, SEP, 0, 0]])


def save_reference(path, ids=IDS, **more):
    arrays = {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64), "token_type_ids": np.zeros_like(ids)}
    np.savez(path, **{f"input/{name}": array for name, array in {**arrays, **more}.items()})
    return path


def read(folder, name, length, dtype="<i8"):
    return np.frombuffer((folder / "warmup" / f"{name}-{length}.bin").read_bytes(), dtype).tolist()


def test_rows_are_real_tokens_between_the_first_and_the_last_of_a_text(tmp_path):
    write_warmup_files(tmp_path, save_reference(tmp_path / "reference.npz"), INPUTS, [1, 2, 4, 8])
    assert read(tmp_path, "input_ids", 8) == [CLS, 7, 8, 9, 7, 8, 9, SEP]
    assert read(tmp_path, "input_ids", 4) == [CLS, 7, 8, SEP]
    assert read(tmp_path, "input_ids", 2) == [CLS, SEP]
    assert read(tmp_path, "input_ids", 1) == [CLS]
    assert read(tmp_path, "attention_mask", 4) == [1] * 4
    assert read(tmp_path, "token_type_ids", 4) == [0] * 4
    assert len(list((tmp_path / "warmup").iterdir())) == len(INPUT_NAMES) * 4


def test_rows_are_of_the_declared_type_and_the_same_each_time(tmp_path):
    inputs = [tensor.model_copy(update={"dtype": "INT32"}) for tensor in INPUTS]
    reference = save_reference(tmp_path / "reference.npz")
    write_warmup_files(tmp_path, reference, inputs, [8])
    written = (tmp_path / "warmup" / "input_ids-8.bin").read_bytes()
    assert len(written) == 8 * 4
    assert read(tmp_path, "input_ids", 8, "<i4")[0] == CLS
    write_warmup_files(tmp_path, reference, inputs, [8])
    assert (tmp_path / "warmup" / "input_ids-8.bin").read_bytes() == written


def test_a_text_of_two_tokens_and_an_input_that_the_reference_has_not_are_enough(tmp_path):
    reference = save_reference(tmp_path / "reference.npz", np.array([[CLS, SEP]]))
    more = TensorSpec(name="position_bias", dtype="INT64", shape=("batch", "sequence"))
    write_warmup_files(tmp_path, reference, [*INPUTS, more], [4])
    assert read(tmp_path, "input_ids", 4) == [CLS, CLS, CLS, SEP]
    assert read(tmp_path, "position_bias", 4) == [0] * 4


@pytest.mark.parametrize(("rows", "message"), [(2, "holds no token ids to warm up with"), (0, "has no rows")])
def test_a_reference_without_tokens_is_refused(tmp_path, rows, message):
    reference = save_reference(tmp_path / "reference.npz", np.zeros((rows, 3), dtype=np.int64))
    with pytest.raises(RepositoryError, match=message) as caught:
        write_warmup_files(tmp_path, reference, INPUTS, [4])
    assert "prep export" in caught.value.hint


def test_an_input_that_holds_no_ids_is_refused(tmp_path):
    reference = save_reference(tmp_path / "reference.npz")
    wrong = INPUTS[0].model_copy(update={"dtype": "FP32"})
    with pytest.raises(RepositoryError, match="input_ids is FP32; expected INT64 or INT32") as caught:
        write_warmup_files(tmp_path, reference, [wrong], [4])
    assert "remove warmup" in caught.value.hint
