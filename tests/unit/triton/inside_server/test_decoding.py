"""The text of a token is what `tokenizers`, and so transformers' pipeline, decodes its id to."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prep_triton.triton.inside_server.answer.decoding import decode_from_tokenizer
from tokenizers import Tokenizer, models

from tests.fakes.mpnet_tokenizer import write_mpnet
from tests.fakes.subword import write_byte_level, write_modern, write_unigram
from tests.fakes.wordpiece import make_tokenizer

WORDPIECE = {"type": "WordPiece", "prefix": "##", "cleanup": True}
METASPACE = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}
LLAMA = [
    {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
    {"type": "ByteFallback"},
    {"type": "Fuse"},
    {"type": "Strip", "content": " ", "start": 1, "stop": 0},
]
DECODERS: list[dict[str, Any] | None] = [
    None,
    {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    WORDPIECE,
    {**WORDPIECE, "cleanup": False},
    METASPACE,
    {**METASPACE, "prepend_scheme": "never"},
    {**METASPACE, "prepend_scheme": "first"},
    {"type": "Replace", "pattern": {"Regex": "[0-9]+"}, "content": "\\1"},
    {"type": "BPEDecoder", "suffix": "</w>"},
    {"type": "Sequence", "decoders": LLAMA},
]
PIECES = st.sampled_from(["\u2581", "\u0120", "##", " ", " n't", " .", " do not", "</w>", "<0x41>", "<0xE2>", "\u010a"])


def write_wordpiece(folder: Path) -> None:
    make_tokenizer().save(str(folder / "tokenizer.json"))


@pytest.mark.parametrize("write", [write_byte_level, write_modern, write_unigram, write_mpnet, write_wordpiece])
def test_every_token_of_a_vocabulary_has_the_text_of_its_id(write, tmp_path):
    write(tmp_path)
    content = (tmp_path / "tokenizer.json").read_text(encoding="utf-8")
    decode, tokenizer = decode_from_tokenizer(json.loads(content)), Tokenizer.from_str(content)
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    assert {token: decode(token) for token in vocabulary} == {
        token: tokenizer.decode([index], skip_special_tokens=False) for token, index in vocabulary.items()
    }


@given(token=st.lists(PIECES | st.text(max_size=3), min_size=1, max_size=4).map("".join).filter(bool), data=st.data())
def test_any_token_has_the_text_that_its_decoder_gives(token, data):
    decoder = data.draw(st.sampled_from(DECODERS))
    content = json.loads(Tokenizer(models.WordLevel({token: 0}, unk_token=token)).to_str()) | {"decoder": decoder}
    expected = Tokenizer.from_str(json.dumps(content)).decode([0], skip_special_tokens=False)
    assert decode_from_tokenizer(content)(token) == expected


def test_an_unknown_decoder_is_refused():
    with pytest.raises(ValueError, match=r"a decoder that tokens are not read with: \{'type': 'CTC'"):
        decode_from_tokenizer({"decoder": {"type": "CTC"}})
