"""Reads a .jsonl of labelled rows: one JSON object a line, with the fields that the model's task needs.

=====================  ==============================================================================
text-classification    ``text``, perhaps ``text_pair``, and ``label`` (name or index)
text-pair-…            the same, and ``text_pair`` in every row (text-pair-classification); where the model has one
                       label ``query``, ``documents`` and ``relevance``, a number of 0 or more for each
token-classification   ``tokens`` and ``labels`` (name or index), one label a word
question-answering     ``question``, ``context`` and ``answers`` (texts, or SQuAD's ``{"text": [...]}``)
fill-mask              ``text`` with one [MASK], and ``label``, the token that stands there
feature-extraction,    ``text``, ``text_pair`` and ``score``, how close they are, on any scale; or ``query``,
sentence-embedding     ``documents`` and ``relevance``, a number of 0 or more for each
=====================  ==============================================================================

All rows of a file have one form. Other fields (``id``) are ignored. Every error names the line.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never

from prep_triton.errors import SpecError, find_nearest
from prep_triton.precision.measure.encodings import describe_conversion
from prep_triton.precision.measure.field_checks import check_list, check_text, kind
from prep_triton.precision.measure.ranked_rows import (
    RankedDocuments,
    ScoredPair,
    parse_ranked_documents,
    parse_ranked_row,
)
from prep_triton.tasks import TASKS, LabelledRows, Task

_LISTED_LABELS = 12
_SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class LabelledText:
    """A text, or a pair of texts, and the index of its label."""

    text: str
    text_pair: str | None
    label: int


@dataclass(frozen=True)
class LabelledWords:
    """Words and the index of the label of each."""

    words: tuple[str, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True)
class Question:
    """A question and its accepted answers; none where the context does not answer it (SQuAD v2.0)."""

    question: str
    context: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class MaskedText:
    """A text with one mask, and the token that stands there. `where` names its line."""

    text: str
    label: str
    where: str


Example = LabelledText | LabelledWords | Question | MaskedText | ScoredPair | RankedDocuments


def load_examples(path: Path, task: Task, labels: Sequence[str]) -> list[Example]:
    """Load the labelled rows of a file.

    Args:
        path: A UTF-8 .jsonl; empty lines are skipped.
        task: One that has labels.
        labels: The model's labels, in the order of its logits.

    Raises:
        SpecError: The file is missing, empty or not UTF-8; a line is not JSON, lacks a field, or has
            a value or a label that the model cannot be scored on.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe or a device, which may have no end
            raise SpecError(f"{path} cannot be read: it is not a file", hint="--eval-data is a .jsonl file")
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as err:
        raise SpecError(f"there is no evaluation file {path}", hint="check the path of --eval-data") from err
    except UnicodeDecodeError as err:
        raise SpecError(
            f"{path} is not UTF-8: byte {err.object[err.start]:#04x} at offset {err.start}",
            hint=describe_conversion(path, err),
        ) from err
    except OSError as err:
        raise SpecError(f"{path} cannot be read: {err.strerror}", hint="--eval-data is a .jsonl file") from err
    return parse_examples(text, task, labels, where=str(path))


def parse_examples(text: str, task: Task, labels: Sequence[str], *, where: str) -> list[Example]:
    """Parse the text of a file of labelled rows; see `load_examples`."""
    parse = _find_parser(task)
    examples: list[Example] = []
    # Not splitlines(), which also breaks at U+2028, a character that may stand in a JSON string.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            place = f"{where}, line {number}"
            examples.append(parse(_parse_fields(line, task, len(labels), place), labels, place))
            if type(examples[-1]) is not type(examples[0]):
                raise SpecError(
                    f"{place}: a row of another form than those before it, and a file is scored by one metric",
                    hint=f"put rows of each form into a file of its own; {_row_hint(task, len(labels))}",
                )
    if not examples:
        raise SpecError(f"{where} is empty, expected labelled rows", hint=_row_hint(task, len(labels)))
    return examples


def labelled_rows(task: Task) -> LabelledRows:
    """Return the form of a task's labelled rows; where the model's labels decide, the one that chooses from several."""
    (rows,) = (form for form in TASKS[task].labelled if form.labels != "one")
    return rows


def _forms_of(task: Task, labels: int) -> tuple[LabelledRows, ...]:
    """Return the forms that a model with so many labels is scored by."""
    forms = TASKS[task].labelled
    return tuple(form for form in forms if form.fits(labels)) or forms


def _row_hint(task: Task, labels: int) -> str:
    first, *others = _forms_of(task, labels)
    more = "".join(f"for {other.metric} a line is {other.example}; " for other in others)
    return f"{more}a line for {task} reads {first.example}"


