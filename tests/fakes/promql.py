"""Names in a PromQL expression."""

import re

_WORDS = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_FUNCTIONS = frozenset({"sum", "rate", "count", "absent", "max", "avg", "label_values"})


def list_metrics(expression: str) -> set[str]:
    """Return the metrics that an expression names."""
    bare = re.sub(r"\{[^{}]*\}|\[[^\]]*\]|\"[^\"]*\"", " ", expression)
    return set(_WORDS.findall(_GROUPING.sub(" ", bare))) - _FUNCTIONS


def list_labels(expression: str) -> set[str]:
    """Return the labels that an expression selects or groups by."""
    selected = set(re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=(?!=))\s*\"", expression))
    grouped = [text for match in re.findall(r"\bby\s*\(([^)]*)\)", expression) for text in match.split(",")]
    return selected | {text.strip() for text in grouped}
