"""Reads the text, or the token ids, that INT8 is calibrated and evaluated on.

=======  =================================================================================================
.txt     one text a line, UTF-8; blank lines are skipped
.jsonl   one JSON object a line; `field` names the text in it, ``text_pair`` holds the second one of a task
         that takes two, and of question-answering ``question`` and ``context`` are also read
.npz     ``input_ids`` [rows, sequence], and perhaps ``attention_mask`` (padding on the right) and
         ``token_type_ids``, integers: for a model without a tokenizer
=======  =================================================================================================

Rows are longer than `MAX_TOKENS` only in an .npz; text is cut there. Nothing is ever made up: no text, no INT8. Single
texts for a task that takes two are paired, each with the next one, and a warning says so.
"""

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prep_triton.artifact import OnnxModel
from prep_triton.errors import PrecisionError, SpecError
from prep_triton.layout import TOKENIZER_NAME
from prep_triton.precision.int8.calibration_texts import Text, load_texts
from prep_triton.precision.measure.token_rows import TokenRow
from prep_triton.reference import count_special_tokens, encode_all, load_arrays, load_tokenizer
from prep_triton.spec import CalibrationSpec
from prep_triton.tasks import TASKS

log = logging.getLogger(__name__)

# Activation ranges settle within the first tokens of a row, and the time grows with its length.
MAX_TOKENS = 128

# The result is evaluated on rows that were not calibrated on, up to so many; fewer than FEWEST_HELD are warned of.
FEWEST_HELD, MOST_HELD = 64, 128

# More than any calibration reads: 32,768 rows of 512 tokens.
MOST_IDS = 1 << 24

_IDS, _MASK, _TYPES = "input_ids", "attention_mask", "token_type_ids"


@dataclass(frozen=True)
class CalibrationRows:
    """Rows to calibrate on, and other rows to evaluate the result on, perhaps none."""

    calibration: tuple[TokenRow, ...]
    evaluation: tuple[TokenRow, ...]


def locate_calibration_data(spec: CalibrationSpec) -> Path:
    """Return the path of the calibration file.

    Raises:
        SpecError: There is no such file, or its suffix is unknown.
    """
    path = Path(spec.path)
    if path.suffix not in (".txt", ".jsonl", ".npz"):
        raise SpecError(
            f"calibration file {path} is '{path.suffix}', expected .txt, .jsonl or .npz",
            hint="--calibration-data takes one text a line (.txt), JSON lines (.jsonl) or token ids (.npz)",
        )
    if not path.is_file():
        message = f"calibration file {path} is not a file" if path.exists() else f"there is no calibration file {path}"
        raise SpecError(message, hint="--calibration-data names a file of text like your users'")
    return path


def load_calibration_rows(spec: CalibrationSpec, model: OnnxModel) -> CalibrationRows:
    """Load, tokenize and draw the calibration rows.

    Args:
        spec: File, field, how many rows, and the seed that draws them.
        model: Its tokenizer, vocabulary and longest sequence.

    Raises:
        SpecError: The file is missing, empty, not what its suffix says, or holds fewer rows than asked for.
        PrecisionError: The model has no tokenizer for text, or the tokenizer is not the model's.
    """
    path = locate_calibration_data(spec)
    if path.suffix == ".npz":
        rows = _load_token_rows(path, model)
    else:
        texts = load_texts(path, spec.field, model.task)
        if not texts:
            raise SpecError(f"calibration file {path} holds no text", hint="give it one text a line, some hundreds")
        texts = list(dict.fromkeys(texts))
        _check_count(path, len(texts), spec)
        rows = tokenize_texts(_draw(texts, spec), model)
    rows = list(dict.fromkeys(rows))  # what repeats itself says nothing new, and must not be on both sides
    _check_count(path, len(rows), spec)
    drawn = _draw(rows, spec) if path.suffix == ".npz" else rows
    held = drawn[spec.samples :]
    if len(held) < FEWEST_HELD:
        log.warning(
            "%s has %d different rows that int8 was not calibrated on: with the reference rows of %s they say little "
            "of your text; give it %d or more different texts",
            path, len(held), model.name, spec.samples + FEWEST_HELD,
        )  # fmt: skip
    return CalibrationRows(tuple(drawn[: spec.samples]), tuple(held))


def _draw(items: Sequence[Any], spec: CalibrationSpec) -> list[Any]:
    """Draw the rows that are used at all, in a seeded order."""
    return random.Random(spec.seed).sample(items, min(len(items), spec.samples + MOST_HELD))  # noqa: S311


def _check_count(path: Path, count: int, spec: CalibrationSpec) -> None:
    if count < spec.samples:
        raise SpecError(
            f"calibration file {path} holds {count} different rows, {spec.samples} were asked for",
            hint=f"give it {spec.samples + FEWEST_HELD} or more different texts: some to calibrate on, others to "
            "evaluate on",
        )


