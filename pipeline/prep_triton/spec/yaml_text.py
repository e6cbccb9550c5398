"""YAML that somebody wrote, as plain values with their places: bounded, strict, every fault a sentence with a line.

PyYAML alone keeps the last of two equal keys, lets a few hundred bytes of aliases stand for gigabytes, makes dates of
what looks like one, and answers nesting, impossible dates and long numbers with exceptions of Python's.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from prep_triton.errors import SpecError

# A pipeline of thousands of models is far below each.
LARGEST_BYTES = 16 << 20
_LARGEST_DEPTH = 50
_MOST_VALUES = 100_000
_HINT = "check the indentation and the quotes there"
_TAG = "tag:yaml.org,2002:"
# What becomes no plain value, or another one than a reader takes it for.
_UNKNOWN = {f"{_TAG}{name}" for name in ("timestamp", "binary", "omap", "pairs", "set")}
# YAML 1.1 reads 010 as 8 and 1:30 as 90; here the first is 10, as in YAML 1.2, and the second is text.
_INT = re.compile(r"[-+]?(?:[0-9][0-9_]*|0x[0-9a-fA-F_]+)\Z")


@dataclass(frozen=True)
class YamlDocument:
    """The value of a YAML document, and where each part of it stands.

    `where` is what its faults are named by: the file's path, or what the text is.
    """

    value: Any
    where: str
    root: yaml.Node | None = None

    def position_of(self, path: Sequence[str | int], *, at_key: bool = False) -> tuple[int, int]:
        """Return the line and the column, both from 1, of a value, or of the deepest part of its path that is there.

        Args:
            path: Keys and indices that lead to the value.
            at_key: Whether the value's key is meant, as it is where a block of lines is the value.
        """
        node, mark = self.root, None
        for part in path:
            key_node, value_node = _find_child(node, part)
            if value_node is None:
                break
            is_block = isinstance(value_node, yaml.CollectionNode) and not value_node.flow_style
            node, mark = value_node, (key_node if key_node and (at_key or is_block) else value_node).start_mark
        if mark is None and self.root is not None:
            mark = self.root.start_mark
        return (1, 1) if mark is None else (mark.line + 1, mark.column + 1)

    def place_of(self, path: Sequence[str | int], *, at_key: bool = False) -> str:
        """Return ``file:line:column`` of a value; see `position_of`."""
        line, column = self.position_of(path, at_key=at_key)
        return f"{self.where}:{line}:{column}"


def _find_child(node: yaml.Node | None, part: str | int) -> tuple[yaml.Node | None, yaml.Node | None]:
    """Return the key's node and the value's of a part of a mapping or a sequence; None where there is none."""
    if isinstance(node, yaml.MappingNode):
        pairs = [pair for pair in node.value if isinstance(pair[0], yaml.ScalarNode) and _is_key(pair[0].value, part)]
        return pairs[-1] if pairs else (None, None)  # the last: what a merge key brings stands before the mapping's own
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return None, node.value[part]
    return None, None


def _is_key(text: str, part: str | int) -> bool:
    """Whether a key, as it is written, is a part of a path: 25.10 without quotes is the number 25.1."""
    if text == str(part):
        return True
    try:
        return float(text) == float(part)
    except ValueError:
        return False


def load_document(path: Path, *, hint: str = _HINT) -> YamlDocument:
    """Load a YAML file; see `parse_document`.

    Raises:
        FileNotFoundError: There is none.
        SpecError: It cannot be read, is larger than `LARGEST_BYTES`, not UTF-8 or not YAML.
    """
    try:
        # A pipe that nobody writes to is empty, and does not hold the command up.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as stream:
            os.set_blocking(stream.fileno(), True)
            content = stream.read(LARGEST_BYTES + 1)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as err:  # a name with a NUL is a ValueError
        message = err.strerror if isinstance(err, OSError) else err
        raise SpecError(f"{path} cannot be read: {message}", hint="name a YAML file that you can read") from err
    if len(content) > LARGEST_BYTES:
        raise SpecError(f"{path} has more than {LARGEST_BYTES >> 20} MiB, which is no file of settings", hint=hint)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        place = f"{path}:{content.count(bytes([10]), 0, err.start) + 1}"
        message = f"{place}: it cannot be read, byte 0x{content[err.start]:02x} is not UTF-8"
        raise SpecError(message, hint="save the file as UTF-8", place=place) from err
    return parse_document(text, where=str(path), hint=hint)


def parse_document(text: str, *, where: str, hint: str = _HINT) -> YamlDocument:
    """Return the value of one YAML document with its places; dates are strings.

    Raises:
        SpecError: It is not YAML, has a key twice, is nested more than 50 deep, or stands for more than 100,000 values.
    """
    try:
        # A subclass of SafeLoader: it builds plain values only.
        loader = _Loader(text)
        root = loader.get_single_node()
        value = None if root is None else loader.construct_document(root)
    except yaml.YAMLError as err:
        place = f"{where}:{_position_of(err, text)}"
        problem = getattr(err, "problem", None) or getattr(err, "reason", None) or "not valid YAML"
        raise SpecError(f"{place}: {problem}", hint=hint, place=place) from err
    return YamlDocument(value, where, root)


def _position_of(err: yaml.YAMLError, text: str) -> str:
    if mark := getattr(err, "problem_mark", None) or getattr(err, "context_mark", None):
        return f"{mark.line + 1}:{mark.column + 1}"
    before = text[: getattr(err, "position", 0)]
    return f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


class _Loader(yaml.SafeLoader):
    """A SafeLoader with limits, which refuses a key given twice and knows no dates."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._depth = 0
        self._values = 0
        self._sizes: dict[yaml.Node, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose a node; an alias counts as all that it stands for."""
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            node = super().compose_node(parent, index)
            if node is None or node not in self._sizes:
                raise _error_at(event.start_mark, f"the alias *{event.anchor} stands inside what it names")
            self._count(self._sizes[node], event.start_mark)
            return node
        before = self._values
        self._count(1, event.start_mark)
        self._depth += 1
        if self._depth > _LARGEST_DEPTH:
            raise _error_at(event.start_mark, f"nested more than {_LARGEST_DEPTH} deep")
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is not None:
            self._sizes[node] = self._values - before
        return node

    def _count(self, values: int, mark: Any) -> None:
        self._values += values
        if self._values > _MOST_VALUES:
            raise _error_at(mark, f"more than {_MOST_VALUES:,} values, with what the aliases stand for")

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: FBT001, FBT002
        """Build a value; what is wrong with a scalar has its place."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError, IndexError, AttributeError, OverflowError) as err:
            tag = node.tag.rpartition(":")[2]
            raise _error_at(node.start_mark, f"this is no {tag} that can be read") from err

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose a mapping of different keys, as it is written: a merge key may bring one that it has as well."""
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue  # refused by PyYAML: it cannot be hashed
            if key_node.value in seen:
                raise _error_at(key_node.start_mark, f"key '{key_node.value}' is given twice")
            seen.add(key_node.value)
        return node


def _error_at(mark: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _construct_int(loader: _Loader, node: yaml.ScalarNode) -> int:  # noqa: ARG001
    text = node.value.replace("_", "")
    return int(text, 16 if "x" in text else 10)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, _INT if tag == f"{_TAG}int" else pattern) for tag, pattern in resolvers if tag not in _UNKNOWN]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.yaml_constructors = {tag: build for tag, build in _Loader.yaml_constructors.items() if tag not in _UNKNOWN}
_Loader.add_constructor(f"{_TAG}int", _construct_int)
