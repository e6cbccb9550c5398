"""From the flags of `prep assemble`, and a file of serving choices, to one request; a flag wins over the file."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prep_triton.spec import EntrySpec

COMMAND_LINE = "the command line"
# Flags whose names are not their keys': one that is repeated, and one that another key has taken.
_OTHER_NAMES = {"preferred_batch_sizes": "preferred_batch_size", "instance_count": "text_instance_count"}
_FORM = "such a file holds the keys of 'serving:', for example max_batch_size: 8; see configs/"


def build_entry_spec(flags: Mapping[str, Any]) -> "EntrySpec":
    """Build the request for an entry from all of the command's flags, by their Python names.

    Raises:
        SpecError: The flags, or the file that `serving` names, are not a request.
    """
    from prep_triton.spec import EntrySpec, QueueSpec, ServingSpec, TextSpec, build_spec

    path: Path | None = flags["serving"]
    queue = _take(flags, QueueSpec.model_fields, _OTHER_NAMES)
    serving = _take(flags, ServingSpec.model_fields)
    parameters = parse_parameters(flags["parameter"])
    if parameters:
        serving["parameters"] = parameters
    entry = _take(flags, ("runtime", "precision", "name"))
    entry.setdefault("precision", "fp16" if entry["runtime"] == "tensorrt" else "fp32")
    entry["serving"] = merge_serving(path, serving, queue)
    choices = _take(flags, TextSpec.model_fields, _OTHER_NAMES)
    entry["text"] = merge_text(choices, wanted=flags["text"])
    return build_spec(EntrySpec, entry, where=f"{path} and {COMMAND_LINE}" if path else COMMAND_LINE)


def _take(
    flags: Mapping[str, Any], keys: Iterable[str], other_names: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Any]:
    """Return the flags of these keys that were given: the spec knows the defaults, and what was left to them."""
    found = {key: flags.get(other_names.get(key, key)) for key in keys}
    return {key: value for key, value in found.items() if value is not None and value != []}


def merge_serving(path: Path | None, flags: Mapping[str, Any], queue: Mapping[str, Any]) -> dict[str, Any]:
    """Return serving's values, the flags laid over the file.

    Raises:
        SpecError: The file is missing or no serving choices, or queue flags meet --no-dynamic-batching.
    """
    from prep_triton.errors import SpecError
    from prep_triton.spec import ServingSpec, build_spec, load_mapping

    merged: dict[str, Any] = {}
    if path is not None:
        merged = dict(load_mapping(path, hint=_FORM))
        build_spec(ServingSpec, merged, where=str(path))  # what is wrong in the file is told as the file's
    in_file = merged.get("dynamic_batching", {})
    merged |= flags
    if flags.get("dynamic_batching") is False:
        if queue:
            flag = _flag_name(next(iter(queue)))
            raise SpecError(f"{flag} means nothing with --no-dynamic-batching", hint="remove one of them")
        merged["dynamic_batching"] = None
    elif in_file is not None or flags.get("dynamic_batching") or queue:
        merged["dynamic_batching"] = {**(in_file or {}), **queue}
    return merged


def _flag_name(key: str) -> str:
    return f"--{_OTHER_NAMES.get(key, key).replace('_', '-')}"


def merge_text(choices: Mapping[str, Any], *, wanted: bool | None) -> Any:
    """Return the text request: none unless --text was given.

    Raises:
        SpecError: A flag of the text entries came without --text.
    """
    from prep_triton.errors import SpecError

    if wanted:
        return dict(choices)
    if choices:
        flag = _flag_name(next(iter(choices)))
        raise SpecError(f"{flag} means nothing without --text", hint="add --text, or remove the flag")
    return None


def parse_parameters(given: Sequence[str] | None) -> dict[str, str] | None:
    """Parse KEY=VALUE pairs.

    Raises:
        SpecError: One has no '=', or a key is given twice.
    """
    from prep_triton.errors import SpecError

    parsed: dict[str, str] = {}
    for one in given or ():
        key, sign, value = one.partition("=")
        if not sign or not key:
            raise SpecError(f"--parameter '{one}' is not KEY=VALUE", hint="for example --parameter execution_mode=1")
        if key in parsed:
            raise SpecError(f"--parameter {key} is given twice", hint="give it once")
        parsed[key] = value
    return parsed or None
