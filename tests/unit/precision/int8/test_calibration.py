import json
import subprocess
from itertools import product
from zipfile import ZipFile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prep_triton.errors import PrecisionError, PrepError, SpecError
from prep_triton.precision.int8.calibration import MOST_HELD, MOST_IDS, load_calibration_rows
from prep_triton.spec import CalibrationSpec
from prep_triton.workspace import Workspace

from tests.fakes.onnx_bert import POSITIONS, VOCAB, make_bert, store_model
from tests.fakes.wordpiece import WORDS, make_tokenizer


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    stored = store_model(Workspace(tmp_path_factory.mktemp("workspace")), make_bert(layers=1))
    stored.path("tokenizer.json").write_text(make_tokenizer().to_str(), encoding="utf-8")
    return stored


def load(path, model, **given):
    return load_calibration_rows(CalibrationSpec(path=str(path), **given), model)


def refuse(path, model, **given):
    with pytest.raises(PrepError) as caught:
        load(path, model, **given)
    return caught.value


def write(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def write_ids(tmp_path, **arrays):
    path = tmp_path / "ids.npz"
    np.savez(path, **{name: np.asarray(array) for name, array in arrays.items()})
    return path


def test_text_becomes_ids_and_blank_lines_are_skipped(tmp_path, model):
    path = write(tmp_path, "c.txt", "\ufeffthe rain\n\n  \nthe sea.\n")
    rows = load(path, model, samples=2)
    assert sorted(row.ids for row in rows.calibration) == [(2, 5, 7, 3), (2, 5, 9, 11, 3)]
    assert {row.type_ids for row in rows.calibration} == {(0,) * 4, (0,) * 5}


def test_jsonl_takes_the_field_that_is_named(tmp_path, model):
    path = write(tmp_path, "c.jsonl", '{"text": "sea", "body": "the rain"}\n\n')
    assert load(path, model, samples=1, field="body").calibration[0].ids == (2, 5, 7, 3)


@pytest.fixture(params=["question-answering", "text-pair-classification"])
def pair_model(model, request):
    return model.model_copy(update={"task": request.param})


RAIN_SEA = ((2, 5, 7, 3, 9, 3), (0, 0, 0, 0, 1, 1))


def list_rows(rows):
    return sorted((row.ids, row.type_ids) for row in (*rows.calibration, *rows.evaluation))


def test_pairs_are_framed_and_typed_by_the_tokenizer(tmp_path, pair_model, caplog):
    path = write(tmp_path, "c.jsonl", '{"text": "the rain", "text_pair": "sea"}\n\n{"text": "a", "text_pair": " "}\n')
    assert list_rows(load(path, pair_model, samples=1)) == [RAIN_SEA]
    path = write(tmp_path, "c.jsonl", '{"body": "the rain", "text_pair": "sea"}\n')
    assert list_rows(load(path, pair_model, samples=1, field="body")) == [RAIN_SEA]
    assert "single texts" not in caplog.text


def test_a_question_and_its_context_are_a_pair_of_question_answering(tmp_path, model):
    path = write(tmp_path, "c.jsonl", '{"question": "the rain", "context": "sea", "answers": []}\n')
    asked = model.model_copy(update={"task": "question-answering"})
    assert list_rows(load(path, asked, samples=1)) == [RAIN_SEA]
    other = model.model_copy(update={"task": "text-pair-classification"})
    assert "line 1: no 'text'" in refuse(path, other, samples=1).message


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.txt", "the rain\nsea\nthe rain\n\nthe\n"),
        ("c.jsonl", '{"text": "the rain"}\n{"text": "sea"}\n{"text": "the"}'),
    ],
)
def test_single_texts_are_paired_each_with_the_next_and_it_is_said(tmp_path, pair_model, caplog, name, content):
    rows = load(write(tmp_path, name, content), pair_model, samples=3)
    the_rain = ((2, 5, 3, 5, 7, 3), (0, 0, 0, 1, 1, 1))
    sea_the = ((2, 9, 3, 5, 3), (0, 0, 0, 1, 1))
    assert list_rows(rows) == sorted([RAIN_SEA, sea_the, the_rain])
    warning = caplog.messages[0]
    assert f"holds single texts, and {pair_model.task} takes two: each is paired with the next one" in warning
    # The line that it says to write is one.
    example = warning.partition("JSON lines such as ")[2]
    caplog.clear()
    load(write(tmp_path, "own.jsonl", example), pair_model, samples=1)
    assert "single texts" not in caplog.text


