"""The texts that an ensemble is checked with, their tokens, and the model's outputs for them.

The tokens come from the library `tokenizers` and the entry's own vocabulary, never from the ensemble's tokenizer:
it is what is checked.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, assert_never

from prep_triton.artifact import EmbeddingRecord, RepositoryEntry
from prep_triton.errors import VerifyError
from prep_triton.layout import REFERENCE_NAME, TOKENIZER_NAME
from prep_triton.library_answers import LibraryRow
from prep_triton.reference import encode_all, load_reference, load_tokenizer
from prep_triton.spec import TextSpec
from prep_triton.tasks import MASK_TOKEN, PROMPT_MASK, PROMPT_NAME, TASKS, TextForm
from prep_triton.triton.server.client import TritonClient
from prep_triton.triton.verify.comparison import rms_of_numbers
from prep_triton.triton.verify.expected_answers import AnswerOptions, TextRow
from prep_triton.triton.verify.report import ComparedWith
from prep_triton.triton.verify.requests import (
    SequenceLengths,
    affordable_rows,
    load_config,
    numpy_dtype,
    sequence_outputs,
)

if TYPE_CHECKING:
    import numpy as np
    from tokenizers import Encoding, Tokenizer

    Array = np.ndarray[Any, Any]

MAX_OWN_TEXTS = 8


class TextRows:
    """Makes the texts of one ensemble from the reference of the model that it serves."""

    def __init__(self, entry: RepositoryEntry, served: RepositoryEntry) -> None:
        self.served = served
        self.text_form = TASKS[entry.task].text_form
        self.config = load_config(served)
        self.outputs = [tensor.name for tensor in self.config.output]
        self.is_sequence = sequence_outputs(self.config)
        self.reference = load_reference(
            served.path(REFERENCE_NAME), [tensor.name for tensor in self.config.input], self.outputs
        )
        self.tokenizer = load_tokenizer(served.path(TOKENIZER_NAME), error=VerifyError)
        self.options = replace(options_from_entry(entry, served, self.tokenizer), rms=rms_of_numbers(self.reference))
        self.lengths = SequenceLengths.from_entry(served)
        # Where the tokenizer cuts a text, whatever rows are padded to.
        self.longest = min(max(served.length_buckets, default=self.lengths.longest), self.lengths.longest)
        self.embedding = served.onnx.embedding if served.onnx else EmbeddingRecord()
        self.prompt = self.embedding.prompt
        # The reference holds plain text: no [MASK], no question and no prompt.
        is_plain = self.text_form == "plain" and not self.prompt
        self.compared_with: ComparedWith = "pytorch" if is_plain else "bare model"

    def answered(self, client: TritonClient) -> list[TextRow]:
        """Return the rows with PyTorch's outputs or, where the task's text is not in the reference, the server's.

        They are in order of their length, so that at once the model's batcher finds neighbours of one bucket.

        Raises:
            RefusedRequestError: The bare model did not answer.
            VerifyError: There is no text.
        """
        if self.compared_with == "pytorch":
            return self._checked(self._from_reference())
        return self._checked(
            self._row(question, text, encoding, self._infer_model(client, encoding))
            for question, text, encoding in self._own_texts()
        )

    def drawn(self) -> list[TextRow]:
        """Return the rows without running the model: where PyTorch's outputs are not there, with seeded noise.

        Raises:
            VerifyError: There is no text.
        """
        import numpy as np

        if self.compared_with == "pytorch":
            return self._checked(self._from_reference())
        draw = np.random.default_rng(0)

        def noise(length: int) -> dict[str, "Array"]:
            arrays = {}
            for name in self.outputs:
                row = self.reference.outputs[name].shape[1:]
                shape = (length, *row[1:]) if self.is_sequence[name] else row
                arrays[name] = draw.normal(0, 2, shape).astype(np.float32)
            return arrays

        return self._checked(
            self._row(question, text, encoding, noise(len(encoding.ids)))
            for question, text, encoding in self._own_texts()
        )

    def width(self, row: TextRow) -> int:
        """Return the length bucket of a row."""
        return self.lengths.padded(len(row.ids))

    def affordable_rows(self, rows: Sequence[TextRow]) -> int:
        """Return for how many of these rows the model's answers fit the server's shared memory at once."""
        return affordable_rows(self.reference, self.is_sequence, max(self.width(row) for row in rows))

    def _checked(self, rows: Iterator[TextRow]) -> list[TextRow]:
        by_length = sorted(rows, key=lambda row: len(row.ids))
        if not by_length:
            raise VerifyError(
                f"the reference of {self.served.name} holds no text that fits its length buckets",
                hint="export the model with its tokenizer, or give it longer length_buckets",
            )
        return by_length

    def _from_reference(self) -> Iterator[TextRow]:
        for index, text in enumerate(self.reference.text):
            length = self.reference.lengths[index]
            encoding = self._encode(text)
            if not text or len(encoding.ids) > self.longest:
                continue
            # A row that was cut has other tokens.
            if encoding.ids == self.reference.inputs["input_ids"][index, :length].tolist():
                arrays = {
                    name: array[index, :length] if self.is_sequence[name] else array[index]
                    for name, array in self.reference.outputs.items()
                }
                yield self._row("", text, encoding, arrays)

    def _own_texts(self) -> Iterator[tuple[str, str, "Encoding"]]:
        """Yield question (perhaps empty), text and tokens of the task's kind."""
        texts = [text for text in self.reference.text if text]
        mask_token = self.served.onnx.mask_token if self.served.onnx else MASK_TOKEN
        pairs = texts_of_form(self.text_form, texts, mask_token)
        encoded = (
            (
                question,
                text,
                self._encode(question, text) if question else self._encode(self.prompt + text),
            )
            for question, text in pairs
        )
        yield from islice((item for item in encoded if len(item[2].ids) <= self.longest), MAX_OWN_TEXTS)

    def _row(self, question: str, text: str, encoding: "Encoding", outputs: "Mapping[str, Array]") -> TextRow:
        """Return a row of one text and its tokens; `question` may be empty."""
        return TextRow(
            text=text,
            ids=encoding.ids,
            offsets=encoding.offsets,
            sequences=encoding.sequence_ids,
            words=find_words(self.tokenizer, text, encoding),
            outputs=outputs,
            question=question or None,
        )

    def _encode(self, text: str, pair: str | None = None) -> "Encoding":
        """Tokenize a text, or a pair.

        Raises:
            VerifyError: The tokenizer cannot: it took the probes and fails at this text.
        """
        path = self.served.path(TOKENIZER_NAME)
        return encode_all(path, lambda: self.tokenizer.encode(text, pair), error=VerifyError)

    def _infer_model(self, client: TritonClient, encoding: "Encoding") -> dict[str, "Array"]:
        """Return the bare model's outputs, of which only the tokens' are kept."""
        import numpy as np

        count, tensors = len(encoding.ids), {}
        values = {"input_ids": encoding.ids, "attention_mask": self._mask(encoding)}
        values["token_type_ids"] = encoding.type_ids
        for tensor in self.config.input:
            tensors[tensor.name] = np.zeros((1, self.lengths.padded(count)), numpy_dtype(tensor))
            tensors[tensor.name][0, :count] = values[tensor.name]
        answer, _ = client.infer(self.served.name, tensors, self.outputs)
        return {name: array[0][:count] if self.is_sequence[name] else array[0] for name, array in answer.items()}

    def _mask(self, encoding: "Encoding") -> list[int]:
        """Return the attention mask of a text behind the default prompt, which the pooling may leave out."""
        left_out = 0
        if self.prompt and not self.embedding.includes_prompt:
            left_out = encoding.special_tokens_mask.index(0) + len(
                self.tokenizer.encode(self.prompt, add_special_tokens=False)
            )
        return [PROMPT_MASK] * left_out + [1] * (len(encoding.ids) - left_out)


