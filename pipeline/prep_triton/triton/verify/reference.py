"""The reference answers of an entry, and how far other answers lie from them."""

import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

from prep_triton.errors import RepositoryError

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Reference:
    """PyTorch FP32 answers to fixed rows.

    `inputs` are [rows, sequence], `outputs` [rows, ...]; `lengths` counts the tokens of each row, which
    stand before the padding. `text` holds one string a row; empty where there is none.
    """

    inputs: "Mapping[str, Array]"
    outputs: "Mapping[str, Array]"
    lengths: Sequence[int]
    text: Sequence[str]


def load_reference(path: Path, inputs: Iterable[str], outputs: Iterable[str]) -> Reference:
    """Load a reference.npz and check that it has every input and output of the entry.

    Raises:
        RepositoryError: The file is missing, damaged, or of another model.
    """
    import numpy as np

    again = "export the model again, then assemble the entry"
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as found:
            arrays = {key: found[key] for key in found.files}
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as err:
        raise RepositoryError(f"{path} is not a reference file: {err}", hint=again) from err
    wanted = [f"input/{name}" for name in inputs] + [f"output/{name}" for name in outputs]
    missing = [key for key in [*wanted, "input/attention_mask"] if key not in arrays]
    if missing:
        raise RepositoryError(f"{path} has no {', '.join(missing)}", hint=again)
    mask = arrays["input/attention_mask"]
    if not len(mask) or any(len(arrays[key]) != len(mask) for key in wanted):
        raise RepositoryError(f"{path} holds no rows, or not the same number everywhere", hint=again)
    return Reference(
        inputs={name: arrays[f"input/{name}"] for name in inputs},
        outputs={name: arrays[f"output/{name}"] for name in outputs},
        lengths=[int(count) for count in (mask != 0).sum(axis=1)],
        text=[str(text) for text in arrays.get("text", [""] * len(mask))],
    )


def check_tokenizer(path: Path, reference: Reference) -> str | None:
    """Tokenize the reference's text and compare with its inputs.

    Returns:
        None where every id agrees, else what does not.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as err:  # what the Rust library raises has no other type
        return f"{path.name} cannot be read: {err}"
    # The reference is as wide as its longest row: a row of that length may have been truncated there.
    tokenizer.enable_truncation(max_length=max(reference.lengths))
    tokenizer.no_padding()
    for row, encoding in enumerate(tokenizer.encode_batch(list(reference.text))):
        found = {"input_ids": encoding.ids, "token_type_ids": encoding.type_ids}
        for name in found.keys() & reference.inputs.keys():
            expected = reference.inputs[name][row, : reference.lengths[row]].tolist()
            if found[name] != expected:
                return f"{path.name} gives other {name} than the reference for {reference.text[row]!r}"
    return None


class Comparison:
    """Gathers how far answers lie from the reference, output by output and row by row."""

    def __init__(self) -> None:
        self.cosines: list[float] = []
        self.max_abs_error = 0.0
        self.rows: set[int] = set()

    def add(self, row: int, answer: "Array", expected: "Array") -> None:
        """Compare one output of one row.

        Args:
            row: Which row of the reference it is.
            answer: What the server answered, without padding.
            expected: What PyTorch answered, same shape.
        """
        import numpy as np

        one, other = (np.asarray(array, dtype=np.float64).ravel() for array in (answer, expected))
        norms = float(np.linalg.norm(one) * np.linalg.norm(other))
        same = one.shape == other.shape
        if not same:
            cosine = error = float("nan")
        else:
            cosine = float(one @ other) / norms if norms else float(np.array_equal(one, other))
            error = float(np.abs(one - other).max(initial=0.0))
        self.rows.add(row)
        self.cosines.append(cosine if math.isnan(cosine) else min(cosine, 1.0))
        self.max_abs_error = error if math.isnan(error) else max(self.max_abs_error, error)
