"""From the texts of several requests to the arrays that the model and the post-processor take."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .bounded import BoundedTokenizer, Part
from .prompts import MASK, TextError
from .settings import QUESTION_ANSWERING, EncoderSettings
from .windows import choose_bucket, cut_windows
from .words import choose_words

Ints = npt.NDArray[np.int64]
Arrays = dict[str, npt.NDArray[Any]]

WITH_WORDS = ("token-classification",)
WITH_OFFSETS = (*WITH_WORDS, QUESTION_ANSWERING)
PADDING_TOKENS = ("[PAD]", "<pad>")


@dataclass(frozen=True)
class _Side:
    """Token ids and type ids that stand before, between or after the texts."""

    ids: list[int]
    types: list[int]

    def __add__(self, other: "_Side") -> "_Side":
        return _Side(self.ids + other.ids, self.types + other.types)

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class _Frame:
    """The special tokens round one text, or round and between two, and the type of each text."""

    sides: tuple[_Side, ...]
    types: tuple[int, ...]

    def __len__(self) -> int:
        return sum(len(side) for side in self.sides)


def _frame_from_tokenizer(tokenizer: Any, texts: int) -> _Frame:
    """Find the special tokens by having the tokenizer put them round one known text, or two."""
    known = tokenizer.encode("a", add_special_tokens=False)
    if not len(known):
        raise ValueError("tokenizer.json turns the letter 'a' into no token: it is not a tokenizer of BERT's kind")
    whole = tokenizer.encode(*["a"] * texts)  # post_process() forgets which token is of the first text
    sides, types, at = [], [], 0
    for place in range(texts):
        begin = whole.sequence_ids.index(place)
        sides.append(_Side(whole.ids[at:begin], whole.type_ids[at:begin]))
        types.append(whole.type_ids[begin])
        at = begin + len(known)
    sides.append(_Side(whole.ids[at:], whole.type_ids[at:]))
    return _Frame(tuple(sides), tuple(types))


def _find_padding(tokenizer: Any) -> int:
    """Return the id of the padding token, which a tokenizer.json without padding does not say: BERT's or RoBERTa's."""
    ids = (tokenizer.token_to_id(token) for token in PADDING_TOKENS)
    return next((index for index in ids if index is not None), 0)


@dataclass(frozen=True)
class _Request:
    """The texts of a request with their prompts, and how many first tokens of a row the pooling leaves out."""

    texts: list[tuple[str, ...]]
    left_out: list[int]


@dataclass(frozen=True)
class _Row:
    """One row for the model: `begin` to `end` of a text's tokens between `head` and `tail`."""

    text: int
    encoding: Any
    begin: int
    end: int
    head: _Side
    tail: _Side

    @property
    def position(self) -> int:
        return len(self.head)

    @property
    def count(self) -> int:
        return self.end - self.begin

    def __len__(self) -> int:
        return len(self.head) + self.count + len(self.tail)


