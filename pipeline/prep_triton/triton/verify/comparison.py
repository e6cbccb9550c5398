"""How far answers lie from the reference of an entry, and whether its tokenizer gives the ids of the reference."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prep_triton.agreement import cosine_of_numbers, count_label_changes, root_mean_square
from prep_triton.errors import RepositoryError
from prep_triton.reference import Reference, encode_all, load_tokenizer

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


def rms_of_numbers(reference: Reference) -> float:
    """Return the root mean square of a reference's answers where each is one number; 0 where they are more."""
    answers = list(reference.outputs.values())
    return root_mean_square(answers[0]) if len(answers) == 1 and answers[0].shape[1:] == (1,) else 0.0


def check_tokenizer(path: Path, reference: Reference) -> str | None:
    """Tokenize the reference's text and compare with its inputs.

    Returns:
        None where every id agrees, else what does not.
    """
    try:
        tokenizer = load_tokenizer(path)
        # The reference is as wide as its longest row: a row of that length may have been truncated there.
        tokenizer.enable_truncation(max_length=max(reference.lengths))
        encodings = encode_all(path, lambda: tokenizer.encode_batch(reference.joined()))
    except RepositoryError as err:
        return err.message
    for row, encoding in enumerate(encodings):
        actual = {"input_ids": encoding.ids, "token_type_ids": encoding.type_ids}
        for name in actual.keys() & reference.inputs.keys():
            expected = reference.inputs[name][row, : reference.lengths[row]].tolist()
            if actual[name] != expected:
                return f"{path.name} gives other {name} than the reference for {reference.joined()[row]!r}"
    return None


class Comparison:
    """Gathers how far answers lie from the reference, output by output and row by row."""

    def __init__(self, *, rms: float = 0.0) -> None:
        """Take the root mean square of the reference's answers, which those that are one number are held against."""
        self.rms = rms
        self.cosines: list[float] = []
        self.max_abs_error = 0.0
        self.rows: set[int] = set()
        self.changed_labels = 0
        self.clear_labels = 0

    def add(self, row: int, answer: "Array", expected: "Array") -> None:
        """Compare one output of one row.

        Args:
            row: Which row of the reference it is.
            answer: What the server answered, without padding.
            expected: What PyTorch answered, same shape.
        """
        import numpy as np

        actual, reference = (np.asarray(array, dtype=np.float64).ravel() for array in (answer, expected))
        if actual.shape == reference.shape:
            cosine = self._find_cosine(actual, reference)
            error = float(np.abs(actual - reference).max(initial=0.0))
        else:
            cosine = error = float("nan")
        self.rows.add(row)
        self.cosines.append(cosine if math.isnan(cosine) else min(cosine, 1.0))
        self.max_abs_error = error if math.isnan(error) else max(self.max_abs_error, error)

    def _find_cosine(self, actual: "Array", reference: "Array") -> float:
        import numpy as np

        if reference.size == 1:
            return cosine_of_numbers(float(reference[0]), float(actual[0]), self.rms)
        norms = float(np.linalg.norm(actual) * np.linalg.norm(reference))
        return float(actual @ reference) / norms if norms else float(np.array_equal(actual, reference))

    def add_choice(self, answer: "Array", expected: "Array") -> None:
        """Compare the labels that one row's logits choose, [labels] or [tokens, labels]."""
        changed, clear = count_label_changes(expected, answer)
        self.changed_labels += changed
        self.clear_labels += clear
