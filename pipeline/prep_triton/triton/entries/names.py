"""What entries are called: a model's, and those of the text entries beside it."""

import re
from dataclasses import dataclass

from prep_triton.artifact import RepositoryEntry
from prep_triton.errors import SpecError
from prep_triton.spec import NAME_PATTERN, PRECISIONS, Precision


def default_entry_name(model_name: str, precision: Precision, *, is_plan: bool) -> str:
    """Return the name of an entry for which none was chosen."""
    for known in PRECISIONS:
        model_name = model_name.removesuffix(f"-{known}").removesuffix(f"-{known}-cpu")
    return f"{model_name}-{'trt' if is_plan else 'onnx'}-{precision}"


def check_entry_name(name: str, *, hint: str) -> None:
    """Refuse a name that cannot be one of an entry: it is a folder's, and part of an object's in a store.

    Raises:
        SpecError: Says what is expected, with `hint`.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise SpecError(
            f"'{name}' cannot name an entry: expected at most 63 letters, digits, '.', '_' and '-'",
            hint=hint,
        )


@dataclass(frozen=True)
class TextNames:
    """The names of a model entry's three text entries."""

    tokenizer: str
    postprocessor: str
    ensemble: str

    @classmethod
    def of(cls, entry: RepositoryEntry) -> "TextNames":
        """Return those of a model entry."""
        return cls(f"{entry.name}-tokenizer", f"{entry.name}-postprocessor", f"{entry.name}-text")
