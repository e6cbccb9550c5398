"""Labels of tokens to entities in the text."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .windows import ROW, Array, count_texts, own_tokens, softmax

OUTSIDE = "O"
_TAGGED = re.compile(r"([BI])-(.+)")


@dataclass(frozen=True)
class _Piece:
    """A run of characters with one label."""

    label: str
    start: int
    end: int
    scores: tuple[float, ...]

    def joined(self, other: "_Piece") -> "_Piece":
        return _Piece(self.label, self.start, other.end, self.scores + other.scores)

    def written(self, text: str) -> dict[str, object]:
        return {
            "label": self.label,
            "score": round(float(np.mean(self.scores)), 6),
            "start": self.start,
            "end": self.end,
            "text": text[self.start : self.end],
        }


@dataclass(frozen=True)
class TokenTensors:
    """What is known of the rows' tokens: `offsets` [M, S, 2], `words` [M, S], `sources` [M, 1] of UTF-8 bytes."""

    window: Array
    offsets: Array
    words: Array
    sources: Array


def find_entities(logits: Array, tokens: TokenTensors, labels: Sequence[str]) -> list[str]:
    """Return each text's entities as JSON: a list of {label, score, start, end, text}, characters, end exclusive.

    With labels such as B-PER and I-PER a word has the label of its first token, an I- goes on with the entity of
    the same name right before it, and O is left out; an entity's score is the mean over its words. With other
    labels each token is an item of its own, but for those that are labelled O.

    Args:
        logits: [M, S, number of labels].
        tokens: Of the same rows.
        labels: Of each logit.
    """
    window = tokens.window
    owned = own_tokens(window, logits.shape[1])
    tagged = any(_TAGGED.fullmatch(label) for label in labels)
    answers = []
    for text in range(count_texts(window)):
        rows = window[:, ROW] == text
        source = tokens.sources[np.flatnonzero(rows)[0], 0].decode()
        # Rows are in the order of the text, and so are the tokens that each of them owns.
        mine = owned[rows]
        probabilities = softmax(logits[rows][mine]) if mine.any() else np.zeros((0, len(labels)))
        offsets, words = tokens.offsets[rows][mine], tokens.words[rows][mine]
        pieces = (
            _merge_tags(_words(probabilities, offsets, words, labels))
            if tagged
            else _tokens(probabilities, offsets, labels)
        )
        answers.append(json.dumps([piece.written(source) for piece in pieces], ensure_ascii=False))
    return answers


def _tokens(probabilities: Array, offsets: Array, labels: Sequence[str]) -> Iterator[_Piece]:
    best = probabilities.argmax(axis=1)
    for index in np.flatnonzero(np.array([label != OUTSIDE for label in labels])[best]):
        start, end = offsets[index].tolist()
        yield _Piece(labels[best[index]], start, end, (float(probabilities[index, best[index]]),))


def _words(probabilities: Array, offsets: Array, words: Array, labels: Sequence[str]) -> Iterator[_Piece]:
    if not len(words):
        return
    # A token that belongs to no word, -1, is one by itself.
    starts = np.flatnonzero(np.concatenate([[True], (words[1:] != words[:-1]) | (words[1:] < 0)]))
    ends = np.append(starts[1:], len(words)) - 1
    best = probabilities[starts].argmax(axis=1)
    for first, last, label in zip(starts.tolist(), ends.tolist(), best.tolist(), strict=True):
        score = float(probabilities[first, label])
        yield _Piece(labels[label], int(offsets[first, 0]), int(offsets[last, 1]), (score,))


def _merge_tags(words: Iterator[_Piece]) -> list[_Piece]:
    merged: list[_Piece] = []
    is_open = False  # whether the word right before belongs to the last entity
    for word in words:
        tag = _TAGGED.fullmatch(word.label)
        name = tag[2] if tag else word.label
        if word.label == OUTSIDE:
            is_open = False
            continue
        piece = _Piece(name, word.start, word.end, word.scores)
        if is_open and tag and tag[1] == "I" and merged[-1].label == name:
            merged[-1] = merged[-1].joined(piece)
        else:
            merged.append(piece)
        is_open = tag is not None
    return merged