def _parse_fields(line: str, task: Task, labels: int, where: str) -> Mapping[str, Any]:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as err:
        raise SpecError(f"{where}: not JSON: {err}", hint=_row_hint(task, labels)) from err
    if not isinstance(fields, dict):
        raise SpecError(f"{where}: {kind(fields)}, expected an object", hint=_row_hint(task, labels))
    forms = _forms_of(task, labels)
    for form in TASKS[task].labelled:
        if form not in forms and all(name in fields for name in form.fields):
            raise SpecError(
                f"{where}: rows of {', '.join(form.fields)} are scored by {form.metric}, which a model with {labels} "
                f"label{'s' * (labels != 1)} does not have",
                hint=_row_hint(task, labels),
            )
    # Of several forms the one that the row has most of is meant.
    rows = max(forms, key=lambda form: sum(name in fields for name in form.fields))
    for name in rows.fields:
        if name not in fields:
            seen = ", ".join(fields) or "none"
            hint = _missing_hint(task, labels, fields)
            raise SpecError(f"{where}: no field '{name}'; its fields are {seen}", hint=hint)
    return fields


def _missing_hint(task: Task, labels: int, fields: Mapping[str, Any]) -> str:
    fitting = {
        other: max(
            (len(rows.fields) for rows in facts.labelled if all(name in fields for name in rows.fields)), default=0
        )
        for other, facts in TASKS.items()
        if other != task
    }
    if most := max(fitting.values()):
        others = " or ".join(other for other, count in fitting.items() if count == most)
        return f"these rows are for {others}, and the model does {task}; {_row_hint(task, labels)}"
    if "data" in fields:
        return f"SQuAD's nested file must be flattened to one question a line; {_row_hint(task, labels)}"
    return _row_hint(task, labels)


def index_from_label(label: Any, labels: Sequence[str], *, where: str) -> int:
    """Return the index of a label, which is its name or its index.

    Raises:
        SpecError: The model has no such label.
    """
    if isinstance(label, str) and label in labels:
        return labels.index(label)
    if isinstance(label, int) and not isinstance(label, bool) and 0 <= label < len(labels):
        return label
    listed = ", ".join(labels[:_LISTED_LABELS]) + (", ..." if len(labels) > _LISTED_LABELS else "")
    known = f"the model's {len(labels)} labels are {listed}, or their indexes from 0"
    nearest = find_nearest(label, labels) if isinstance(label, str) else []
    hint = f"did you mean '{nearest[0]}'? {known}" if nearest else known
    shown = json.dumps(label, ensure_ascii=False)[:_SHOWN_CHARACTERS]
    raise SpecError(f"{where}: the model has no label {shown}", hint=hint)


def _parse_labelled_text(fields: Mapping[str, Any], labels: Sequence[str], where: str) -> Example:
    pair = fields.get("text_pair")
    return LabelledText(
        text=check_text(fields["text"], "text", where),
        text_pair=None if pair is None else check_text(pair, "text_pair", where),
        label=index_from_label(fields["label"], labels, where=where),
    )


def _parse_labelled_pair(fields: Mapping[str, Any], labels: Sequence[str], where: str) -> Example:
    if len(labels) == 1:
        return parse_ranked_documents(fields, where)
    check_text(fields["text_pair"], "text_pair", where)
    return _parse_labelled_text(fields, labels, where)


def _parse_labelled_words(fields: Mapping[str, Any], labels: Sequence[str], where: str) -> Example:
    words = [check_text(word, "tokens", where) for word in check_list(fields["tokens"], "tokens", where)]
    names = check_list(fields["labels"], "labels", where)
    if len(words) != len(names):
        raise SpecError(
            f"{where}: {len(words)} tokens and {len(names)} labels, expected one label a token",
            hint="label words, not sub-tokens; prep scores the first sub-token of each",
        )
    return LabelledWords(tuple(words), tuple(index_from_label(name, labels, where=where) for name in names))


def _parse_question(fields: Mapping[str, Any], _labels: Sequence[str], where: str) -> Example:
    accepted = fields["answers"]
    if isinstance(accepted, dict):
        if "text" not in accepted:
            raise SpecError(
                f"{where}: 'answers' has no 'text'; its fields are {', '.join(accepted) or 'none'}",
                hint=_row_hint("question-answering", 0),
            )
        accepted = accepted["text"]
    answers = [answer.get("text") if isinstance(answer, dict) else answer
               for answer in check_list(accepted, "answers", where)]  # fmt: skip
    return Question(
        question=check_text(fields["question"], "question", where),
        context=check_text(fields["context"], "context", where),
        answers=tuple(check_text(answer, "answers", where) for answer in answers),
    )


def _parse_masked_text(fields: Mapping[str, Any], _labels: Sequence[str], where: str) -> Example:
    text, label = (check_text(fields[name], name, where) for name in ("text", "label"))
    return MaskedText(text, label, where)


def _find_parser(task: Task) -> Callable[[Mapping[str, Any], Sequence[str], str], Example]:
    match task:
        case "text-classification":
            return _parse_labelled_text
        case "text-pair-classification":
            return _parse_labelled_pair
        case "token-classification":
            return _parse_labelled_words
        case "question-answering":
            return _parse_question
        case "fill-mask":
            return _parse_masked_text
        case "feature-extraction" | "sentence-embedding":
            return parse_ranked_row
        case _:
            assert_never(task)
