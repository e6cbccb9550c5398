"""Every failed command's document."""

from pydantic import Field, JsonValue

from prep_triton import errors
from prep_triton.artifact import Record
from prep_triton.cli.codes import INTERRUPTED, USAGE_ERROR


def list_codes() -> list[JsonValue]:
    """Return every code that a failed command may give."""
    tree = [item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, errors.PrepError)]
    return [*sorted({error.code for error in tree} - {errors.PrepError.code}), USAGE_ERROR, INTERRUPTED]


class FaultDetail(Record):
    """One of several things that are wrong with a request: a file's line and key, what, and what to do about it."""

    place: str
    message: str
    hint: str


class ErrorDetail(Record):
    """What failed, for a machine and in a sentence, and what to do about it.

    `code` is the error's class (`prep_triton.errors`), ``usage_error`` for a wrong command line or ``interrupted``.
    `place` is the file or the command line, and the key in it, where the fault is in one of them. `faults` has each of
    them where a request has several.
    """

    code: str = Field(json_schema_extra={"enum": list_codes()})
    message: str
    hint: str
    place: str | None = None
    faults: tuple[FaultDetail, ...] = ()


class ErrorDocument(Record):
    """The one document of a command that failed."""

    error: ErrorDetail