def test_the_longer_of_two_texts_is_cut(tmp_path, pair_model, caplog):
    caplog.set_level("INFO")
    path = write(tmp_path, "c.jsonl", json.dumps({"text": "sea", "text_pair": "rain " * 500}))
    (row,) = load(path, pair_model, samples=1).calibration
    assert (row.ids[:4], len(row.ids)) == ((2, 9, 3, 7), POSITIONS)
    assert sum(row.type_ids) == POSITIONS - 3
    assert f"1 of 1 calibration texts are cut at {POSITIONS} tokens" in caplog.text


@pytest.mark.parametrize(
    ("content", "message", "hint"),
    [
        (
            '{"text": "a", "text_pair": "b"}\n{"text": "a"}',
            "line 2: one text where the lines before it have two",
            "text",
        ),
        (
            '{"text": "a"}\n{"text": "a", "text_pair": "b"}',
            "line 2: two texts where the lines before it have one",
            "text",
        ),
        ('{"text": "a", "text_pair": 1}', "line 1: 'text_pair' is int, expected text", "two texts a line"),
        ('{"text": "a", "text_pair": "\\ud800"}', "line 1: 'text_pair' holds the lone surrogate", "itself"),
    ],
)
def test_rows_that_are_no_pairs_are_refused_with_their_line(tmp_path, pair_model, content, message, hint):
    error = refuse(write(tmp_path, "c.jsonl", content), pair_model, samples=1)
    assert isinstance(error, SpecError)
    assert message in error.message
    assert hint in error.hint


def test_a_question_without_a_context_is_refused(tmp_path, model):
    path = write(tmp_path, "c.jsonl", '{"question": "a"}')
    error = refuse(path, model.model_copy(update={"task": "question-answering"}), samples=1)
    assert "line 1: no 'context'" in error.message
    assert error.hint == "two texts a line, each in quotes; its fields of text are question"


def test_a_model_without_room_for_two_texts_is_refused(tmp_path, pair_model):
    path = write(tmp_path, "c.jsonl", '{"text": "a", "text_pair": "b"}')
    error = refuse(path, pair_model.model_copy(update={"max_sequence_length": 4}), samples=1)
    assert error.message == "tiny takes 4 tokens, and two texts have 5 or more"


def test_ids_without_a_token_of_type_1_are_warned_of_where_a_task_takes_two_texts(tmp_path, model, pair_model, caplog):
    path = write_ids(tmp_path, input_ids=[[5, 6]], token_type_ids=[[0, 0]])
    load(path, model, samples=1)
    assert "no token is of type 1" not in caplog.text
    load(path, pair_model, samples=1)
    assert f"no token is of type 1, and {pair_model.task} takes two texts" in caplog.text
    caplog.clear()
    without = tuple(spec for spec in pair_model.model_inputs if spec.name != "token_type_ids")
    load(path, pair_model.model_copy(update={"model_inputs": without}), samples=1)
    load(write_ids(tmp_path, input_ids=[[5, 6]], token_type_ids=[[0, 1]]), pair_model, samples=1)
    assert "no token is of type 1" not in caplog.text


def test_long_text_is_cut_at_the_longest_sequence_and_it_is_said(tmp_path, model, caplog):
    caplog.set_level("INFO")
    rows = load(write(tmp_path, "c.txt", "sea " * 500), model, samples=1)
    assert len(rows.calibration[0].ids) == POSITIONS
    assert f"1 of 1 calibration texts are cut at {POSITIONS} tokens" in caplog.text


def test_evaluation_is_on_other_rows_and_few_of_them_are_warned_of(tmp_path, model, caplog):
    ids = np.arange(10, 10 + 74)[:, None]
    rows = load(write_ids(tmp_path, input_ids=ids), model, samples=10)
    assert len(rows.evaluation) == 64
    assert not set(rows.evaluation) & set(rows.calibration)
    assert not caplog.records
    rows = load(write_ids(tmp_path, input_ids=ids), model, samples=11)
    assert len(rows.evaluation) == 63
    assert not set(rows.evaluation) & set(rows.calibration)
    assert "63 different rows that int8 was not calibrated on" in caplog.text


