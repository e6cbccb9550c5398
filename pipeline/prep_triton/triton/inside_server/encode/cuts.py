"""Where a text may be cut so that the tokens of its beginning are the first tokens of the whole."""

import json
from collections.abc import Callable
from typing import Any

# Where a word of BERT's ends whatever stands before: white space and punctuation. '_' counts as a letter of a token.
_ENDS = " \n\t!\"#$%&'()*+,-./:;<=>?@[\\]^`{|}~。，、！？；："
_FIRST_IDEOGRAPH, _LAST_IDEOGRAPH = "\u4e00", "\u9fff"

# Whether a text may be cut before its character at a place, which is not the first.
CanCut = Callable[[str, int], bool]


def find_cuts(tokenizer: Any) -> CanCut:
    """Return where texts of a tokenizer may be cut; nowhere where it is of a kind of which that is not known.

    Before a character that begins a word, and that is part of no added token: a normalizer and a pre-tokenizer of these
    kinds see no further than one word, and a model sees one.
    """
    added = tokenizer.get_added_tokens_decoder().values()
    # A token that must be a word by itself looks at its neighbours.
    if not any(token.single_word for token in added):
        kinds = [type(getattr(tokenizer, part)).__name__ for part in ("normalizer", "pre_tokenizer", "model")]
        if kinds == ["BertNormalizer", "BertPreTokenizer", "WordPiece"]:
            return _cuts_of_wordpiece(tokenizer)
        if _ends_words_at_spaces(tokenizer, *kinds) and not any(" " in token.content for token in added):
            # The first of several spaces: they are one piece, but for the last of them.
            return lambda text, end: text[end] == " " and text[end - 1].isalnum()
    return lambda *_: False


def _cuts_of_wordpiece(tokenizer: Any) -> CanCut:
    """Return where BERT's texts may be cut: before what begins a word whatever stands before it."""
    normalize = tokenizer.normalizer.normalize_str
    added = tokenizer.get_added_tokens_decoder().values()
    inside = {letter for token in added for letter in token.content + normalize(token.content)}
    if any(letter.isspace() for letter in inside):
        return lambda *_: False  # it may reach over the end of a word
    ends = frozenset(_ENDS) - inside
    if not tokenizer.normalizer.handle_chinese_chars:
        return lambda text, end: text[end] in ends

    def can_cut(text: str, end: int) -> bool:
        letter = text[end]
        return letter in ends or (_FIRST_IDEOGRAPH <= letter <= _LAST_IDEOGRAPH and letter not in inside)

    return can_cut


def _ends_words_at_spaces(tokenizer: Any, normalizer: str, pre_tokenizer: str, model: str) -> bool:
    """Whether it is RoBERTa's (byte-level BPE) or XLM-R's (SentencePiece's Unigram on what stands between spaces)."""
    if (normalizer, pre_tokenizer, model) == ("NoneType", "ByteLevel", "BPE"):
        return bool(tokenizer.pre_tokenizer.use_regex)
    if normalizer not in ("NoneType", "Precompiled") or (pre_tokenizer, model) != ("Sequence", "Unigram"):
        return False
    steps = json.loads(tokenizer.pre_tokenizer.__getstate__())["pretokenizers"]
    return [step["type"] for step in steps] == ["WhitespaceSplit", "Metaspace"]