def options_from_entry(entry: RepositoryEntry, served: RepositoryEntry, tokenizer: "Tokenizer") -> AnswerOptions:
    """Gather what an ensemble's expected answers follow from."""
    chosen = TextSpec.model_validate(entry.spec.get("text") or {})
    embedding = served.onnx.embedding if served.onnx else EmbeddingRecord()
    return AnswerOptions(
        tolerance=entry.tolerance,
        labels=served.onnx.labels if served.onnx else (),
        top_k=chosen.top_k,
        vocabulary=tokenizer.get_vocab(with_added_tokens=True),
        activation=served.onnx.activation if served.onnx else "softmax",
        mask_id=tokenizer.token_to_id(served.onnx.mask_token if served.onnx else MASK_TOKEN),
        max_answer_tokens=chosen.max_answer_tokens,
        handle_impossible_answer=chosen.handle_impossible_answer,
        pooling=embedding.pooling,
        is_normalized=embedding.is_normalized if chosen.normalize is None else chosen.normalize,
    )


def find_words(tokenizer: "Tokenizer", text: str, encoding: "Encoding") -> list[int | None]:
    """Return the index of each token's word, None for special ones.

    Where no token says that it continues a word, transformers' pipeline has a word begin at a space of the text, and
    at an unknown token.
    """
    words = list(encoding.word_ids)
    if getattr(tokenizer.model, "continuing_subword_prefix", None):
        return words
    count, unknown = 0, tokenizer.token_to_id("<unk>")
    # The offsets of a question, or of the first of two texts, are places in that one.
    own = max((sequence for sequence in encoding.sequence_ids if sequence is not None), default=None)
    for place, (start, _) in enumerate(encoding.offsets):
        if encoding.sequence_ids[place] is None or encoding.sequence_ids[place] != own:
            continue
        count += not start or " " in (text[start - 1], text[start : start + 1]) or encoding.ids[place] == unknown
        words[place] = count
    return words


