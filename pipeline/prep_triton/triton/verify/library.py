"""The check of an ensemble against what the checkpoint's own library answered at export.

The ids, the scores and the labels here are the library's: where prep read a checkpoint's declaration wrongly, what is
served and what `expected_answers` expects are wrong together, and this is not.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, assert_never

from prep_triton.agreement import allowed_error_of
from prep_triton.artifact import RepositoryEntry
from prep_triton.errors import VerifyError
from prep_triton.layout import LIBRARY_NAME
from prep_triton.library_answers import LibraryAnswers, LibraryMask, LibraryRow, load_library_answers
from prep_triton.reference import count_special_tokens
from prep_triton.spec import TextSpec
from prep_triton.tasks import PROMPT_NAME, TASKS
from prep_triton.triton.server.client import TritonClient
from prep_triton.triton.verify.expected_answers import (
    AnswerCheck,
    AnswerOptions,
    ExpectedLabel,
    TextRow,
    compare_pieces,
    compare_scores,
    compare_span,
    compare_vectors,
    expect_label,
    text_from_bytes,
    worst_of,
)
from prep_triton.triton.verify.text_rows import TextRows, tensors_from_rows
from prep_triton.triton.verify.tolerance import probability_range

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

MISSING = (
    "its model was exported by an older prep and holds no answers of the checkpoint's own library: texts were compared "
    "with prep's own reading of the checkpoint alone; export and assemble it again"
)

WITHOUT_WEIGHTS = (
    "its graph came without its checkpoint's weights: what it was compared with are the graph's own answers in ONNX "
    "Runtime, not PyTorch's and not the library's; export it again with --checkpoint to have these"
)


class LibraryCheck:
    """Compares one ensemble, text by text, with the library's ids and answers.

    Args:
        entry: The ensemble.
        served: The model entry that it calls.
        texts: What is known of its texts.
        client: A server that has the ensemble's tokenizer loaded.

    Raises:
        VerifyError: The model entry's ``library.json`` is damaged.
    """

    def __init__(self, entry: RepositoryEntry, served: RepositoryEntry, texts: TextRows, client: TritonClient) -> None:
        self.entry, self.texts, self.client = entry, texts, client
        self.tokenizer = entry.composes[0]
        self.chosen = TextSpec.model_validate(entry.spec.get("text") or {})
        self.usual_length = served.onnx.usual_length if served.onnx else texts.longest
        self.missing = WITHOUT_WEIGHTS if served.onnx and served.onnx.reference == "onnxruntime" else MISSING
        self.answers: LibraryAnswers | None = None
        if LIBRARY_NAME in served.files:
            self.answers = load_library_answers(served.path(LIBRARY_NAME), error=VerifyError)

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what a person should know."""
        return (self.missing,) if self.answers is None else ()

    def rows(self) -> Iterator[LibraryRow]:
        """Yield the texts that the ensemble, as it was asked for, answers as the library does.

        Of a text that was cut these are only those of an ensemble that cuts at the declared length.
        """
        cuts_alike = self.chosen.long_input == "truncate" and self.texts.longest == self.usual_length
        facts = TASKS[self.entry.task]
        half = (self.texts.longest - count_special_tokens(self.texts.tokenizer, len(facts.text_inputs))) // 2
        # Of windows of one text, the other may have half of the tokens.
        is_halved = facts.text_form == "question" or self.chosen.long_input == "stride"
        for row in self.answers.rows if self.answers else ():
            question = sum(1 for sequence in row.sequences if sequence == 0) if row.question else 0
            fits = len(row.ids) <= self.texts.longest and not (is_halved and question > half)
            if cuts_alike if row.is_cut else fits:
                yield row

    def compares_answer(self, row: LibraryRow) -> bool:
        """Whether the answer to a text is compared, and not its ids alone.

        The tolerance of INT8 is that of sentences: the answers to two words, or to none, lie further apart.
        """
        return row.is_ordinary or self.entry.precision != "int8"

    def compare_ids(self, row: LibraryRow) -> AnswerCheck:
        """Send a text to the ensemble's tokenizer, and compare its ids one by one."""
        names = (*TASKS[self.entry.task].text_inputs, PROMPT_NAME)
        tensors = tensors_from_rows(names, [row], has_batch=True)
        answer, _ = self.client.infer(self.tokenizer, tensors, ["input_ids", "attention_mask"])
        ids = answer["input_ids"][0][answer["attention_mask"][0] != 0].tolist()
        if ids == list(row.ids):
            return AnswerCheck()
        at = next((at for at, pair in enumerate(zip(ids, row.ids, strict=False)) if pair[0] != pair[1]), None)
        where = f"another number of ids, {len(ids)}," if at is None else f"other ids, from token {at} on,"
        return AnswerCheck(mismatch=f"{_shorten(row)} has {where} than {self._library} gives it")

    def compare(self, row: LibraryRow, answer: "Mapping[str, Array]") -> AnswerCheck:
        """Compare an ensemble's answer to one text (outputs without batch axis) with the library's."""
        assert self.answers
        try:
            check = self._compare(row, answer, replace(self.texts.options, labels=self.answers.labels))
        except (KeyError, ValueError, TypeError, IndexError, AttributeError) as err:
            check = AnswerCheck(mismatch=f"the answer does not have the form of {self.entry.task}: {err!r}")
        if not check.mismatch:
            return check
        return replace(check, mismatch=f"{_shorten(row)} is answered otherwise by {self._library}: {check.mismatch}")

    @property
    def _library(self) -> str:
        return self.answers.library if self.answers else ""

    def _compare(self, row: LibraryRow, answer: "Mapping[str, Array]", options: AnswerOptions) -> AnswerCheck:
        import numpy as np

        match self.entry.task:
            case "feature-extraction":
                vector = np.array(row.embedding)
                return compare_vectors(answer["EMBEDDING"], vector, self._expected_length(vector), options)
            case "sentence-embedding":
                vector = np.array(row.embedding)
                return compare_vectors(answer["EMBEDDING"], vector, self._expected_length(vector), options)
            case "text-classification" | "text-pair-classification":
                return compare_scores(np.array(row.outputs["logits"]), np.array(row.scores), answer, options)
            case "token-classification":
                return _compare_entities(row, answer, options)
            case "fill-mask":
                return _compare_masks(row.masks, answer, options)
            case "question-answering":
                return compare_span(_text_row(row), answer, options)
            case _:
                assert_never(self.entry.task)

    def _expected_length(self, vector: "Array") -> float | None:
        """Return the length of an embedding: the library's, unless another was asked for."""
        import numpy as np

        length = float(np.linalg.norm(vector))
        if self.chosen.normalize is None:
            return length
        return 1.0 if self.chosen.normalize else None


