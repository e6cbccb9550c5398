"""An ensemble's answer against the library's: what is sent of it, and what passes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prep_triton.artifact import RepositoryEntry
from prep_triton.errors import VerifyError
from prep_triton.library_answers import (
    LibraryAnswers,
    LibraryChoice,
    LibraryEntity,
    LibraryMask,
    LibraryRow,
    save_library_answers,
)
from prep_triton.manifest import record_files
from prep_triton.spec import ServingSpec, TextSpec
from prep_triton.triton.entries.text import assemble_text_entries
from prep_triton.triton.verify.library import LibraryCheck
from prep_triton.triton.verify.text_rows import TextRows

from scripts.benchmarks.serving_configs import assemble_entry
from tests.fakes.task_models import LABELS, make_task_model


class Tokenizer:
    """Stands for a server that answers with ids."""

    def __init__(self, *ids: int) -> None:
        self.ids = ids

    def infer(self, *_: Any) -> tuple[dict[str, Any], float]:
        return {"input_ids": np.array([[*self.ids, 0]]), "attention_mask": np.array([[1] * len(self.ids) + [0]])}, 1.0


def make_check(
    folder: Path, task: str, *rows: LibraryRow, text: TextSpec | None = None, client: Any = None, **changes: Any
) -> LibraryCheck:
    """Assemble a tiny model's ensemble with these rows on record."""
    model = make_task_model(folder / "model", task)
    answers = LibraryAnswers(library="transformers 5", labels=LABELS.get(task, ()), rows=rows)
    save_library_answers(model.path("library.json"), answers)
    model = model.model_copy(update={"files": record_files(model.folder), "declared_length": 32})
    serving = ServingSpec(threads=1, max_batch_size=4, **{"length_buckets": (8, 32), **changes})
    served = assemble_entry(model, [], serving, folder / "repository").artifact
    ensemble: RepositoryEntry = assemble_text_entries(served, text or TextSpec(), folder / "repository")[-1].artifact
    return LibraryCheck(ensemble, served, TextRows(ensemble, served), client)


def make_row(count: int, **fields: Any) -> LibraryRow:
    return LibraryRow(text="a", ids=(1,) * count, **fields)


@pytest.mark.parametrize(
    ("buckets", "text", "sent"),
    [
        ((8, 32), TextSpec(), [8, 32, 32]),
        ((8, 16), TextSpec(), [8]),
        ((8, 32), TextSpec(long_input="reject"), [8, 32]),
        ((8, 32), TextSpec(long_input="stride", stride=4), [8, 32]),
    ],
)
def test_texts_that_an_entry_was_asked_to_answer_otherwise_are_left_out(buckets, text, sent, tmp_path):
    rows = (make_row(8), make_row(32), make_row(32, is_cut=True))
    check = make_check(tmp_path, "feature-extraction", *rows, text=text, length_buckets=buckets)
    assert [len(row.ids) for row in check.rows()] == sent
    assert check.notes == ()


def test_a_question_that_the_server_refuses_is_left_out(tmp_path):
    rows = [make_row(32, question="q", sequences=(0,) * count + (1,) * (32 - count)) for count in (14, 15)]
    assert list(make_check(tmp_path, "question-answering", *rows).rows()) == rows[:1]


def test_ids_are_equal_or_the_difference_is_named(tmp_path):
    row = LibraryRow(text="w1", ids=(2, 6, 3))
    check = make_check(tmp_path, "feature-extraction", client=Tokenizer(2, 6, 3))
    assert check.compare_ids(row).mismatch == ""
    check.client = Tokenizer(2, 7, 3)  # type: ignore[assignment]
    assert "'w1' has other ids, from token 1 on, than" in check.compare_ids(row).mismatch
    check.client = Tokenizer(2, 6)  # type: ignore[assignment]
    assert "'w1' has another number of ids, 2, than" in check.compare_ids(row).mismatch


def test_an_embedding_has_the_librarys_direction_and_the_length_that_was_asked_for(tmp_path):
    row = make_row(3, embedding=(3.0, 4.0, 0.0))
    check = make_check(tmp_path / "own", "feature-extraction")
    assert check.compare(row, {"EMBEDDING": np.array([3.0, 4.0, 0.0])}).mismatch == ""
    assert "length is 1.0" in check.compare(row, {"EMBEDDING": np.array([0.6, 0.8, 0.0])}).mismatch
    assert "cosine is 0.96" in check.compare(row, {"EMBEDDING": np.array([4.0, 3.0, 0.0])}).mismatch
    asked = make_check(tmp_path / "asked", "feature-extraction", text=TextSpec(normalize=True))
    assert asked.compare(row, {"EMBEDDING": np.array([0.6, 0.8, 0.0])}).mismatch == ""


def test_scores_are_the_librarys_whatever_makes_them_of_logits(tmp_path):
    logits = [-1.0, 0.0, 2.0]
    sigmoid = (1 / (1 + np.exp(-np.array(logits)))).tolist()
    row = make_row(3, outputs={"logits": logits}, scores=tuple(sigmoid))
    check = make_check(tmp_path, "text-classification")
    names = np.array([b"good", b"fair", b"bad"])
    assert check.compare(row, {"LABEL": names, "SCORE": np.array(sigmoid[::-1])}).mismatch == ""
    softmax = np.exp(logits) / np.exp(logits).sum()
    mismatch = check.compare(row, {"LABEL": names, "SCORE": softmax[::-1]}).mismatch
    assert "'a' is answered otherwise by transformers 5: the score of 'good' is 0.843795, expected 0.880797" in mismatch


