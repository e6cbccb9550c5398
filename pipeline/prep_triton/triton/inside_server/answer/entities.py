"""Labels of tokens to entities in the text."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .windows import ROW, Array, count_texts, own_tokens, softmax

OUTSIDE = "O"
# IOB, BIOES (E ends an entity, S is one by itself), BILOU (L and U do) and BMES (M goes on with one).
_TAGGED = re.compile(r"([BIMESLU])-(.+)")
_INSIDE, _ENDS = "IM", "EL"


def tags_of_labels(labels: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return the tag and the name of each label that has one: ``B-PER`` is B and PER.

    E, M, S, L and U are tags only beside a B- or I- of the same name: ``E-mail`` alone is a name.
    """
    split = {label: (match[1], match[2]) for label in labels if (match := _TAGGED.fullmatch(label))}
    names = {name for tag, name in split.values() if tag in "BI"}
    return {label: (tag, name) for label, (tag, name) in split.items() if tag in "BI" or name in names}


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

    With labels such as B-PER and I-PER a word has the label of its first token, an I- (and BIOES' E-, BILOU's L-,
    BMES' M-) or a label without a tag goes on with the entity of the same name right before it, and O is left out; an
    entity's score is the mean over its words: transformers' ``aggregation_strategy="first"``. With other labels each
    token is an item of its own, but for those that are labelled O: ``"none"``.

    Args:
        logits: [M, S, number of labels].
        tokens: Of the same rows.
        labels: Of each logit.
    """
    window = tokens.window
    owned = own_tokens(window, logits.shape[1])
    tags = tags_of_labels(labels)
    answers = []
    for text in range(count_texts(window)):
        rows = window[:, ROW] == text
        source = tokens.sources[np.flatnonzero(rows)[0], 0].decode()
        # Rows are in the order of the text, and so are the tokens that each of them owns.
        mine = owned[rows]
        probabilities = softmax(logits[rows][mine]) if mine.any() else np.zeros((0, len(labels)))
        offsets, words = tokens.offsets[rows][mine], tokens.words[rows][mine]
        pieces = (
            _merge_tags(_words(probabilities, offsets, words, labels), tags)
            if tags
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


def _merge_tags(words: Iterator[_Piece], tags: Mapping[str, tuple[str, str]]) -> list[_Piece]:
    merged: list[_Piece] = []
    is_open = False  # whether the word right before belongs to an entity that may go on
    for word in words:
        if word.label == OUTSIDE:
            is_open = False
            continue
        tag, name = tags.get(word.label, ("I", word.label))
        piece = _Piece(name, word.start, word.end, word.scores)
        if is_open and tag in f"{_INSIDE}{_ENDS}" and merged[-1].label == name:
            merged[-1] = merged[-1].joined(piece)
        else:
            merged.append(piece)
        is_open = tag == "B" or tag in _INSIDE
    return merged
