"""Which tokens of a text are one word, as transformers' token-classification pipeline takes them."""

from collections.abc import Callable
from typing import Any

# Of a text and its encoding: the index of each token's word, -1 where it belongs to none.
FindWords = Callable[[str, Any], list[int]]


def choose_words(tokenizer: Any) -> FindWords:
    """Return how the tokens of a tokenizer make words.

    WordPiece marks what continues a word. Where no token is marked so (byte-level BPE, SentencePiece), the pipeline
    reads the text: a space begins a word, and so does an unknown token (transformers,
    `TokenClassificationPipeline.gather_pre_entities`); "London." is one.
    """
    if getattr(tokenizer.model, "continuing_subword_prefix", None):
        return lambda _, encoding: [-1 if word is None else word for word in encoding.word_ids]
    unknown = _find_unknown(tokenizer)
    return lambda text, encoding: _words_by_spaces(text, encoding, unknown)


def _find_unknown(tokenizer: Any) -> int | None:
    own = getattr(tokenizer.model, "unk_id", None)
    index = own if own is not None else tokenizer.token_to_id(getattr(tokenizer.model, "unk_token", None) or "<unk>")
    return None if index is None else int(index)


def _words_by_spaces(text: str, encoding: Any, unknown: int | None) -> list[int]:
    words, word = [], -1
    for index, (start, _) in zip(encoding.ids, encoding.offsets, strict=True):
        begins = start == 0 or " " in text[start - 1 : start + 1] or index == unknown
        word = max(0, word + begins)  # whatever stands first begins one
        words.append(word)
    return words
