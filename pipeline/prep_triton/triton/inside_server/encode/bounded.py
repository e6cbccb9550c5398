"""Tokenizes no more of a text than can reach the model, so that no text holds the memory or the worker."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .cuts import find_cuts

# Text of BERT's vocabularies has four or five characters a token; the rest saves a second attempt.
_CHARACTERS_A_TOKEN = 8


@dataclass(frozen=True)
class Part:
    """A text's tokens.

    Args:
        encoding: Of the whole text, or of a beginning with more tokens than were asked for; None where there is none.
        is_whole: Whether all of the text was tokenized.
        problem: Why there is no encoding: what a sentence goes on with after naming the text.
        text: The whole text, where it was not read to its end.
    """

    encoding: Any
    is_whole: bool = True
    problem: str = ""
    text: str = ""

    def __len__(self) -> int:
        return len(self.encoding)

    @property
    def count(self) -> str:
        """The number of tokens, for a sentence."""
        return str(len(self)) if self.is_whole else f"at least {len(self)}"


class BoundedTokenizer:
    """Tokenizes texts of any length, at most `max_characters` of each.

    A text is cut where the tokens of the beginning are the first tokens of the whole (`find_cuts`). Where the tokenizer
    is of a kind of which that is not known nothing is cut.

    Args:
        tokenizer: A ``tokenizers.Tokenizer``.
        encode_batch: Its method to call.
        enough: A text with more tokens than this need not be read on.
        max_characters: A text whose beginning of this size does not have them is refused, if there is more of it.
    """

    def __init__(self, tokenizer: Any, encode_batch: Callable[..., Any], enough: int, max_characters: int) -> None:
        self._encode_batch = encode_batch
        self._can_cut = find_cuts(tokenizer)
        self.enough, self.max_characters = enough, max_characters
        self.first = min(_CHARACTERS_A_TOKEN * (enough + 1), max_characters)

    def encode(self, texts: Sequence[str]) -> list[Part]:
        """Tokenize texts, without special tokens; those that are short all at once."""
        short = [text for text in texts if len(text) <= self.first]
        parts = iter(self._call(short))
        return [next(parts) if len(text) <= self.first else self._encode_long(text) for text in texts]

    def count(self, part: Part) -> int:
        """Return how many tokens a text has, in all of it that is read: at most `max_characters`."""
        if part.is_whole:
            return len(part)
        (read,) = self._call([part.text[: self._find_end(part.text, self.max_characters)]])
        return len(part) if read.problem else max(len(part), len(read))

    def _encode_long(self, text: str) -> Part:
        size = self.first
        while True:
            end = self._find_end(text, size)
            if not end:
                return self._refuse(text)
            (part,) = self._call([text[:end]])
            if part.problem or end == len(text):
                return part
            if len(part) > self.enough:
                return Part(part.encoding, is_whole=False, text=text)
            if size == self.max_characters:
                return self._refuse(text)
            size = min(2 * max(size, end), self.max_characters)

    def _find_end(self, text: str, size: int) -> int:
        """Return where a beginning of about `size` characters, or of the next that can be cut, ends; 0: nowhere."""
        while size < len(text):
            for end in range(size, size // 2, -1):
                if self._can_cut(text, end):
                    return end
            if size == self.max_characters:
                return 0
            size = min(2 * size, self.max_characters)
        return len(text)

    def _refuse(self, text: str) -> Part:
        problem = f"has {len(text)} characters, and at most {self.max_characters} are read: shorten it"
        return Part(None, problem=problem)

    def _call(self, texts: list[str]) -> list[Part]:
        try:
            return [Part(encoding) for encoding in self._encode_batch(texts, add_special_tokens=False)]
        except BaseException as err:  # a panic of the library's Rust is no Exception
            if not isinstance(err, Exception) and type(err).__name__ != "PanicException":
                raise
            if len(texts) == 1:
                return [Part(None, problem=f"cannot be tokenized: {' '.join(str(err).split()):.200}")]
        return [part for text in texts for part in self._call([text])]
