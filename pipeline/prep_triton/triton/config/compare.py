"""Two configurations, key by key."""

import json
from collections.abc import Iterator
from typing import Any

from prep_triton.triton.config.parse import parse_config


def flatten_config(text: str) -> dict[str, str]:
    """Return every key that a config.pbtxt sets, by its path.

    Parts of the path are joined by dots and items of a list numbered from 0:
    ``instance_group[0].count``, ``parameters.threads.string_value``. Values are as JSON writes them.

    Raises:
        RepositoryError: The text is not a model configuration.
    """
    from google.protobuf.json_format import MessageToDict

    return dict(_flatten(MessageToDict(parse_config(text), preserving_proto_field_name=True), ""))


def diff_configs(before: str, after: str) -> list[tuple[str, str | None, str | None]]:
    """Compare the texts of two config.pbtxt files.

    Returns:
        For each key that differs its path, the value before and the value after; None where one does not set it.

    Raises:
        RepositoryError: One of them is not a model configuration.
    """
    old, new = flatten_config(before), flatten_config(after)
    keys = dict.fromkeys((*old, *new))
    return [(key, old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)]


def _flatten(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flatten(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for number, item in enumerate(value):
            yield from _flatten(item, f"{path}[{number}]")
    else:
        yield path, value if isinstance(value, str) else json.dumps(value)
