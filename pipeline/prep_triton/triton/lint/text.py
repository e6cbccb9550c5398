"""The text of a config.pbtxt: the line of every field, and what the parser itself does not tell.

`google.protobuf.text_format` stops at the first mistake and knows no lines afterwards; this walk, over the same
library's tokens, finds every unknown field and every key that is given twice.
"""

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from prep_triton.errors import suggest

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

_CLOSING = {"{": "}", "<": ">"}
_DEEPEST = 50  # protobuf's own parsers stop at 100


@dataclass
class FieldMap:
    """What a walk over the text found.

    `lines` maps a path (``input[0].dims``; repeated fields are numbered) to its line, from 1; `unknown` holds
    (line, message, field, hint); `doubled` (line, path, key) of a map's key that was there before.
    """

    lines: dict[str, int] = field(default_factory=dict)
    unknown: list[tuple[int, str, str, str]] = field(default_factory=list)
    doubled: list[tuple[int, str, str]] = field(default_factory=list)

    def line_of(self, path: str) -> int | None:
        """Return the line of a field, or of the nearest one around it."""
        while path and path not in self.lines:
            path = path.rpartition(".")[0] if "." in path else ""
        return self.lines.get(path)


def map_fields(text: str) -> FieldMap:
    """Walk over the text of a configuration; stops silently where it is no text format."""
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    found = FieldMap()
    try:
        # str.splitlines would also split at characters that end no line for protobuf.
        tokens = text_format.Tokenizer(text.split("\n"))
        _walk_message(tokens, model_config_pb2.ModelConfig.DESCRIPTOR, found, "", "")
    except (text_format.ParseError, RecursionError):
        pass  # the parser tells it
    return found


def parse_leniently(text: str) -> "ModelConfig":
    """Parse a configuration, passing over unknown fields.

    Raises:
        ParseError: The text is no text format, or a value has the wrong type.
    """
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    with warnings.catch_warnings():
        # The server refuses an escape that is none; Python's own decoder only warns of it.
        warnings.simplefilter("error", DeprecationWarning)
        try:
            return text_format.Parse(text, model_config_pb2.ModelConfig(), allow_unknown_field=True)
        except DeprecationWarning as err:
            raise text_format.ParseError("a string has an escape that is none") from err


def _walk_message(tokens: Any, message: Any, found: FieldMap, path: str, closing: str) -> None:
    counts: dict[str, int] = {}
    keys: dict[str, set[str]] = {}
    while not (tokens.LookingAt(closing) if closing else tokens.AtEnd()):
        line = tokens._line + 1
        name = tokens.ConsumeIdentifierOrNumber()
        descriptor = message.fields_by_name.get(name) if message else None
        if message and descriptor is None:
            fields = sorted(message.fields_by_name)
            hint = suggest(name, fields, otherwise=f"known here: {', '.join(fields)}")
            found.unknown.append((line, message.name, name, hint))
        where = f"{path}.{name}" if path else name
        for at, value in _walk_values(tokens, descriptor, found, where, counts):
            found.lines.setdefault(at, line)
            if descriptor is not None and _is_map(descriptor):
                _note_key(value, keys.setdefault(name, set()), found, (line, where))
        _ = tokens.TryConsume(",") or tokens.TryConsume(";")


def _walk_values(tokens: Any, descriptor: Any, found: FieldMap, where: str, counts: dict[str, int]) -> Any:
    """Yield (path, key of a map entry or None) for each value of one field."""
    is_numbered = descriptor is not None and descriptor.is_repeated and not _is_map(descriptor)
    tokens.TryConsume(":")
    is_list = tokens.TryConsume("[")
    while not (is_list and tokens.TryConsume("]")):
        number = counts.get(where, 0)
        counts[where] = number + 1
        at = f"{where}[{number}]" if is_numbered and descriptor.message_type else where
        found.lines.setdefault(at, tokens._line + 1)
        yield at, _walk_value(tokens, descriptor.message_type if descriptor else None, found, at)
        if not is_list:
            return
        tokens.TryConsume(",")


def _walk_value(tokens: Any, message: Any, found: FieldMap, at: str) -> str | None:
    """Pass over one value; return the key of a map entry."""
    if tokens.AtEnd() or at.count(".") > _DEEPEST:
        raise RecursionError
    opening = next((sign for sign in _CLOSING if tokens.TryConsume(sign)), None)
    if opening is None:
        tokens.NextToken()
        while tokens.token[:1] in {'"', "'"}:  # strings that follow each other are one
            tokens.NextToken()
        return None
    if message is None or not message.GetOptions().map_entry:
        _walk_message(tokens, message, found, at, _CLOSING[opening])
        tokens.Consume(_CLOSING[opening])
        return None
    return _walk_map_entry(tokens, message, found, at, _CLOSING[opening])


def _walk_map_entry(tokens: Any, message: Any, found: FieldMap, at: str, closing: str) -> str:
    key = ""
    while not tokens.LookingAt(closing):
        name = tokens.ConsumeIdentifier()
        tokens.TryConsume(":")
        if name == "key":
            key = tokens.token.strip("\"'")
            tokens.NextToken()
        else:
            value = message.fields_by_name["value"].message_type if name == "value" else None
            _walk_value(tokens, value, found, f"{at}.{key}")
        _ = tokens.TryConsume(",") or tokens.TryConsume(";")
    tokens.Consume(closing)
    return key


def _is_map(descriptor: Any) -> bool:
    return descriptor.message_type is not None and descriptor.message_type.GetOptions().map_entry


def _note_key(key: str | None, seen: set[str], found: FieldMap, place: tuple[int, str]) -> None:
    if key is None:
        return
    found.lines.setdefault(f"{place[1]}.{key}", place[0])
    if key in seen:
        found.doubled.append((*place, key))
    seen.add(key)
