"""Every way in which `prep` refuses or fails on purpose.

::

    PrepError                    what failed, the value seen, the value expected, and a hint
    |-- SpecError                the request itself is wrong: a flag, a config key, a combination
    |-- SourceError              the model cannot be read: unsupported, unreachable, damaged
    |   `-- ModelMissingError    there is no such model
    |-- ExportError              the ONNX export failed
    |   `-- ParityError          the ONNX graph does not answer as PyTorch does
    |-- PrecisionError           a graph cannot be put into the precision that was asked for
    |-- EngineError              the builder failed; its log is in the message
    |   `-- UnsupportedGpuError  this builder cannot build for that GPU
    |       `-- GpuMissingError  this machine has no such GPU
    |-- RepositoryError          a Triton repository is damaged or would not load
    |   `-- RepositoryMissingError there is no such repository, or no such entry in it
    |-- ServerError              Triton did not start, died, or cannot be reached
    |-- GeneratorError           what sends a load failed: a process of prep, or perf_analyzer
    |-- VerifyError              Triton answers, but not as the reference does
    |-- StoreError               the release store refused or failed
    |   |-- StoreAccessError     no credentials, or not enough permission
    |   |-- BucketMissingError   there is no such bucket
    |   |-- PreconditionError    an object is not the one that a write expected to find
    |   |   `-- PointerMovedError another publisher moved `current` first
    |   |-- ReleaseMissingError  there is no such release
    |   |-- ReleaseDamagedError  a release's files, or its release.json, are not what they were
    |   `-- ReleaseExistsError   a release is immutable, and this one is already there
    |-- MissingPackageError      a library of an extra is not installed
    `-- WorkspaceError           the workspace cannot be used
        |-- WorkspaceBusyError   another run holds it and did not finish in time
        `-- DiskFullError        no space left; nothing half-written was kept

A command ends with the `exit_code` of the class: 2 where what was asked for is wrong or not there, else 1. Anything
that is not a `PrepError` is a bug of ours and keeps its traceback.
"""

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from prep_triton.quoting import clean_message

# Of difflib's ratio: below it, what is nearest is a guess that misleads.
_NEAREST_CUTOFF = 0.5

EXIT_FAILED = 1
EXIT_USAGE = 2


class PrepError(Exception):
    """A failure that the user can act on.

    Args:
        message: One sentence: what failed, the value seen, the value expected.
        hint: What to do about it: a command to run or a key to change.
        place: Where the fault is, where that is a file or the command line, and a key in it.

    What users, files and servers wrote is made fit to be shown, see `clean_message`. `code` is the error for a
    machine: ``spec_error``, ``workspace_busy``; `exit_code` what a scheduler sees.
    """

    code: ClassVar[str] = "prep_error"
    exit_code: ClassVar[int] = EXIT_FAILED

    def __init__(self, message: str, *, hint: str, place: str | None = None) -> None:
        self.message = clean_message(message)
        self.hint = clean_message(hint)
        self.place = None if place is None else clean_message(place)
        super().__init__(self.message)

    def __init_subclass__(cls) -> None:
        """Give the class its code: its name in snake case, where one word alone keeps ``_error``.

        A class of another module is a detail of that module, and has its parent's.
        """
        if cls.__module__ != __name__:
            return
        words = re.findall("[A-Z][a-z]*", cls.__name__.removesuffix("Error"))
        cls.code = "_".join(word.lower() for word in (words if len(words) > 1 else [*words, "error"]))


@dataclass(frozen=True)
class Fault:
    """One of the things that are wrong with a request: where, what, and what to do about it."""

    place: str
    message: str
    hint: str


class SpecError(PrepError):
    """The request is wrong: a flag, a config key, or a combination of them. `faults` has each of several."""

    exit_code = EXIT_USAGE

    def __init__(self, message: str, *, hint: str, place: str | None = None, faults: Sequence[Fault] = ()) -> None:
        super().__init__(message, hint=hint, place=place)
        cleaned = ((clean_message(text) for text in (fault.place, fault.message, fault.hint)) for fault in faults)
        self.faults = tuple(Fault(*texts) for texts in cleaned)


class SourceError(PrepError):
    """The model cannot be read: unsupported, unreachable or damaged."""


class ModelMissingError(SourceError):
    """There is no such model: no alias, folder, hub repository or revision of that name."""

    exit_code = EXIT_USAGE


class ExportError(PrepError):
    """The export to ONNX failed."""


class ParityError(ExportError):
    """The ONNX graph does not answer as PyTorch does."""


class PrecisionError(PrepError):
    """A graph cannot be put into the precision that was asked for."""


class EngineError(PrepError):
    """The builder failed; `message` carries the builder's own words."""


class UnsupportedGpuError(EngineError):
    """The builder cannot build for the GPU that was asked for, or there is none of that name."""

    exit_code = EXIT_USAGE


class GpuMissingError(UnsupportedGpuError):
    """This machine does not have the GPU that was asked for."""

    exit_code = EXIT_FAILED


class RepositoryError(PrepError):
    """A Triton model repository is damaged, or would not load."""


class RepositoryMissingError(RepositoryError):
    """There is no such model repository, or no such entry in it."""

    exit_code = EXIT_USAGE


class ServerError(PrepError):
    """Triton did not start, died, or cannot be reached."""


class GeneratorError(PrepError):
    """What sends a load failed: a process of prep, or perf_analyzer."""


class VerifyError(PrepError):
    """Triton answers, but not as the reference does."""


class StoreError(PrepError):
    """The release store refused a request or failed to carry it out."""


class StoreAccessError(StoreError):
    """There are no credentials, or they do not allow the operation."""


class BucketMissingError(StoreError):
    """The bucket does not exist."""

    exit_code = EXIT_USAGE


class PreconditionError(StoreError):
    """An object is not the one (or not absent) that a conditional write expected to find."""


class PointerMovedError(PreconditionError):
    """Another publisher moved `current` first: to `release_id`, by `by`."""

    def __init__(self, message: str, *, hint: str, release_id: str = "", by: str = "") -> None:
        super().__init__(message, hint=hint)
        self.release_id = release_id
        self.by = by


class ReleaseMissingError(StoreError):
    """There is no such release, or none at all."""

    exit_code = EXIT_USAGE


class ReleaseDamagedError(StoreError):
    """A release's files, or what describes them, are not what they were when it was published."""


class ReleaseExistsError(StoreError):
    """A release is immutable, and one with this id is already there."""


class MissingPackageError(PrepError):
    """A library that only some machines need, an extra of prep, is not installed."""


class WorkspaceError(PrepError):
    """The workspace cannot be used."""


class WorkspaceBusyError(WorkspaceError):
    """Another run holds the same artifact and did not finish in time."""


class DiskFullError(WorkspaceError):
    """No space is left on the device; nothing half-written was kept."""


def find_nearest(word: str, known: Iterable[str], *, count: int = 1) -> list[str]:
    """Find the known words that a user may have meant, the nearest first; upper and lower case are the same."""
    by_lower = {name.lower(): name for name in reversed([*known])}
    return [by_lower[name] for name in difflib.get_close_matches(word.lower(), by_lower, count, _NEAREST_CUTOFF)]


def suggest(word: str, known: Iterable[str], *, otherwise: str) -> str:
    """Return a hint that names the nearest known word, or `otherwise` where none is near."""
    nearest = find_nearest(word, known)
    return f"did you mean '{nearest[0]}'?" if nearest else otherwise