def test_a_row_that_is_there_many_times_counts_once(tmp_path, model):
    path = write(tmp_path, "c.txt", "the sea\n" * 500 + "a sea\n")
    with pytest.raises(SpecError) as caught:
        load(path, model, samples=3)
    assert "holds 2 different rows, 3 were asked for" in caught.value.message
    rows = load(path, model, samples=1)
    assert len(rows.evaluation) == 1
    assert rows.evaluation != rows.calibration


def test_evaluation_rows_are_limited(tmp_path, model):
    path = write(tmp_path, "c.txt", "".join(f"{' '.join(words)}\n" for words in product(WORDS[5:], repeat=3)))
    assert len(load(path, model, samples=10).evaluation) == MOST_HELD


def test_the_seed_decides_the_rows(tmp_path, model):
    path = write_ids(tmp_path, input_ids=np.arange(90)[:, None])
    first, again, other = (load(path, model, samples=5, seed=seed).calibration for seed in (1, 1, 2))
    assert first == again != other


def test_padding_of_an_npz_is_cut_off(tmp_path, model):
    path = write_ids(
        tmp_path, input_ids=[[5, 6, 0]], attention_mask=[[1, 1, 0]], token_type_ids=np.array([[0, 1, 0]], np.int32)
    )
    (row,) = load(path, model, samples=1).calibration
    assert (row.ids, row.type_ids) == ((5, 6), (0, 1))


def test_a_latin1_file_is_converted_by_the_command_of_the_hint(tmp_path, model):
    error = refuse(write(tmp_path, "my texts.txt", "der Löwe\n".encode("latin-1")), model, samples=2)
    (tmp_path / "elsewhere").mkdir()
    _, _, command = error.hint.partition(": ")
    subprocess.run(command, shell=True, check=True, cwd=tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere" / "utf8.txt").read_text(encoding="utf-8") == "der Löwe\n"


@pytest.mark.parametrize(
    ("name", "content", "message", "hint"),
    [
        ("c.csv", "a", "is '.csv', expected .txt, .jsonl or .npz", "one text a line"),
        ("c.txt", " \n\n", "holds no text", "some hundreds"),
        ("c.txt", b"sea\n\xff\xfe", "is not UTF-8 (line 2", "iconv -f LATIN1"),
        ("c.txt", "sea\n".encode("utf-16"), "is not UTF-8 (line 1", "iconv -f UTF-16"),
        ("c.txt", "sea\n", "holds 1 different rows, 2 were asked for", "66 or more different texts"),
        ("c.txt", "sea\n" * 99, "holds 1 different rows, 2 were asked for", "66 or more different texts"),
        ("c.jsonl", '{"text": "sea"}\n{"text', "line 2: not JSON", "one JSON object a line"),
        ("c.jsonl", '{"txt": "sea", "id": 1}', "line 1: no 'text'", "--calibration-field txt"),
        ("c.jsonl", '{"text": 1}', "line 1: 'text' is int, expected text", '{"text": "a text"}'),
        ("c.jsonl", '["sea"]', "line 1: a list, expected an object", '{"text": "a text"}'),
        (
            "c.jsonl",
            '{"text": "sea"}\n{"text": "a\\ud800"}',
            "line 2: 'text' holds the lone surrogate",
            "the character itself",
        ),
        ("c.jsonl", '{"text": ' + "9" * 5000 + "}", "line 1: not JSON", "one JSON object a line"),
        ("c.jsonl", "[" * 100_000, "line 1: not JSON", "one JSON object a line"),
        ("c.npz", b"not a zip", "is not an .npz", "numpy.savez"),
        ("c.npz", b"", "is not an .npz", "numpy.savez"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path, model, name, content, message, hint):
    error = refuse(write(tmp_path, name, content), model, samples=2)
    assert isinstance(error, SpecError)
    assert message in error.message
    assert hint in error.hint


def test_a_missing_file_is_refused(tmp_path, model):
    error = refuse(tmp_path / "none.txt", model)
    assert "there is no calibration file" in error.message
    assert "--calibration-data" in error.hint


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"ids": [[1]]}, "holds ids, expected 'input_ids'"),
        ({"input_ids": [[1.5]]}, "'input_ids' is float64 [1, 1], expected integers"),
        ({"input_ids": [1, 2]}, "'input_ids' is int64 [2], expected integers"),
        ({"input_ids": np.zeros((0, 3), np.int64)}, "'input_ids' is int64 [0, 3], expected integers"),
        ({"input_ids": [[1, 2]], "attention_mask": [[1]]}, "'attention_mask' is int64 [1, 1], expected"),
        ({"input_ids": [[1, VOCAB]]}, f"input_ids[0, 1] is {VOCAB}, outside the vocabulary (0..{VOCAB - 1})"),
        ({"input_ids": [[-1]]}, "input_ids[0, 0] is -1, outside the vocabulary"),
        ({"input_ids": [[1]], "token_type_ids": [[2]]}, "token_type_ids[0, 0] is 2, not a valid value (0..1)"),
        ({"input_ids": [[1, 1]], "attention_mask": [[0, 1]]}, "begins with padding"),
        ({"input_ids": [[1, 1]], "attention_mask": [[0, 0]]}, "is empty or begins with padding"),
        ({"input_ids": np.ones((1, POSITIONS + 1), np.int64)}, f"has {POSITIONS + 1} tokens, tiny takes {POSITIONS}"),
    ],
)
def test_arrays_that_are_not_rows_of_ids_are_refused(tmp_path, model, arrays, message):
    error = refuse(write_ids(tmp_path, **arrays), model, samples=1)
    assert isinstance(error, SpecError)
    assert message in error.message
    assert error.hint


