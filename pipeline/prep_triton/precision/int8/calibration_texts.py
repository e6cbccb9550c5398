"""Reads the texts of a calibration file, .txt or .jsonl: single ones, or pairs for a task that takes two."""

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prep_triton.errors import SpecError, find_nearest
from prep_triton.precision.measure.encodings import describe_conversion
from prep_triton.precision.measure.field_checks import check_text
from prep_triton.tasks import TASKS, Task

log = logging.getLogger(__name__)

# A text, or the first and the second of two.
Text = str | tuple[str, str]

_SECOND = "text_pair"
# What the labelled rows of question answering call the two.
_QUESTION = ("question", "context")


def load_texts(path: Path, field: str, task: Task) -> list[Text]:
    """Load the texts of a file, or pairs of them for a task that takes two.

    Single texts for such a task are paired, each with the next one and the last with the first, and a warning says so.

    Args:
        path: A UTF-8 .txt or .jsonl; blank texts are skipped.
        field: Which field of a .jsonl holds the text, or the first of two.
        task: The model's.

    Raises:
        SpecError: The file cannot be read, or a line of it is not what its suffix says, or has other fields than the
            lines before it.
    """
    if path.suffix == ".txt":
        rows: list[Text] = list(_read_texts(path))
    else:
        rows = _load_rows(path, field, task)
    singles = list(dict.fromkeys(row for row in rows if isinstance(row, str)))
    if not TASKS[task].takes_two_texts or not singles:
        return rows
    log.warning(
        "%s holds single texts, and %s takes two: each is paired with the next one, and int8 is calibrated on that; "
        "better are pairs like your users', JSON lines such as %s", path, task, _example(task, field),
    )  # fmt: skip
    return list(zip(singles, [*singles[1:], singles[0]], strict=True))


def _example(task: Task, field: str) -> str:
    if TASKS[task].text_form == "question":
        return '{"question": "Who wrote?", "context": "Ada wrote."}'
    return f'{{"{field}": "sea travel", "{_SECOND}": "A ship sails."}}'


def _load_rows(path: Path, field: str, task: Task) -> list[Text]:
    """Load the rows of a .jsonl, whose first one says which fields all of them have."""
    names: tuple[str, ...] = ()
    rows: list[Text] = []
    for number, entry in _load_objects(path, field):
        present = _find_names(entry, field, task)
        names = names or present
        if len(names) != len(present):
            raise SpecError(
                f"{path}, line {number}: {'two texts' if len(present) > 1 else 'one text'} where the lines before it "
                f"have {'two' if len(names) > 1 else 'one'}",
                hint=f"write every line as {_example(task, field)}",
            )
        texts = [_check_field(path, number, name, entry) for name in present]
        if all(texts):
            rows.append((texts[0], texts[1]) if len(texts) > 1 else texts[0])
    return rows


def _find_names(entry: Mapping[str, Any], field: str, task: Task) -> tuple[str, ...]:
    """Return the fields of a row that hold its text, or its two."""
    if not TASKS[task].takes_two_texts:
        return (field,)
    if TASKS[task].text_form == "question" and field not in entry and any(name in entry for name in _QUESTION):
        return _QUESTION
    return (field, _SECOND) if _SECOND in entry else (field,)


def _read_texts(path: Path) -> list[str]:
    return [line.strip() for line in _read_lines(path) if line.strip()]


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as err:
        line = path.read_bytes()[: err.start].count(b"\n") + 1
        raise SpecError(
            f"calibration file {path} is not UTF-8 (line {line}, {err.reason})",
            hint=describe_conversion(path, err),
        ) from err
    except OSError as err:
        raise SpecError(
            f"calibration file {path} cannot be read: {err.strerror}", hint="check its permissions"
        ) from err


def _load_objects(path: Path, field: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the number and the content of each line that is not blank."""
    for number, line in enumerate(_read_lines(path), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as err:
            raise SpecError(f"{path}, line {number}: not JSON ({err})", hint="one JSON object a line") from err
        if not isinstance(entry, dict):
            raise _field_error(path, number, field, entry)
        yield number, entry


def _check_field(path: Path, number: int, field: str, entry: Mapping[str, Any]) -> str:
    """Return a text without the blanks around it."""
    if not isinstance(entry.get(field), str):
        raise _field_error(path, number, field, entry)
    return check_text(entry[field], field, f"{path}, line {number}").strip()


def _field_error(path: Path, number: int, field: str, entry: Any) -> SpecError:
    if not isinstance(entry, dict):
        message, keys = f"a {type(entry).__name__}, expected an object", []
    else:
        keys = [str(key) for key, value in entry.items() if isinstance(value, str)]
        message = f"'{field}' is {type(entry[field]).__name__}, expected text" if field in entry else f"no '{field}'"
    nearest = find_nearest(field, keys) or keys[:1]
    if field in (_SECOND, *_QUESTION):
        hint = f"two texts a line, each in quotes; its fields of text are {', '.join(keys) or 'none'}"
    elif nearest:
        hint = f"--calibration-field {nearest[0]}"
    else:
        hint = f'expected lines such as {{"{field}": "a text"}}'
    return SpecError(f"{path}, line {number}: {message}", hint=hint)