def texts_of_form(form: TextForm, texts: Sequence[str], mask_token: str = MASK_TOKEN) -> Iterator[tuple[str, str]]:
    """Yield question or first text of a pair (perhaps empty), and text, of a task's kind, made from plain texts."""
    match form:
        case "plain":
            return (("", text) for text in texts)
        case "masked":
            return masked_texts(texts, mask_token)
        case "question" | "pair":
            return question_pairs(texts)
        case _:
            assert_never(form)


def masked_texts(texts: Sequence[str], mask_token: str) -> Iterator[tuple[str, str]]:
    """Yield texts whose middle word is replaced by the mask token; the question is empty."""
    for text in texts:
        words = text.split(" ")
        words[len(words) // 2] = mask_token
        yield "", " ".join(words)


def question_pairs(texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each text as a context, with the shortest other one as the question."""
    by_length = sorted(texts, key=len)
    for text in texts:
        question = next((other for other in by_length if other != text), "")
        if question:
            yield question, text


def tensors_from_rows(
    names: Sequence[str], rows: Sequence[TextRow | LibraryRow], *, has_batch: bool
) -> dict[str, "Array"]:
    """Lay texts into the inputs of a text entry: shape [rows, 1], or [1] where it takes no batch.

    The names of prompts are left out where no row has one.
    """
    import numpy as np

    tensors = {}
    for name in names:
        if name == PROMPT_NAME:
            texts = [row.prompt_name if isinstance(row, LibraryRow) else "" for row in rows]
            if not any(texts):
                continue
        else:
            is_first = name == "QUESTION" or (name == "TEXT" and "TEXT_PAIR" in names)
            texts = [(row.question if is_first else row.text) or "" for row in rows]
        array = np.array([text.encode() for text in texts], dtype=object)
        tensors[name] = array.reshape(-1, 1) if has_batch else array
    return tensors
