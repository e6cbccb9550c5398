"""Messages about a command line name its flags, where a spec, which knows keys alone, wrote them.

A spec says ``default_priority_level is 0``; who wrote ``--priority-levels 2`` reads ``--default-priority-level is 0``.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from prep_triton.errors import Fault, SpecError

COMMAND_LINE = "the command line"
# The flags of keys that no option is called as.
_FLAGS_OF_KEYS = {"precision": "--precision", "quantization": "--calibration-data", "enabled": "--verify"}


def name_flags(err: SpecError, flags: Mapping[str, str], *, where: str) -> SpecError:
    """Return an error of `build_spec` in which flags stand for keys.

    Args:
        err: The error.
        flags: The flag of each key that one stands for.
        where: What the place of each fault begins with.
    """
    from prep_triton.spec.faults import error_from_faults

    faults = [_name_in_fault(fault, flags, where) for fault in err.faults]
    return error_from_faults(faults, where=where)


@contextmanager
def flags_named(flags: Mapping[str, str]) -> Iterator[None]:
    """Name flags in the errors of a block that was given what a command line said, and knows keys alone."""
    try:
        yield
    except SpecError as err:
        if not err.faults:
            message, hint = (_name_in_text(text, flags) for text in (err.message, err.hint))
            raise SpecError(message, hint=hint, place=err.place) from err
        if all(fault.place.startswith(COMMAND_LINE) for fault in err.faults):
            raise name_flags(err, flags, where=COMMAND_LINE) from err
        raise


def _name_in_fault(fault: Fault, flags: Mapping[str, str], where: str) -> Fault:
    path = fault.place.removeprefix(where).removeprefix(", ")
    key = re.sub(r"\[[0-9]+\]\Z", "", path).rpartition(".")[2]
    if fault.message.startswith("unknown key"):
        return fault
    message, hint = (_name_in_text(text, flags) for text in (fault.message, fault.hint))
    return Fault(flags.get(key) or (where if "--" in message else fault.place), message, hint)


def _name_in_text(text: str, flags: Mapping[str, str]) -> str:
    """Put flags for keys: those in snake_case anywhere, a plain word only where a sentence can mean the key alone."""
    for key, flag in sorted((_FLAGS_OF_KEYS | dict(flags)).items(), key=lambda item: len(item[0]), reverse=True):
        # A key within text is a flag of its own, and needs no flag in brackets behind it.
        text = re.sub(rf"(?<![\w.-])text\.{key}(?!\w)", flag, text).replace(f"{key} from text of ", f"{flag} of ")
        text = re.sub(rf"(?<![\w-])({key} [^()]*) \({flag}\)", r"\1", text)
        text = re.sub(rf"(?<![\w-]){key}: true\b", flag, text)
        text = re.sub(rf"(?<![\w-]){key}: false\b", f"--no-{flag.removeprefix('--')}", text)
        text = re.sub(rf"(?<![\w-]){key}: (?=[\w-]+(?:[,;]| or |\Z))", f"{flag} ", text)
        if "_" in key:
            text = re.sub(rf"(?<![\w-]){key}(?!\w)", flag, text)
        else:
            text = re.sub(rf"(^|\b(?:remove|leave|and|needs|to|of|from) ){key}(?= |,|\Z)", rf"\g<1>{flag}", text)
    return text
