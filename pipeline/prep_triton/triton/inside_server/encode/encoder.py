"""From the texts of several requests to the arrays that the model and the post-processor take."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .bounded import BoundedTokenizer, Part
from .windows import choose_bucket, cut_windows

Ints = npt.NDArray[np.int64]
Arrays = dict[str, npt.NDArray[Any]]

QUESTION_ANSWERING = "question-answering"
WITH_WORDS = ("token-classification",)
PADDINGS = ("buckets", "longest")
WITH_OFFSETS = (*WITH_WORDS, QUESTION_ANSWERING)


class TextError(ValueError):
    """A request that has no answer; says which row, and why."""


@dataclass(frozen=True)
class EncoderSettings:
    """The choices of `TextSpec`, and what the model takes: `max_rows` a request, padded to one length.

    That is a length bucket or, with `padding` longest, the length of the longest row, at least `min_length`. `prompt`
    is put before every text.
    """

    task: str
    length_buckets: tuple[int, ...]
    max_rows: int
    long_input: str = "truncate"
    stride: int = 64
    prompt: str = ""
    max_characters: int = 1_000_000
    padding: str = "buckets"
    min_length: int = 1

    @classmethod
    def parse(cls, parameters: Mapping[str, str], max_batch_size: int) -> "EncoderSettings":
        """Read the parameters of config.pbtxt.

        Raises:
            ValueError: One is not what it should be.
        """
        padding = parameters.get("padding", "buckets")
        if padding not in PADDINGS:
            raise ValueError(f"parameter padding is '{padding}', expected one of {', '.join(PADDINGS)}")
        return cls(
            task=parameters["task"],
            length_buckets=tuple(int(bucket) for bucket in parameters["length_buckets"].split(",")),
            max_rows=max_batch_size or int(parameters["max_rows"]),
            long_input=parameters["long_input"],
            stride=int(parameters["stride"]),
            prompt=parameters.get("prompt", ""),
            max_characters=int(parameters.get("max_characters", cls.max_characters)),
            padding=padding,
            min_length=int(parameters.get("min_length", cls.min_length)),
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the text inputs; the last is the one that may be long."""
        return ("QUESTION", "CONTEXT") if self.task == QUESTION_ANSWERING else ("TEXT",)


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
        self.pad_id = int(padding.get("pad_id", tokenizer.token_to_id("[PAD]") or 0))
        self.settings = settings
        self.frame = _frame_from_tokenizer(tokenizer, len(settings.columns))
        self.longest = settings.length_buckets[-1]
        if self.longest - len(self.frame) < 1:
            raise ValueError(f"the longest length bucket, {self.longest}, has no room beside the special tokens")
        # Without offsets it is faster.
        encode_batch = tokenizer.encode_batch if settings.task in WITH_OFFSETS else tokenizer.encode_batch_fast
        # With more tokens than these a text is cut or refused, whatever else stands in it.
        enough = self.longest * (settings.max_rows if settings.long_input == "stride" else 1)
        self._tokenizer = BoundedTokenizer(tokenizer, encode_batch, enough, settings.max_characters)

    def warm_up(self) -> None:
        """Encode one full row, which takes the library's first call off the first request."""
        self._tokenizer.encode(["a " * self.longest])

    def encode(self, requests: Sequence[Sequence[npt.NDArray[np.object_]]]) -> list[Arrays | TextError]:
        """Answer each request by itself; the tokenizer is called once for all of them.

        Args:
            requests: Of each request one array [N, 1] of UTF-8 bytes for each column.

        Returns:
            For each request its arrays, M >= N rows padded to one length S: ``input_ids``,
            ``attention_mask``, ``token_type_ids`` [M, S]; ``WINDOW`` [M, 5], which says of a row: its text's
            index, the first of the text's tokens in it and their number, where they stand in the row, and the
            row's length without padding. Where the task needs them ``OFFSETS`` [M, S, 2], the characters of
            each token in the text, ``WORDS`` [M, S], the index of its word (-1: none), and ``SOURCE`` [M, 1],
            the text beside its first row. Or why there is no answer.
        """
        decoded = [self._decode(columns) for columns in requests]
        flat = [text for texts in decoded if not isinstance(texts, TextError) for row in texts for text in row]
        encodings = iter(self._tokenizer.encode(flat))
        return [texts if isinstance(texts, TextError) else self._arrange(texts, encodings) for texts in decoded]

    def _decode(self, columns: Sequence[npt.NDArray[np.object_]]) -> list[tuple[str, ...]] | TextError:
        decoded: list[list[str]] = []
        for name, column in zip(self.settings.columns, columns, strict=True):
            texts = []
            for row, content in enumerate(column.reshape(-1)):
                try:
                    texts.append(self.settings.prompt + content.decode())
                except UnicodeDecodeError as err:
                    return TextError(f"row {row} of {name} is not UTF-8: {err.reason} at byte {err.start}")
            decoded.append(texts)
        return list(zip(*decoded, strict=True))

    def _arrange(self, texts: list[tuple[str, ...]], encodings: Iterator[Part]) -> Arrays | TextError:
        # All of the request's encodings are taken before anything can fail: the next request's come after them.
        parts = [[next(encodings) for _ in row] for row in texts]
        try:
            rows = [row for text, columns in enumerate(parts) for row in self._rows(text, columns)]
            self._check_count(len(rows), len(texts), is_whole=all(row[-1].is_whole for row in parts))
        except TextError as err:
            return err
        return self._pack(rows, texts)

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

    def _pack(self, rows: list[_Row], texts: list[tuple[str, ...]]) -> Arrays:
        width = self._choose_width(max(len(row) for row in rows))
        window = np.array([(row.text, row.begin, row.count, row.position, len(row)) for row in rows], np.int32)
        ids = np.full((len(rows), width), self.pad_id, np.int64)
        for index, row in enumerate(rows):
            body = row.encoding.ids if row.count == len(row.encoding) else row.encoding.ids[row.begin : row.end]
            ids[index, : len(row)] = [*row.head.ids, *body, *row.tail.ids]
        arrays: Arrays = {
            "input_ids": ids,
            "attention_mask": (np.arange(width) < window[:, 4:]).astype(np.int64),
            "token_type_ids": self._types(rows, width),
            "WINDOW": window,
        }
        return arrays | self._details(rows, texts, width)

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
            for index, row in enumerate(rows):
                indices = [-1 if word is None else word for word in row.encoding.word_ids[row.begin : row.end]]
                words[index, row.position : row.position + row.count] = indices
            details["WORDS"] = words
        return details
