"""Reads the text of a config.pbtxt field by field into a message, and notes where each field stands.

The grammar is protobuf's text format as the server reads it (C++, ``google/protobuf/text_format.cc`` and
``io/tokenizer.cc``). `google.protobuf.text_format.Parse` is not used: it stops at the first unknown field, keeps no
lines, and reads an escape that the server refuses. Its tokens are.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from prep_triton.errors import suggest

_CLOSING = {"{": "}", "<": ">"}
_DEEPEST = 50  # ModelConfig nests 5 deep; what is unknown may nest at will
_ESCAPE = re.compile(
    r"\\(?:(?P<sign>[abfnrtv?'\"\\])|(?P<octal>[0-7]{1,3})|x(?P<hex>[0-9a-fA-F]{1,2})"
    r"|u(?P<short>[0-9a-fA-F]{4})|U(?P<long>[0-9a-fA-F]{8})|(?P<none>.?))",
    re.DOTALL,
)
_SIGNS = {"a": b"\a", "b": b"\b", "f": b"\f", "n": b"\n", "r": b"\r", "t": b"\t", "v": b"\v"}


@dataclass(frozen=True)
class UnknownField:
    """A field that the message has not: the server refuses the whole file."""

    line: int
    message: str
    name: str
    known: tuple[str, ...]

    @property
    def hint(self) -> str:
        """The nearest field, or all of them."""
        return suggest(self.name, self.known, otherwise=f"known fields: {', '.join(self.known)}")


@dataclass(frozen=True)
class RepeatedKey:
    """A key of a map (`where`) that was there before: the server keeps the last value."""

    line: int
    where: str
    key: str


@dataclass
class TextNotes:
    """What a text says beyond the message.

    `lines` maps a path to its line, from 1: ``input[0].dims``, where repeated messages
    are numbered, ``parameters.KEY.string_value``, where maps go by their keys.
    """

    lines: dict[str, int] = field(default_factory=dict)
    unknown: list[UnknownField] = field(default_factory=list)
    repeated_keys: list[RepeatedKey] = field(default_factory=list)

    def line_of(self, path: str) -> int | None:
        """Return the line of a field, or of the nearest one around it."""
        while path and path not in self.lines:
            path = path.rpartition(".")[0]
        return self.lines.get(path)


class TextReader:
    """A walk over the tokens of a text that fills in a message.

    Every method raises `text_format.ParseError` where it is not text format.
    """

    def __init__(self, text: str, notes: TextNotes) -> None:
        from google.protobuf import text_format

        self.format, self.notes = text_format, notes
        self.line = 0  # of the token that comes next, from 1
        self.depth = 0
        # str.splitlines would also split at characters that end no line for protobuf.
        self.tokens = text_format.Tokenizer(self._count(text.split("\n")))

    def _count(self, lines: Iterable[str]) -> Iterator[str]:
        for line in lines:
            self.line += 1
            yield line

    def error(self, message: str, *, line: int | None = None) -> Exception:
        """Return an error at a line, or at the token that comes next."""
        error: Exception = self.format.ParseError(message, self.line if line is None else line)
        return error

    def read_fields(self, message: Any, path: str, *, closing: str) -> None:
        """Read the fields up to `closing`, or to the end; `message` is None where they are unknown."""
        self._descend()
        while not (closing and self.tokens.TryConsume(closing)):
            if self.tokens.AtEnd():
                if closing:
                    raise self.error(f'expected "{closing}", and the text ends')
                break
            self._read_field(message, path)
            _ = self.tokens.TryConsume(",") or self.tokens.TryConsume(";")
        self.depth -= 1

    def _descend(self) -> None:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self.error("fields are nested too deeply")

    def _read_field(self, message: Any, path: str) -> None:
        line, name = self.line, self.tokens.ConsumeIdentifierOrNumber()
        descriptor = message.DESCRIPTOR.fields_by_name.get(name) if message is not None else None
        where = f"{path}.{name}" if path else name
        if descriptor is None:
            if message is not None:
                known = tuple(sorted(message.DESCRIPTOR.fields_by_name))
                self.notes.unknown.append(UnknownField(line, message.DESCRIPTOR.name, name, known))
                self.notes.lines.setdefault(where, line)
            self._skip_value()
            return
        self._check_alternatives(message, descriptor, line)
        is_separated = self.tokens.TryConsume(":")
        if not is_separated and descriptor.message_type is None:
            raise self.error(f'expected ":" after {name}')
        if not (descriptor.is_repeated and self.tokens.TryConsume("[")):
            self._read_value(message, descriptor, where, line)
            return
        if self.tokens.TryConsume("]"):
            self.notes.lines.setdefault(where, line)
            return
        self._read_value(message, descriptor, where, self.line)
        while not self.tokens.TryConsume("]"):
            self.tokens.Consume(",")
            self._read_value(message, descriptor, where, self.line)

    def _check_alternatives(self, message: Any, descriptor: Any, line: int) -> None:
        if descriptor.containing_oneof is None:
            return
        other = message.WhichOneof(descriptor.containing_oneof.name)
        if other is not None and other != descriptor.name:
            raise self.error(f"{descriptor.name} and {other} exclude each other", line=line)

    def _read_value(self, message: Any, descriptor: Any, where: str, line: int) -> None:
        if descriptor.message_type is None:
            self.notes.lines.setdefault(where, line)
            self._set_scalar(message, descriptor, line)
            return
        opening = next((sign for sign in _CLOSING if self.tokens.TryConsume(sign)), None)
        if opening is None:
            raise self.error(f'expected "{{" after {descriptor.name}')
        target = getattr(message, descriptor.name)
        if descriptor.message_type.GetOptions().map_entry:
            self._read_map_entry(target, (where, line), _CLOSING[opening])
            return
        if descriptor.is_repeated:
            where, target = f"{where}[{len(target)}]", target.add()
        elif message.HasField(descriptor.name):
            raise self.error(f"{descriptor.name} is given twice", line=line)
        else:
            target.SetInParent()
        self.notes.lines.setdefault(where, line)
        self.read_fields(target, where, closing=_CLOSING[opening])

    def _read_map_entry(self, target: Any, place: tuple[str, int], closing: str) -> None:
        """Read ``{ key: ... value: ... }``; the lines of the value's fields go by the key, which may come last."""
        (where, line), outer = place, self.notes.lines
        entry = target.GetEntryClass()()
        self.notes.lines = {}
        try:
            self.read_fields(entry, "", closing=closing)
        finally:
            inner, self.notes.lines = self.notes.lines, outer
        outer.setdefault(where, line)
        at = f"{where}.{entry.key}"
        if at in outer:
            self.notes.repeated_keys.append(RepeatedKey(line, where, str(entry.key)))
        outer.setdefault(at, line)
        for path, inner_line in inner.items():
            if path.startswith("value."):
                outer.setdefault(f"{at}.{path.removeprefix('value.')}", inner_line)
        if entry.DESCRIPTOR.fields_by_name["value"].message_type is None:
            target[entry.key] = entry.value
        else:
            target[entry.key].CopyFrom(entry.value)

    def _set_scalar(self, message: Any, descriptor: Any, line: int) -> None:
        value = self._read_scalar(descriptor)
        try:
            if descriptor.is_repeated:
                getattr(message, descriptor.name).append(value)
                return
            if self._is_set(message, descriptor):
                raise self.error(f"{descriptor.name} is given twice", line=line)
            setattr(message, descriptor.name, value)
        except (ValueError, OverflowError) as err:  # beyond the field's number of bits
            raise self.error(f"{value} is not a value of {descriptor.name}", line=line) from err

    @staticmethod
    def _is_set(message: Any, descriptor: Any) -> bool:
        """Whether the server takes a field for given: one without presence (proto3) once it is not the default."""
        if descriptor.has_presence:
            return bool(message.HasField(descriptor.name))
        return bool(getattr(message, descriptor.name) != descriptor.default_value)

    def _read_scalar(self, descriptor: Any) -> Any:
        if descriptor.cpp_type == descriptor.CPPTYPE_STRING:
            content = self._read_string()
            if descriptor.type == descriptor.TYPE_BYTES:
                return content
            try:
                return content.decode()
            except UnicodeDecodeError as err:
                raise self.error(f"the value of {descriptor.name} is not UTF-8") from err
        if self.tokens.token.startswith("+"):  # Python's tokens take it
            raise self.error(f"the value of {descriptor.name} begins with '+'")
        if descriptor.cpp_type == descriptor.CPPTYPE_ENUM:
            return self.tokens.ConsumeEnum(descriptor)
        if descriptor.cpp_type == descriptor.CPPTYPE_BOOL:
            return self.tokens.ConsumeBool()
        if descriptor.cpp_type in (descriptor.CPPTYPE_FLOAT, descriptor.CPPTYPE_DOUBLE):
            return self.tokens.ConsumeFloat()
        return self.tokens.ConsumeInteger()

    def _read_string(self) -> bytes:
        """Read strings that follow each other: they are one."""
        parts = [self._read_string_token()]
        while self.tokens.token[:1] in {'"', "'"}:
            parts.append(self._read_string_token())
        return b"".join(parts)

    def _read_string_token(self) -> bytes:
        token: str = self.tokens.token
        if token[:1] not in {'"', "'"}:
            raise self.error(f"expected a string, and there is {token or 'the end of the text'}")
        if len(token) < 2 or token[-1] != token[0]:
            raise self.error("a string has no closing quote")
        content = self._unescape(token[1:-1])
        self.tokens.NextToken()
        return content

    def _unescape(self, quoted: str) -> bytes:
        parts, at = [], 0
        try:
            for match in _ESCAPE.finditer(quoted):
                parts += [quoted[at : match.start()].encode(), _bytes_of_escape(match.groupdict())]
                at = match.end()
            return b"".join([*parts, quoted[at:].encode()])
        except ValueError as err:  # UnicodeError is one
            raise self.error(f"a string has an escape or a character that the server refuses: {err}") from err

    def _skip_value(self) -> None:
        """Pass over the value of an unknown field, whatever it may be."""
        self.tokens.TryConsume(":")
        if self.tokens.TryConsume("["):
            self._descend()
            while not self.tokens.TryConsume("]"):
                self._skip_value()
                self.tokens.TryConsume(",")
            self.depth -= 1
            return
        for opening, closing in _CLOSING.items():
            if self.tokens.TryConsume(opening):
                self.read_fields(None, "", closing=closing)
                return
        if self.tokens.AtEnd():
            raise self.error("a field has no value")
        if self.tokens.token[:1] in {'"', "'"}:
            self._read_string()
        else:
            self.tokens.NextToken()


def _bytes_of_escape(groups: Mapping[str, str | None]) -> bytes:
    """Return what an escape of `_ESCAPE` stands for.

    Raises:
        ValueError: For nothing, or for more than a byte.
    """
    if groups["sign"] is not None:
        return _SIGNS.get(groups["sign"], groups["sign"].encode())
    if groups["octal"] is not None:
        return bytes([int(groups["octal"], 8)])
    if groups["hex"] is not None:
        return bytes([int(groups["hex"], 16)])
    if groups["none"] is not None:
        raise ValueError(f"\\{groups['none']}")
    return chr(int(groups["short"] or groups["long"] or "", 16)).encode()