def test_an_npz_with_objects_is_not_unpickled(tmp_path, model):
    np.savez(tmp_path / "c.npz", input_ids=np.array([{"a": 1}], dtype=object))
    assert "is not an .npz" in refuse(tmp_path / "c.npz", model, samples=1).message


def test_an_npz_that_claims_eight_terabytes_is_refused_at_once(tmp_path, model):
    header = b"{'descr': '<i8', 'fortran_order': False, 'shape': (1000000, 1000000), }\n"
    with ZipFile(tmp_path / "c.npz", "w") as archive:
        archive.writestr("input_ids.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    error = refuse(tmp_path / "c.npz", model, samples=1)
    assert "is not an .npz" in error.message
    assert len(error.message) < 400


def test_ids_of_one_byte_do_not_grow_beyond_the_memory(tmp_path, model):
    ids = np.zeros((MOST_IDS // 512 + 1, 512), np.uint8)
    np.savez_compressed(tmp_path / "c.npz", input_ids=ids)
    assert (tmp_path / "c.npz").stat().st_size < 100_000
    assert f"has {ids.size} token ids, expected at most {MOST_IDS}" in refuse(tmp_path / "c.npz", model).message


def test_a_lone_array_is_no_npz(tmp_path, model):
    with (tmp_path / "c.npz").open("wb") as stream:
        np.save(stream, np.ones((1, 1), np.int64))
    assert "is not an .npz" in refuse(tmp_path / "c.npz", model, samples=1).message


def test_text_for_a_model_without_a_tokenizer_is_refused(tmp_path):
    bare = store_model(Workspace(tmp_path), make_bert(layers=1))
    bare.path("tokenizer.json").unlink()
    error = refuse(write(tmp_path, "c.txt", "sea"), bare, samples=1)
    assert isinstance(error, PrecisionError)
    assert "tiny has no tokenizer.json" in error.message
    assert ".npz" in error.hint


def test_a_damaged_tokenizer_is_refused(tmp_path):
    damaged = store_model(Workspace(tmp_path), make_bert(layers=1))
    error = refuse(write(tmp_path, "c.txt", "sea"), damaged, samples=1)
    assert "tokenizer.json cannot be read" in error.message
    assert "prep export" in error.hint


def test_a_tokenizer_of_another_model_is_refused(tmp_path, model):
    error = refuse(write(tmp_path, "c.txt", "sea"), model.model_copy(update={"vocab_size": 5}), samples=1)
    assert "gives id 9, the model knows 5 tokens" in error.message
    assert "its own tokenizer" in error.hint


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    suffix=st.sampled_from([".txt", ".jsonl", ".npz"]),
    content=st.binary(max_size=60)
    | st.text(max_size=40).map(lambda text: json.dumps({"text": text}).encode())
    | st.text(max_size=40).map(str.encode),
)
def test_any_bytes_give_rows_or_a_sentence(tmp_path, model, suffix, content):
    path = write(tmp_path, f"any{suffix}", content)
    try:
        rows = load(path, model, samples=1)
    except PrepError as err:
        assert err.message
        assert err.hint
    else:
        assert all(0 <= token < VOCAB for row in rows.calibration for token in row.ids)
