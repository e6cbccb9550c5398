"""From the texts of several requests to the arrays that the model and the post-processor take."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from .bounded import BoundedTokenizer, Part
from .frame import Side, frame_from_tokenizer
from .pairs import counts_decide, share_room
from .prompts import MASK, TextError
from .settings import PAIRS, QUESTION_ANSWERING, EncoderSettings
from .windows import choose_bucket, cut_windows
from .words import choose_words

Ints = npt.NDArray[np.int64]
Arrays = dict[str, npt.NDArray[Any]]

_T = TypeVar("_T")

WITH_WORDS = ("token-classification",)
WITH_OFFSETS = (*WITH_WORDS, QUESTION_ANSWERING)
PADDING_TOKENS = ("[PAD]", "<pad>")


def _find_padding(tokenizer: Any) -> int:
    """Return the id of the padding token, which a tokenizer.json without padding does not say: BERT's or RoBERTa's."""
    ids = (tokenizer.token_to_id(token) for token in PADDING_TOKENS)
    return next((index for index in ids if index is not None), 0)


@dataclass(frozen=True)
class _Request:
    """The columns of a request, texts with their prompts, and how many first tokens of a row the pooling leaves out.

    A column has a text for each row, or one for all of them.
    """

    columns: list[list[str]]
    left_out: list[int]

    @property
    def rows(self) -> int:
        return max(map(len, self.columns))

    @property
    def sources(self) -> list[str]:
        """The text that may be long, of each row."""
        return _repeat(self.columns[-1], self.rows)


@dataclass(frozen=True)
class _Row:
    """One row for the model: `begin` to `end` of a text's tokens between `head` and `tail`."""

    text: int
    encoding: Any
    begin: int
    end: int
    head: Side
    tail: Side

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
        self.frame = frame_from_tokenizer(tokenizer, len(settings.columns))
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
            requests: Of each request one array [N, 1] of UTF-8 bytes for each column; one of [1, 1] stands beside
                each row of the others.
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
        read_columns = [column for read in decoded if not isinstance(read, TextError) for column in read.columns]
        flat = [text for column in read_columns for text in column]
        encodings = iter(self._tokenizer.encode(flat))
        return [read if isinstance(read, TextError) else self._arrange(read, encodings) for read in decoded]

    def _decode(
        self, columns: Sequence[npt.NDArray[np.object_]], names: npt.NDArray[np.object_] | None
    ) -> _Request | TextError:
        decoded: list[list[str]] = []
        try:
            self._check_counts([column.size for column in columns])
            prompts = self.settings.prompts.choose(names, columns[-1].size)
        except TextError as err:
            return err
        for name, column in zip(self.settings.columns, columns, strict=True):
            texts = []
            for row, content in enumerate(column.reshape(-1)):
                try:
                    texts.append(prompts[row] + content.decode() if len(columns) == 1 else content.decode())
                except UnicodeDecodeError as err:
                    return TextError(f"row {row} of {name} is not UTF-8: {err.reason} at byte {err.start}")
            decoded.append(texts)
        return _Request(decoded, [self._left_out.get(prompt, 0) for prompt in prompts])

    def _check_counts(self, counts: Sequence[int]) -> None:
        """Refuse a request for the number of its texts alone, before any of them is tokenized."""
        names, count, most = self.settings.columns, max(counts), self.settings.max_rows
        if not min(counts):
            raise TextError(f"{names[counts.index(0)]} has no row: send a text")
        if set(counts) - {1, count}:
            sent = " and ".join(f"{rows} of {name}" for rows, name in zip(counts, names, strict=True))
            raise TextError(f"the request has {sent}: send as many of each, or one of {names[0]} for all")
        if count > most:
            what = "pairs" if len(names) > 1 else "texts"
            raise TextError(
                f"the request has {count} {what}, and the model takes {most} at once: send at most {most} in a "
                f"request, {-(-count // most)} requests for all of them"
            )

    def _arrange(self, request: _Request, encodings: Iterator[Part]) -> Arrays | TextError:
        # All of the request's encodings are taken before anything can fail: the next request's come after them.
        columns = [[next(encodings) for _ in column] for column in request.columns]
        parts = list(zip(*(_repeat(column, request.rows) for column in columns), strict=True))
        try:
            rows = [row for text, row_parts in enumerate(parts) for row in self._rows(text, row_parts)]
            self._check_windows(len(rows), request.rows, is_whole=all(row[-1].is_whole for row in parts))
        except TextError as err:
            return err
        return self._pack(rows, request)

    def _check_windows(self, rows: int, texts: int, *, is_whole: bool) -> None:
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
        if self.settings.task == PAIRS and self.settings.long_input != "stride":
            yield self._pair_row(text, columns)
            return
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

    def _pair_row(self, text: int, columns: Sequence[Part]) -> _Row:
        """Return the row of two texts, which are cut as the checkpoint's own tokenizer does."""
        first, second = columns
        room, strategy = self.longest - len(self.frame), self.settings.truncation
        counts = len(first), len(second)
        if sum(counts) > room and self.settings.long_input == "reject":
            raise TextError(
                f"row {text} has {first.count} tokens of TEXT and {second.count} of TEXT_PAIR, and the model takes "
                f"{room} of both: shorten them"
            )
        if counts_decide(first, second, room, strategy):
            counts = self._tokenizer.count(first), self._tokenizer.count(second)
        kept = share_room(*counts, room, strategy)
        if kept is None:
            whole, cut = ("TEXT", "TEXT_PAIR") if strategy == "only_second" else ("TEXT_PAIR", "TEXT")
            tokens = (first if whole == "TEXT" else second).count
            raise TextError(
                f"row {text} of {whole} has {tokens} tokens, the model takes {room} of both, and this tokenizer cuts "
                f"{cut} alone: shorten {whole}"
            )
        head = self._opening(first.encoding.ids[: kept[0]])
        return _Row(text, second.encoding, 0, kept[1], head, self.frame.sides[-1])

    def _opening(self, ids: list[int]) -> Side:
        """Return a first text with the special tokens round it."""
        return self.frame.sides[0] + Side(ids, [self.frame.types[0]] * len(ids)) + self.frame.sides[1]

    def _head(self, text: int, columns: Sequence[Part]) -> Side:
        """Return what stands before the text: special tokens, and the question with its own."""
        if len(columns) == 1:
            return self.frame.sides[0]
        question, (first, last) = columns[0], self.settings.columns
        for name, part in zip(self.settings.columns, columns, strict=True):
            if not len(part) and self.settings.task == QUESTION_ANSWERING:
                raise TextError(f"row {text} of {name} is empty: there is nothing to answer")
        allowed = (self.longest - len(self.frame)) // 2
        if len(question) > allowed:
            raise TextError(
                f"row {text} of {first} has {question.count} tokens, and may have {allowed}: half of what the model "
                f"takes is {'the context' if last == 'CONTEXT' else last}'s"
            )
        return self._opening(question.encoding.ids)

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
        return arrays | self._details(rows, request.sources, width)

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

    def _details(self, rows: list[_Row], sources: list[str], width: int) -> Arrays:
        details: Arrays = {}
        if self.settings.task in WITH_OFFSETS:
            offsets = np.zeros((len(rows), width, 2), np.int32)
            for index, row in enumerate(rows):
                if row.count:
                    place = slice(row.position, row.position + row.count)
                    offsets[index, place] = row.encoding.offsets[row.begin : row.end]
            first = [sources[row.text].encode() if row.begin == 0 else b"" for row in rows]
            details = {"OFFSETS": offsets, "SOURCE": np.array(first, np.object_).reshape(-1, 1)}
        if self.settings.task in WITH_WORDS:
            words = np.full((len(rows), width), -1, np.int32)
            of_text: dict[int, list[int]] = {}
            for index, row in enumerate(rows):
                if row.text not in of_text:
                    of_text[row.text] = self._find_words(sources[row.text], row.encoding)
                words[index, row.position : row.position + row.count] = of_text[row.text][row.begin : row.end]
            details["WORDS"] = words
        return details


def _repeat(column: list[_T], rows: int) -> list[_T]:
    return column if len(column) == rows else column * rows
