"""The arguments of a Triton server that a manifest, a release or a ``server.args`` may ask for.

They come with a repository, from whoever made it, and reach a server's command line. So they are those of a short
list: what entries of ours need, and the sizes of pools. None names a file, a folder, a library or an address.
"""

import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator

RESOURCE_ARGUMENT = "--rate-limit-resource="

# Each must match as a whole: a line break in an argument would begin a second one. Source: tritonserver --help.
_ALLOWED = (
    r"--rate-limit=(off|execution_count)",
    r"--rate-limit-resource=[A-Za-z0-9_.-]+:[0-9]+(:([0-9]+|global))?",
    r"--cache-config=local,size=[0-9]+",
    r"--response-cache-byte-size=[0-9]+",
    r"--pinned-memory-pool-byte-size=[0-9]+",
    r"--cuda-memory-pool-byte-size=[0-9]+:[0-9]+",
    r"--buffer-manager-thread-count=[0-9]+",
    r"--model-load-thread-count=[0-9]+",
    r"--log-verbose=[0-9]+",
)
_ALLOWED_PATTERN = re.compile("|".join(_ALLOWED), re.ASCII)
ALLOWED_NAMES = tuple(pattern.partition("=")[0] for pattern in _ALLOWED)


def find_refused(arguments: Iterable[str]) -> list[str]:
    """Return the arguments that are not on the list, or hold more than one argument."""
    return [argument for argument in arguments if not _ALLOWED_PATTERN.fullmatch(argument)]


def describe_refused(argument: str) -> str:
    """Say in a sentence that an argument is refused; line breaks and control characters in it are escaped."""
    shown = argument if len(argument) <= 100 else f"{argument[:100]}…"
    return f"{shown!r} is not a server argument that an entry may ask for"


def _check(argument: str) -> str:
    if find_refused([argument]):
        raise ValueError(describe_refused(argument))
    return argument


ServerArgument = Annotated[str, AfterValidator(_check)]


def merge_server_arguments(arguments: Iterable[str]) -> tuple[str, ...]:
    """Return the union of server arguments, sorted; of a resource, the largest count: one execution must fit."""
    counts: dict[str, int] = {}
    others: set[str] = set()
    for argument in arguments:
        name, _, count = argument.removeprefix(RESOURCE_ARGUMENT).rpartition(":")
        if argument.startswith(RESOURCE_ARGUMENT) and name and count.isdecimal():
            counts[name] = max(counts.get(name, 0), int(count))
        else:
            others.add(argument)
    return tuple(sorted([*others, *(f"{RESOURCE_ARGUMENT}{name}:{count}" for name, count in counts.items())]))


def render_server_arguments(arguments: Iterable[str]) -> str:
    """Return the text of a ``server.args``: one argument a line."""
    return "".join(f"{argument}\n" for argument in arguments)


def parse_server_arguments(text: str) -> tuple[str, ...]:
    """Return the arguments in the text of a ``server.args``; empty lines do not count."""
    return tuple(line.strip() for line in text.splitlines() if line.strip())
