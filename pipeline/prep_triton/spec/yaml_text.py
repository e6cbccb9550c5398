"""YAML that somebody wrote, as plain values: bounded, strict, and every fault a sentence with its line.

PyYAML alone keeps the last of two equal keys, lets a few hundred bytes of aliases stand for gigabytes, makes dates of
what looks like one, and answers nesting, impossible dates and long numbers with exceptions of Python's.
"""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from prep_triton.errors import SpecError

# A pipeline of thousands of models is far below each.
LARGEST_BYTES = 16 << 20
_LARGEST_DEPTH = 50
_MOST_VALUES = 100_000
_HINT = "check the indentation and the quotes there"
_TIMESTAMP = "tag:yaml.org,2002:timestamp"


def load_yaml(path: Path, *, hint: str = _HINT) -> Any:
    """Load a YAML file; see `parse_yaml`.

    Raises:
        FileNotFoundError: There is none.
        SpecError: It cannot be read, is larger than `LARGEST_BYTES`, not UTF-8 or not YAML.
    """
    try:
        with path.open("rb") as stream:
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
        place = f"{path}, line {content.count(bytes([10]), 0, err.start) + 1}"
        message = f"{place}: it cannot be read, byte 0x{content[err.start]:02x} is not UTF-8"
        raise SpecError(message, hint="save the file as UTF-8", place=place) from err
    return parse_yaml(text, where=str(path), hint=hint)


def parse_yaml(text: str, *, where: str, hint: str = _HINT) -> Any:
    """Return the value of one YAML document; dates are strings.

    Raises:
        SpecError: It is not YAML, has a key twice, is nested more than 50 deep, or stands for more than 100,000 values.
    """
    try:
        # A subclass of SafeLoader: it builds plain values only.
        return yaml.load(text, Loader=_Loader)  # noqa: S506
    except yaml.YAMLError as err:
        place = f"{where}, line {_line_of(err, text)}"
        problem = getattr(err, "problem", None) or getattr(err, "reason", None) or "not valid YAML"
        raise SpecError(f"{place}: {problem}", hint=hint, place=place) from err


def _line_of(err: yaml.YAMLError, text: str) -> int:
    if mark := getattr(err, "problem_mark", None) or getattr(err, "context_mark", None):
        return int(mark.line) + 1
    return text.count("\n", 0, getattr(err, "position", 0)) + 1


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

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002
        """Build a mapping of different keys."""
        seen: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue  # refused by PyYAML: it cannot be hashed
            if key_node.value in seen:
                raise _error_at(key_node.start_mark, f"key '{key_node.value}' is given twice")
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def _error_at(mark: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.yaml_constructors = {tag: build for tag, build in _Loader.yaml_constructors.items() if tag != _TIMESTAMP}
