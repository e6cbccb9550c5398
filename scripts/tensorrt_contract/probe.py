"""Print what a module of TensorRT's bindings holds, as JSON: ``python probe.py MODULE [FOLDER]``.

Runs in a process of its own, beside stub libraries: nothing of TensorRT is called here. The signatures are those that
pybind11 writes into the first line of a docstring, or, for overloads, into numbered lines.
"""

import importlib
import inspect
import json
import re
import sys
from typing import Any

_PREFIX = re.compile(r"\btensorrt\w*\.(?:tensorrt\w*\.)?")
_OVERLOAD = re.compile(r"^\d+\. (\w+\(.*)$", re.MULTILINE)
_DEFAULT = re.compile(r"<[^<>]*>")


def main() -> None:
    if len(sys.argv) > 2:
        sys.path.insert(0, sys.argv[2])
    module = importlib.import_module(sys.argv[1])
    classes = {name: describe_class(value) for name, value in vars(module).items() if inspect.isclass(value)}
    json.dump({"version": module.__version__, "classes": classes}, sys.stdout)


def describe_class(value: type) -> dict[str, Any]:
    """Return the members of a class, those of its bases with them."""
    members: dict[str, Any] = {}
    for base in reversed(value.__mro__[:-1]):
        for name, member in vars(base).items():
            members[name] = describe_member(value, name, member)
    return members


def describe_member(owner: type, name: str, member: Any) -> dict[str, Any]:
    """Say what a member is: ``value`` (of an enum), ``property`` or ``method``, and its signatures."""
    if isinstance(member, property):
        text = member.fget.__doc__ or "" if member.fget else ""
        return {"kind": "property", "writable": member.fset is not None, "signatures": parse_signatures(f"get{text}")}
    if isinstance(member, owner):
        return {"kind": "value", "writable": False, "signatures": []}
    if callable(member) or isinstance(member, staticmethod | classmethod):
        text = getattr(owner, name).__doc__ or ""
        return {"kind": "method", "writable": False, "signatures": parse_signatures(text)}
    return {"kind": "attribute", "writable": False, "signatures": []}


def parse_signatures(text: str) -> list[dict[str, Any]]:
    """Read ``name(self: T, index: int = 0) -> U`` as parameter names, which are optional, and the result's type."""
    lines = _OVERLOAD.findall(text) or text.splitlines()[:1]
    signatures = []
    for line in lines:
        call, arrow, result = line.rpartition(" -> ")
        if arrow:
            parameters = split_parameters(call.partition("(")[2].rpartition(")")[0])
            signatures.append({"parameters": parameters, "returns": _PREFIX.sub("", result).strip()})
    return signatures


def split_parameters(text: str) -> list[dict[str, Any]]:
    """Split at the commas that no bracket holds."""
    depth, parts = 0, [""]
    for sign in _DEFAULT.sub("DEFAULT", text):
        depth += (sign in "([{") - (sign in ")]}")
        if sign == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    return [
        {"name": part.partition(":")[0].strip(), "optional": "=" in part or part.strip().startswith("*")}
        for part in parts
        if part.strip()
    ]


if __name__ == "__main__":
    main()