class Encoder:
    """Tokenizes with the library, and frames, cuts and pads with numpy.

    The library's own truncation is left out: it panics where a question leaves less room than the stride.

    Args:
        tokenizer: A ``tokenizers.Tokenizer``; its truncation and padding are switched off.
        settings: The choices.
    """

    def __init__(self, tokenizer: Any, settings: EncoderSettings) -> None:
        tokenizer.no_truncation()
        padding = tokenizer.padding or {}
        tokenizer.no_padding()
        self.pad_id = int(padding.get("pad_id", _find_padding(tokenizer)))
        self._find_words = choose_words(tokenizer)
        self.settings = settings
        self.frame = _frame_from_tokenizer(tokenizer, len(settings.columns))
        self.longest = settings.length_buckets[-1]
        if self.longest - len(self.frame) < 1:
            raise ValueError(f"the longest length bucket, {self.longest}, has no room beside the special tokens")
        # Without offsets it is faster.
        encode_batch = tokenizer.encode_batch if settings.task in WITH_OFFSETS else tokenizer.encode_batch_fast
        # With more tokens than these a text is cut or refused, whatever else stands in it.
        enough = self.longest * (settings.max_rows if settings.long_input == "stride" else 1)
        # What stands before the prompt is left out with it.
        counts = settings.prompts.count_tokens(tokenizer)
        self._left_out = {text: len(self.frame.sides[0]) + count for text, count in counts.items()}
        self._tokenizer = BoundedTokenizer(tokenizer, encode_batch, enough, settings.max_characters)

    def warm_up(self) -> None:
        """Encode one full row, which takes the library's first call off the first request."""
        self._tokenizer.encode(["a " * self.longest])

    def encode(
        self,
        requests: Sequence[Sequence[npt.NDArray[np.object_]]],
        prompt_names: Sequence[npt.NDArray[np.object_] | None] | None = None,
    ) -> list[Arrays | TextError]:
        """Answer each request by itself; the tokenizer is called once for all of them.

        Args:
            requests: Of each request one array [N, 1] of UTF-8 bytes for each column.
            prompt_names: Of each request an array [N, 1] of names of prompts, UTF-8 bytes; None where it names none.

        Returns:
            For each request its arrays, M >= N rows padded to one length S: ``input_ids``,
            ``attention_mask`` (1, perhaps `prompts.MASK`, else 0), ``token_type_ids`` [M, S]; ``WINDOW`` [M, 5],
            which says of a row: its text's index, the first of the text's tokens in it and their number, where they
            stand in the row, and the row's length without padding. Where the task needs them ``OFFSETS`` [M, S, 2],
            the characters of each token in the text, ``WORDS`` [M, S], the index of its word (-1: none), and
            ``SOURCE`` [M, 1], the text beside its first row. Or why there is no answer.
        """
        named = prompt_names or [None] * len(requests)
        decoded = [self._decode(columns, names) for columns, names in zip(requests, named, strict=True)]
        flat = [text for read in decoded if not isinstance(read, TextError) for row in read.texts for text in row]
        encodings = iter(self._tokenizer.encode(flat))
        return [read if isinstance(read, TextError) else self._arrange(read, encodings) for read in decoded]

    def _decode(
        self, columns: Sequence[npt.NDArray[np.object_]], names: npt.NDArray[np.object_] | None
    ) -> _Request | TextError:
        decoded: list[list[str]] = []
        try:
            prompts = self.settings.prompts.choose(names, columns[-1].size)
        except TextError as err:
            return err
        for name, column in zip(self.settings.columns, columns, strict=True):
            texts = []
            for row, (prompt, content) in enumerate(zip(prompts, column.reshape(-1), strict=True)):
                try:
                    texts.append(prompt + content.decode())
                except UnicodeDecodeError as err:
                    return TextError(f"row {row} of {name} is not UTF-8: {err.reason} at byte {err.start}")
            decoded.append(texts)
        return _Request(list(zip(*decoded, strict=True)), [self._left_out.get(prompt, 0) for prompt in prompts])

    def _arrange(self, request: _Request, encodings: Iterator[Part]) -> Arrays | TextError:
        # All of the request's encodings are taken before anything can fail: the next request's come after them.
        texts = request.texts
        parts = [[next(encodings) for _ in row] for row in texts]
        try:
            rows = [row for text, columns in enumerate(parts) for row in self._rows(text, columns)]
            self._check_count(len(rows), len(texts), is_whole=all(row[-1].is_whole for row in parts))
        except TextError as err:
            return err
        return self._pack(rows, request)

    def _check_count(self, rows: int, texts: int, *, is_whole: bool) -> None:
        if rows > self.settings.max_rows:
            raise TextError(
                f"{texts} text{'s' * (texts > 1)} cut into windows of {self.longest} tokens make "
                f"{rows}{'' if is_whole else ' or more'} rows, and "
                f"the model takes {self.settings.max_rows} at once: send fewer or shorter texts"
            )

    def _rows(self, text: int, columns: Sequence[Part]) -> Iterator[_Row]:
        for name, part in zip(self.settings.columns, columns, strict=True):
            if part.problem:
                raise TextError(f"row {text} of {name} {part.problem}")
        head, body = self._head(text, columns), columns[-1]
        tail, count, settings = self.frame.sides[-1], len(body), self.settings
        room = self.longest - len(head) - len(tail)
        if count > room and settings.long_input == "reject":
            raise TextError(
                f"row {text} of {settings.columns[-1]} has {body.count} tokens, and the model takes {room}: shorten it"
            )
        windows = [(0, min(count, room))]
        if settings.long_input == "stride" and count > room:
            windows = cut_windows(count, room, settings.stride)
        for begin, end in windows:
            yield _Row(text, body.encoding, begin, end, head, tail)

    def _head(self, text: int, columns: Sequence[Part]) -> _Side:
        """Return what stands before the text: special tokens, and the question with its own."""
        opening = self.frame.sides[0]
        if len(columns) == 1:
            return opening
        question = columns[0]
        for name, part in zip(self.settings.columns, columns, strict=True):
            if not len(part):
                raise TextError(f"row {text} of {name} is empty: there is nothing to answer")
        allowed = (self.longest - len(self.frame)) // 2
        if len(question) > allowed:
            raise TextError(
                f"row {text} of QUESTION has {question.count} tokens, and may have {allowed}: half of what the model "
                "takes is the context's"
            )
        return opening + _Side(question.encoding.ids, [self.frame.types[0]] * len(question)) + self.frame.sides[1]

    def _choose_width(self, longest: int) -> int:
        if self.settings.padding == "longest":
            return max(longest, self.settings.min_length)
        return choose_bucket(longest, self.settings.length_buckets)

    def _pack(self, rows: list[_Row], request: _Request) -> Arrays:
        width = self._choose_width(max(len(row) for row in rows))
        window = np.array([(row.text, row.begin, row.count, row.position, len(row)) for row in rows], np.int32)
        ids = np.full((len(rows), width), self.pad_id, np.int64)
        for index, row in enumerate(rows):
            body = row.encoding.ids if row.count == len(row.encoding) else row.encoding.ids[row.begin : row.end]
            ids[index, : len(row)] = [*row.head.ids, *body, *row.tail.ids]
        arrays: Arrays = {
            "input_ids": ids,
            "attention_mask": self._mask(window, request.left_out, width),
            "token_type_ids": self._types(rows, width),
            "WINDOW": window,
        }
        return arrays | self._details(rows, request.texts, width)

    def _mask(self, window: npt.NDArray[np.int32], left_out: list[int], width: int) -> Ints:
        places = np.arange(width)
        mask: Ints = (places < window[:, 4:]).astype(np.int64)
        if self._left_out:
            counts = np.array(left_out)[window[:, 0], None]
            mask[(places < counts) & (mask != 0)] = MASK
        return mask

    def _types(self, rows: list[_Row], width: int) -> Ints:
        types = np.zeros((len(rows), width), np.int64)
        if len(self.frame.types) > 1:
            for index, row in enumerate(rows):
                types[index, : len(row)] = [*row.head.types, *[self.frame.types[-1]] * row.count, *row.tail.types]
        return types

    def _details(self, rows: list[_Row], texts: list[tuple[str, ...]], width: int) -> Arrays:
        details: Arrays = {}
        if self.settings.task in WITH_OFFSETS:
            offsets = np.zeros((len(rows), width, 2), np.int32)
            for index, row in enumerate(rows):
                if row.count:
                    place = slice(row.position, row.position + row.count)
                    offsets[index, place] = row.encoding.offsets[row.begin : row.end]
            first = [texts[row.text][-1].encode() if row.begin == 0 else b"" for row in rows]
            details = {"OFFSETS": offsets, "SOURCE": np.array(first, np.object_).reshape(-1, 1)}
        if self.settings.task in WITH_WORDS:
            words = np.full((len(rows), width), -1, np.int32)
            of_text: dict[int, list[int]] = {}
            for index, row in enumerate(rows):
                if row.text not in of_text:
                    of_text[row.text] = self._find_words(texts[row.text][-1], row.encoding)
                words[index, row.position : row.position + row.count] = of_text[row.text][row.begin : row.end]
            details["WORDS"] = words
        return details