def tokenize_texts(texts: Sequence[Text], model: OnnxModel) -> list[TokenRow]:
    """Turn texts and pairs into token ids with the model's own tokenizer, cut at `MAX_TOKENS`: the longer of two texts.

    Raises:
        PrecisionError: The model has no tokenizer, one with ids beyond the model's vocabulary, or no room for a pair.
    """
    path = model.path(TOKENIZER_NAME)
    if not path.is_file():
        raise PrecisionError(
            f"{model.name} has no {TOKENIZER_NAME}, so text cannot become token ids",
            hint=f"give --calibration-data an .npz with '{_IDS}', or export a model that has a tokenizer",
        )
    tokenizer = load_tokenizer(path, error=PrecisionError)
    longest = min(MAX_TOKENS, model.max_sequence_length)
    fewest = count_special_tokens(tokenizer, 2) + 2
    if longest < fewest and any(isinstance(text, tuple) for text in texts):
        raise PrecisionError(
            f"{model.name} takes {longest} tokens, and two texts have {fewest} or more",
            hint=f"give --calibration-data an .npz with '{_IDS}'",
        )
    tokenizer.enable_truncation(longest)
    encoded = encode_all(path, lambda: tokenizer.encode_batch(list(texts)), error=PrecisionError)
    if cut := sum(bool(row.overflowing) for row in encoded):
        log.info("%d of %d calibration texts are cut at %d tokens", cut, len(texts), longest)
    rows = [TokenRow(tuple(row.ids), tuple(row.type_ids)) for row in encoded]
    if (largest := max(max(row.ids) for row in rows)) >= model.vocab_size:
        raise PrecisionError(
            f"the tokenizer of {model.name} gives id {largest}, the model knows {model.vocab_size} tokens",
            hint="export the model again with its own tokenizer",
        )
    return rows


def _load_token_rows(path: Path, model: OnnxModel) -> list[TokenRow]:
    import numpy as np

    names: list[str] = []

    def is_needed(name: str) -> bool:
        names.append(name)
        return name in (_IDS, _MASK, _TYPES)

    try:
        arrays = load_arrays(path, is_needed)
    except (OSError, ValueError) as err:
        raise SpecError(f"calibration file {path} is not an .npz: {err}", hint="write it with numpy.savez") from err
    if _IDS not in arrays:
        raise SpecError(
            f"calibration file {path} holds {', '.join(names) or 'no array'}, expected '{_IDS}'",
            hint=f"numpy.savez({str(path)!r}, {_IDS}=..., {_MASK}=...)",
        )
    ids = arrays[_IDS]
    if ids.size > MOST_IDS:  # of one byte each, they would become eight times as large below
        raise SpecError(
            f"{path}: '{_IDS}' has {ids.size} token ids, expected at most {MOST_IDS}",
            hint="save some hundred rows: calibration takes no more",
        )
    ones = np.ones(ids.shape, np.int64)
    mask, types = arrays.get(_MASK, ones), arrays.get(_TYPES, ones * 0)
    _check_arrays(path, {_IDS: ids, _MASK: mask, _TYPES: types}, model)
    lengths = mask.sum(axis=1).tolist()
    has_types = any(spec.name == _TYPES for spec in model.model_inputs)
    if TASKS[model.task].takes_two_texts and has_types and not (types * mask).any():
        log.warning(
            "%s has single texts: no token is of type 1, and %s takes two texts, so int8 is calibrated without the "
            "second; save '%s' as the tokenizer gives them for pairs", path, model.task, _TYPES,
        )  # fmt: skip
    return [
        TokenRow(tuple(ids[row, :length].tolist()), tuple(types[row, :length].tolist()))
        for row, length in enumerate(lengths)
    ]


def _check_arrays(path: Path, arrays: dict[str, Any], model: OnnxModel) -> None:
    """Refuse arrays that are not rows of token ids of this model.

    Raises:
        SpecError: See above.
    """
    import numpy as np

    ids, mask = arrays[_IDS], arrays[_MASK]
    for name, array in arrays.items():
        if array.ndim != 2 or not np.issubdtype(array.dtype, np.integer) or array.shape != ids.shape or not array.size:
            raise SpecError(
                f"{path}: '{name}' is {array.dtype} {list(array.shape)}, expected integers [rows, sequence] like "
                f"'{_IDS}' {list(ids.shape)}",
                hint="save what the tokenizer returned, padded to one length",
            )
    limits = {_IDS: model.vocab_size, _MASK: 2, _TYPES: 2}
    for name, limit in limits.items():
        wrong = np.argwhere((arrays[name] < 0) | (arrays[name] >= limit))
        if wrong.size:
            row, column = wrong[0].tolist()
            what = "outside the vocabulary" if name == _IDS else "not a valid value"
            raise SpecError(
                f"{path}: {name}[{row}, {column}] is {arrays[name][row, column]}, {what} (0..{limit - 1})",
                hint=f"tokenize the text with the tokenizer of {model.name}",
            )
    if (np.diff(mask.astype(np.int64), axis=1) > 0).any() or not mask[:, 0].all():
        raise SpecError(
            f"{path}: a row of '{_MASK}' is empty or begins with padding, expected ones and then zeros",
            hint="tokenize with padding on the right",
        )
    if (longest := int(mask.sum(axis=1).max())) > model.max_sequence_length:
        raise SpecError(
            f"{path}: a row has {longest} tokens, {model.name} takes {model.max_sequence_length}",
            hint=f"cut the rows at {model.max_sequence_length} tokens",
        )
