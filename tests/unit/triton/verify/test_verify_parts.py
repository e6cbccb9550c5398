"""What surrounds the requests of a verification: the server's arguments, the texts, the batches."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prep_triton.artifact import RepositoryEntry
from prep_triton.errors import RepositoryError, VerifyError
from prep_triton.triton.server.installation import prepare_installation
from prep_triton.triton.verify.model import full_batches
from prep_triton.triton.verify.text_rows import load_tokenizer, masked_texts, question_pairs
from prep_triton.triton.verify.verify import find_server_arguments


def entry(name="e", **fields):
    return RepositoryEntry(
        name=name,
        runtime="onnxruntime",
        precision="fp32",
        task="fill-mask",
        architecture="bert",
        weights="random",
        max_batch_size=8,
        tolerance=0.999,
        **fields,
    )


ENTRIES = [
    entry("a", server_arguments=("--rate-limit=execution_count",)),
    entry("b", server_arguments=("--cache-config=local,size=9", "--rate-limit=execution_count")),
]


def test_a_local_repository_says_its_servers_arguments(tmp_path):
    (tmp_path / "server.args").write_text("--one=1\n\n--two=2\n")
    assert find_server_arguments(ENTRIES, str(tmp_path)) == ("--one=1", "--two=2")


@pytest.mark.parametrize("uri", ["gs://bucket/models/releases/1", "absent"])
def test_without_the_file_the_entries_say_them(uri):
    assert find_server_arguments(ENTRIES, uri) == ("--cache-config=local,size=9", "--rate-limit=execution_count")


def test_arguments_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "server.args").write_bytes(b"\xff")
    with pytest.raises(RepositoryError, match=r"server\.args cannot be read") as caught:
        find_server_arguments(ENTRIES, str(tmp_path))
    assert "assemble" in caught.value.hint


def test_the_wheels_server_finds_its_response_cache(tmp_path, monkeypatch):
    monkeypatch.delenv("PREP_TRITONSERVER", raising=False)
    monkeypatch.setenv("PATH", "")
    arguments = prepare_installation(tmp_path, shm_prefix="x-").arguments
    (found,) = [argument for argument in arguments if argument.startswith("--cache-directory=")]
    assert found.endswith("tritonserver/caches")


@given(st.lists(st.integers(), min_size=1, max_size=20), st.integers(1, 9))
def test_every_batch_is_full_and_every_row_is_in_one(rows, size):
    batches = list(full_batches(rows, size))
    assert all(len(batch) == size for batch in batches)
    dealt = [row for batch in batches for row in batch]
    assert dealt[: len(rows)] == rows
    assert len(dealt) - len(rows) < size


def test_texts_for_tasks_that_the_reference_lacks():
    assert list(masked_texts(["one two three", "word"])) == [("", "one [MASK] three"), ("", "[MASK]")]
    texts = ["a longer one", "short", "another one"]
    assert list(question_pairs(texts)) == [
        ("short", "a longer one"),
        ("another one", "short"),
        ("short", "another one"),
    ]
    assert list(question_pairs(["alone"])) == []


def test_a_tokenizer_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(VerifyError, match=r"tokenizer\.json cannot be read") as caught:
        load_tokenizer(entry(folder=tmp_path))
    assert "assemble" in caught.value.hint
