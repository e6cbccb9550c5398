"""What entries are called: a model's, and those of the text entries beside it."""

import re
from dataclasses import dataclass

from prep_triton.artifact import RepositoryEntry
from prep_triton.errors import SpecError
from prep_triton.spec import NAME_PATTERN, PRECISIONS, Precision, Runtime

_TAGS: dict[Runtime, str] = {"tensorrt": "trt", "onnxruntime": "onnx", "openvino": "openvino"}


def default_entry_name(model_name: str, runtime: Runtime, precision: Precision) -> str:
    """Return the name of an entry for which none was chosen."""
    for known in PRECISIONS:
        for suffix in (f"-{known}", f"-{known}-cpu", f"-{known}-openvino"):
            model_name = model_name.removesuffix(suffix)
    return f"{model_name}-{_TAGS[runtime]}-{precision}"


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
