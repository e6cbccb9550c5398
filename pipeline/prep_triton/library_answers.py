"""What a checkpoint's own library answers to fixed texts: the one reader and writer of ``library.json``.

Export writes it, where transformers and perhaps sentence-transformers are at hand; `prep verify` holds ensembles
against it. So neither the ids nor the answers that an ensemble is held to follow from a rule of prep's own.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, JsonValue

from prep_triton.artifact import Record
from prep_triton.errors import PrepError, RepositoryError

# Of the whole file. A text that it has no room for beside those before it is left out.
LARGEST_BYTES = 200_000
_AGAIN = "export the model again with prep export, then assemble its entry"

Offsets = tuple[tuple[int, int], ...]


class LibraryEntity(Record):
    """A label on characters `start` to `end` of a text, end exclusive."""

    label: str
    score: float
    start: int
    end: int


class LibraryChoice(Record):
    """A token of the vocabulary that may stand in a mask's place, and its text: None where an older prep wrote it."""

    token: str
    text: str | None = None
    logit: float
    score: float


class LibraryMask(Record):
    """The best choices for one mask, best first, and the root mean square of its logits over the vocabulary."""

    rms: Annotated[float, Field(ge=0.0)]
    choices: tuple[LibraryChoice, ...]


class LibraryRow(Record):
    """One text, and what the library makes of it; what the task does not have is empty.

    `question` stands before it: a question about the text, or the first text of a pair.

    `prompt_name` is that of the prompt which the library was told to put before the text; without it the default.

    `is_ordinary`: a sentence as the gates of a quantised model have seen them; other texts move its answers further.
    `ids` are transformers' own, cut where the library cuts (`is_cut`), with special tokens. For each of them,
    where an answer has a place in the text: the characters `offsets`, in `sequences` which text it is of (None: a
    special token), in `words` the index of its word. `outputs` are the torch model's, by name, without batch axis.

    `embedding` is a text's vector; `scores` are those of each label by its index; `tokens` holds the label of every
    token that is not special, and `entities` what the pipeline joins of them (None where it takes other tokens for a
    word than the tokenizer does); `masks` has the choices for each mask.
    """

    text: str
    question: str = ""
    prompt_name: str = ""
    is_ordinary: bool = False
    ids: tuple[int, ...]
    is_cut: bool = False
    offsets: Offsets = ()
    sequences: tuple[int | None, ...] = ()
    words: tuple[int | None, ...] = ()
    outputs: Mapping[str, JsonValue] = {}
    embedding: tuple[float, ...] = ()
    scores: tuple[float, ...] = ()
    tokens: tuple[LibraryEntity, ...] = ()
    entities: tuple[LibraryEntity, ...] | None = None
    masks: tuple[LibraryMask, ...] = ()


class LibraryAnswers(Record):
    """The rows, who answered them (a sentence's subject: name and version), and the names of the labels by index."""

    library: str
    labels: tuple[str, ...] = ()
    rows: tuple[LibraryRow, ...]


def save_library_answers(path: Path, answers: LibraryAnswers) -> None:
    """Write a ``library.json`` of at most `LARGEST_BYTES`."""
    rows = [row.model_dump_json(exclude_defaults=True) for row in answers.rows]
    head = answers.model_copy(update={"rows": ()}).model_dump_json().removesuffix("[]}")
    kept, room = [], LARGEST_BYTES - len(head.encode()) - 8
    for row in rows:
        size = len(row.encode()) + 2
        if size <= room:
            room -= size
            kept.append(row)
    path.write_text(head + "[\n" + ",\n".join(kept) + "\n]}\n", encoding="utf-8")


def load_library_answers(path: Path, *, error: type[PrepError] = RepositoryError) -> LibraryAnswers:
    """Load a ``library.json``.

    Raises:
        RepositoryError: It is missing or damaged; or `error`.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST_BYTES + 1)
        if len(content) > LARGEST_BYTES:
            raise ValueError(f"it has more than {LARGEST_BYTES} bytes")
        return LibraryAnswers.model_validate_json(content)
    except (OSError, ValueError) as err:
        raise error(f"{path} is not a file of library answers: {' '.join(str(err).split()):.200}", hint=_AGAIN) from err


def rounded(values: Any) -> Any:
    """Return numbers, in lists of any depth, with the seven digits that FP32 has."""
    return [rounded(value) for value in values] if isinstance(values, list) else float(f"{values:.7g}")
