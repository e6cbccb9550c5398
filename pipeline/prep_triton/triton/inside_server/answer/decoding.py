"""The text of one token by the decoder that tokenizer.json declares, as `tokenizers` and transformers decode its id."""

import re
from collections.abc import Callable, Mapping
from functools import partial, reduce
from typing import Any

Decode = Callable[[str], str]

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
# `tokenizers`, decoders/wordpiece.rs, in its order.
_CLEANED = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" do not", " don't"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)


def decode_from_tokenizer(content: Mapping[str, Any]) -> Decode:
    """Return what makes text of one token of a tokenizer.json.

    A token alone is first and last of its text: it keeps WordPiece's ``##``, and loses Metaspace's leading space.

    Raises:
        ValueError: Its decoder is none that `tokenizers` has.
    """
    return _decode_from_decoder(content.get("decoder"))


def _decode_from_decoder(decoder: Mapping[str, Any] | None) -> Decode:
    if decoder is None:
        return str
    build = _BUILDERS.get(decoder["type"])
    if build is None:
        raise ValueError(f"tokenizer.json has a decoder that tokens are not read with: {decoder!s:.100}")
    return build(decoder)


def _decode_in_sequence(decoder: Mapping[str, Any]) -> Decode:
    steps = [_decode_from_decoder(step) for step in decoder["decoders"]]
    return lambda token: reduce(lambda text, step: step(text), steps, token)


def _replace_pattern(decoder: Mapping[str, Any]) -> Decode:
    pattern, new = decoder["pattern"], decoder["content"]
    if "String" in pattern:
        return _replace(pattern["String"], new)
    return partial(re.compile(pattern["Regex"]).sub, lambda _: new)  # without the groups that re puts into a string


def _replace_mark(decoder: Mapping[str, Any]) -> Decode:
    return _replace(decoder["replacement"], " " if decoder.get("prepend_scheme") == "never" else "")


def _replace(old: str, new: str) -> Decode:
    return lambda token: token.replace(old, new)


def _clean(token: str) -> str:
    return reduce(lambda text, pair: text.replace(*pair), _CLEANED, token)


def _byte_of_characters() -> dict[str, int]:
    """Return the byte of each character of GPT-2's alphabet: itself where it is printable, else 256 and following."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [value for value in range(256) if value not in printable]
    return {chr(value): value for value in printable} | {chr(256 + at): value for at, value in enumerate(others)}


def _decode_bytes(token: str, *, table: Mapping[str, int]) -> str:
    """Return the text of a token's bytes; a token with another character, such as one that was added, is its text."""
    if any(character not in table for character in token):
        return token
    return bytes(table[character] for character in token).decode(errors="replace")


def _decode_byte(token: str) -> str:
    byte = _BYTE.fullmatch(token)
    return bytes([int(byte[1], 16)]).decode(errors="replace") if byte else token


def _strip(token: str, *, mark: str, start: int, stop: int) -> str:
    first = next((at for at, character in enumerate(token[:start]) if character != mark), min(start, len(token)))
    rest = token[first:]
    last = next((at for at, character in enumerate(rest[::-1][:stop]) if character != mark), min(stop, len(rest)))
    return rest[: len(rest) - last]


_BUILDERS: Mapping[str, Callable[[Mapping[str, Any]], Decode]] = {
    "BPEDecoder": lambda decoder: _replace(decoder.get("suffix", "</w>"), ""),
    "ByteFallback": lambda _: _decode_byte,
    "ByteLevel": lambda _: partial(_decode_bytes, table=_byte_of_characters()),
    "Fuse": lambda _: str,
    "Metaspace": _replace_mark,
    "Replace": _replace_pattern,
    "Sequence": _decode_in_sequence,
    "Strip": lambda decoder: partial(
        _strip, mark=decoder["content"], start=decoder.get("start", 0), stop=decoder.get("stop", 0)
    ),
    "WordPiece": lambda decoder: _clean if decoder.get("cleanup", True) else str,
}
