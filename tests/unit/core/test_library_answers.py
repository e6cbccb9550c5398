"""library.json is written within its bound, and read whole or refused."""

from pathlib import Path

import pytest
from prep_triton.errors import RepositoryError, VerifyError
from prep_triton.library_answers import (
    LARGEST_BYTES,
    LibraryAnswers,
    LibraryEntity,
    LibraryRow,
    load_library_answers,
    rounded,
    save_library_answers,
)

ROW = LibraryRow(
    text="na\u00efve\x00 \U0001f600",
    question="who?",
    is_ordinary=True,
    ids=(101, 7, 102),
    offsets=((0, 0), (0, 5), (0, 0)),
    sequences=(None, 1, None),
    words=(None, 0, None),
    outputs={"logits": [[1.5, -2.0], [0.25, 3.0]]},
    tokens=(LibraryEntity(label="B-PER", score=0.5, start=0, end=5),),
    entities=(),
)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    answers = LibraryAnswers(library="transformers 5", labels=("O", "B-PER"), rows=(ROW, ROW))
    save_library_answers(tmp_path / "library.json", answers)
    assert load_library_answers(tmp_path / "library.json") == answers


def test_a_file_has_the_rows_that_fit_its_bound(tmp_path: Path) -> None:
    wide = LibraryRow(text="a", ids=(1,), embedding=tuple(rounded([1 / 3] * 4096)))
    path = tmp_path / "library.json"
    save_library_answers(path, LibraryAnswers(library="torch", rows=(ROW, *[wide] * 16)))
    assert LARGEST_BYTES - 50_000 < path.stat().st_size <= LARGEST_BYTES
    rows = load_library_answers(path).rows
    assert rows[0] == ROW
    assert 3 < len(rows) < 8
    assert rows[-1] == wide


def test_numbers_have_the_digits_of_fp32() -> None:
    assert rounded([[1 / 3, 2e10], [-1.0]]) == [[0.3333333, 2e10], [-1.0]]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"library": "x", "rows": [{"text": "a", "ids": ["b"]}]}',
        b'{"library": "x", "rows": [{"text": "a", "ids": [1], "embedding": [NaN]}]}',
        b'{"library": "x", "rows": []}' + b" " * LARGEST_BYTES,
    ],
)
def test_what_is_no_such_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "library.json").write_bytes(content)
    with pytest.raises(VerifyError, match=r"library\.json is not a file of library answers") as caught:
        load_library_answers(tmp_path / "library.json", error=VerifyError)
    assert "prep export" in (caught.value.hint or "")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="No such file"):
        load_library_answers(tmp_path / "library.json")