def entities(*items: tuple[str, int, int]) -> dict[str, Any]:
    text = "w1 w2 w3"
    content = [
        {"label": label, "score": 0.9, "start": start, "end": end, "text": text[start:end]}
        for label, start, end in items
    ]
    return {"ENTITIES": np.array([json.dumps(content).encode()])}


def test_entities_are_the_librarys_word_by_word_and_joined(tmp_path):
    logits = [[0.0] * 5, [0.0, 9.0, 0.0, 0.0, 0.0], [0.0, 0.0, 9.0, 0.0, 0.0], [9.0, 0.0, 0.0, 0.0, 0.0], [0.0] * 5]
    row = LibraryRow(
        text="w1 w2 w3",
        ids=(2, 6, 7, 8, 3),
        offsets=((0, 0), (0, 2), (3, 5), (6, 8), (0, 0)),
        sequences=(None, 0, 0, 0, None),
        words=(None, 0, 1, 2, None),
        outputs={"logits": logits},
        tokens=tuple(
            LibraryEntity(label=label, score=0.9995, start=start, end=start + 2)
            for label, start in (("B-PER", 0), ("I-PER", 3), ("O", 6))
        ),
        entities=(LibraryEntity(label="PER", score=0.9995, start=0, end=5),),
    )
    check = make_check(tmp_path, "token-classification")
    assert check.compare(row, entities(("PER", 0, 5))).mismatch == ""
    assert "'w1' is LOC, expected PER" in check.compare(row, entities(("LOC", 0, 5))).mismatch
    assert "the score of 'w1' is 0.9" in check.compare(row, entities(("PER", 0, 2), ("PER", 3, 5))).mismatch
    assert "'w3' is PER, expected O" in check.compare(row, entities(("PER", 0, 8))).mismatch
    # Where the pipeline's words are others than the tokenizer's, how they are joined says nothing.
    apart = check.compare(row.model_copy(update={"entities": row.entities * 2}), entities(("PER", 0, 5)))  # type: ignore[operator]
    assert "the entities are [('PER', 0, 5)], expected [('PER', 0, 5), ('PER', 0, 5)]" in apart.mismatch
    assert check.compare(row.model_copy(update={"entities": None}), entities(("PER", 0, 5))).mismatch == ""


def test_tokens_of_a_mask_are_the_librarys_in_its_order(tmp_path):
    choices = [
        LibraryChoice(token=token, text=f" {token}", logit=logit, score=score)
        for token, logit, score in (("w1", 8.0, 0.7), ("w2", 7.0, 0.26), ("w3", 5.0, 0.03))
    ]
    row = make_row(3, masks=(LibraryMask(rms=2.0, choices=tuple(choices)),))
    check = make_check(tmp_path, "fill-mask")

    def answer(*tokens: tuple[str, float]) -> dict[str, Any]:
        ranking = [{"token": token, "text": f" {token}", "score": score} for token, score in tokens]
        return {"TOKENS": np.array([json.dumps([ranking]).encode()])}

    assert check.compare(row, answer(("w1", 0.7), ("w2", 0.26))).mismatch == ""
    assert "'w2' is ranked 1, expected 'w1'" in check.compare(row, answer(("w2", 0.7), ("w1", 0.26))).mismatch
    assert "'w9' is ranked 1, expected 'w1'" in check.compare(row, answer(("w9", 0.7))).mismatch
    assert "the score of 'w1' is 0.260000" in check.compare(row, answer(("w1", 0.26))).mismatch
    other = {"TOKENS": np.array([json.dumps([[{"token": "w1", "text": "w1", "score": 0.7}]]).encode()])}
    assert "the text of 'w1' is 'w1', expected ' w1'" in check.compare(row, other).mismatch
    assert "tokens for 1 masks, expected 0" in check.compare(make_row(3), answer(("w1", 0.7))).mismatch
    assert "does not have the form of fill-mask" in check.compare(row, {}).mismatch


def test_int8_answers_for_sentences_and_its_ids_for_every_text(tmp_path):
    check = make_check(tmp_path, "feature-extraction")
    assert check.compares_answer(make_row(3))
    check.entry = check.entry.model_copy(update={"precision": "int8"})
    assert not check.compares_answer(make_row(3))
    assert check.compares_answer(make_row(3, is_ordinary=True))


def test_a_damaged_file_is_named_and_an_absent_one_is_a_note(tmp_path):
    check = make_check(tmp_path, "feature-extraction")
    served = next(iter((tmp_path / "repository").glob("*/library.json")))
    served.write_text("{")
    entry = check.texts.served
    with pytest.raises(VerifyError, match="is not a file of library answers"):
        LibraryCheck(check.entry, entry, check.texts, check.client)
    files = {name: file for name, file in entry.files.items() if name != "library.json"}
    without = LibraryCheck(check.entry, entry.model_copy(update={"files": files}), check.texts, check.client)
    assert list(without.rows()) == []
    assert "exported by an older prep" in without.notes[0]