def _text_row(row: LibraryRow) -> TextRow:
    import numpy as np

    return TextRow(
        text=row.text,
        ids=row.ids,
        offsets=row.offsets,
        sequences=row.sequences,
        words=row.words,
        outputs={name: np.array(values, dtype=np.float64) for name, values in row.outputs.items()},
        question=row.question or None,
    )


def _compare_entities(row: LibraryRow, answer: "Mapping[str, Array]", options: AnswerOptions) -> AnswerCheck:
    """Expect the library's label on every word and, where no label is close to another, its very entities."""
    text = _text_row(row)
    entities = json.loads(text_from_bytes(answer["ENTITIES"].ravel()[0]))
    tokens = [index for index, sequence in enumerate(row.sequences) if sequence is not None]
    by_index = dict(zip(tokens, row.tokens, strict=True))
    labels: list[ExpectedLabel] = []

    def label_of(first: int) -> ExpectedLabel:
        token = by_index[first]
        labels.append(expect_label(token.label, token.score, text.outputs["logits"][first], options))
        return labels[-1]

    check = compare_pieces(text, entities, options, label_of)
    if check.mismatch or row.entities is None or not all(label.is_sure for label in labels):
        return check
    if not _are_joined_alike(options.labels):
        return check
    served = [(entity["label"], entity["start"], entity["end"]) for entity in entities]
    expected = [(entity.label, entity.start, entity.end) for entity in row.entities]
    if served != expected:
        return replace(check, mismatch=f"the entities are {served}, expected {expected}")
    return check


def _are_joined_alike(labels: Sequence[str]) -> bool:
    """Whether the pipeline joins words by these labels as prep does: it knows B- and I- alone, or joins nothing."""
    tagged = [label for label in labels if label != "O"]
    return all(label[:2] in ("B-", "I-") for label in tagged) or not any(label[:2] in ("B-", "I-") for label in tagged)


def _compare_masks(masks: Sequence[LibraryMask], answer: "Mapping[str, Array]", options: AnswerOptions) -> AnswerCheck:
    rankings = json.loads(text_from_bytes(answer["TOKENS"].ravel()[0]))
    if len(rankings) != len(masks):
        return AnswerCheck(mismatch=f"tokens for {len(rankings)} masks, expected {len(masks)}")
    return worst_of([_compare_choices(mask, ranking, options) for mask, ranking in zip(masks, rankings, strict=True)])


def _compare_choices(mask: LibraryMask, ranking: Sequence[Mapping[str, Any]], options: AnswerOptions) -> AnswerCheck:
    """Expect the library's choices in its order, but for those whose logits lie as close as the tolerance lets."""
    allowed = allowed_error_of(mask.rms, len(options.vocabulary or {}), options.tolerance)
    by_token = {choice.token: choice for choice in mask.choices}
    error = 0.0
    for rank, (served, expected) in enumerate(zip(ranking, mask.choices, strict=False), 1):
        # What is not among the library's choices is at most as good as the last of them.
        choice = by_token.get(served["token"])
        logit = choice.logit if choice else mask.choices[-1].logit
        if logit < expected.logit - 2 * allowed:
            message = f"{served['token']!r} is ranked {rank}, expected {expected.token!r}"
            return AnswerCheck(error=error, mismatch=message)
        if choice is None:
            continue
        if choice.text is not None and served["text"] != choice.text:
            message = f"the text of {served['token']!r} is {served['text']!r}, expected {choice.text!r}"
            return AnswerCheck(error=error, mismatch=message)
        score = float(served["score"])
        error = max(error, abs(score - choice.score))
        low, high = probability_range(choice.score, allowed)
        if not low <= score <= high:
            message = f"the score of {served['token']!r} is {score:.6f}, expected {choice.score:.6f}"
            return AnswerCheck(error=error, mismatch=message)
    return AnswerCheck(error=error)


def _shorten(row: LibraryRow) -> str:
    text = row.text if len(row.text) <= 40 else f"{row.text[:40]}…"
    return f"{text!r} behind the prompt {row.prompt_name!r}" if row.prompt_name else f"{text!r}"
