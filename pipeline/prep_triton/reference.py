"""The reference answers of a model, and its tokenizer: the one reader and writer of both files.

``reference.npz`` holds what PyTorch answers in FP32 to fixed rows: one array for each graph input
(``input/<name>``, [rows, sequence]), one for each output (``output/<name>``, [rows, ...]), and ``text``, one string a
row, empty where there is no tokenizer; ``text_pair`` is the second text of each row, empty where a row has one text.
Rows are padded with 0 behind their tokens.
"""

import os
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from zipfile import BadZipFile, ZipFile

from prep_triton.errors import PrepError, RepositoryError
from prep_triton.tasks import MASK_TOKEN

if TYPE_CHECKING:
    import numpy as np
    from tokenizers import Tokenizer

    Array = np.ndarray[Any, Any]

T = TypeVar("T")

# Of all arrays together: export writes at most 16 MB of answers, and a file that claims more is not one of ours.
LARGEST_ARCHIVE_BYTES = 1 << 30
# Texts that tokenizers differ on or fail at: case, accents, scripts, controls, special tokens, long words and runs.
TOKENIZER_PROBES = (
    "",
    "The Harbour was quiet; 3.14% of it's DON'T-know_what (isn't it?)",
    " \t two  spaces\n\nlines\r\nand\u00a0no-break\u2003em\u3000wide ",
    "na\u00efve CAF\u00c9 cafe\u0301 \u00c5ngstr\u00f6m \u0130stanbul stra\u00dfe \ufb01ne \u0141\u00f3d\u017a",
    "\u6771\u4eac\u306b\u884c\u304f \u30ab\u30ac\u30ac \uff21\uff22\uff43 \u4f60\u597d\uff0c\u4e16\u754c\u3002"
    " \ud55c\uad6d\uc5b4",
    "\u041f\u0440\u0438\u0432\u0435\u0442 \u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2 "
    "\u0645\u0631\u062d\u0628\u0627 \u0928\u092e\u0938\u094d\u0924\u0947",
    "\U0001f600 \U0001f469\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f \U0001f1e8\U0001f1ed",
    "a\u0000b \ufffd \u200b \u00ad \u0007 \ufeff",
    "[CLS] [MASK]. [SEP][PAD] [UNK] [unused1] <mask> </s>",
    "x" * 101 + " " + "pneumono" * 40,
    "the quick brown fox jumps over the lazy dog " * 8,
)
_AGAIN = "export the model again with prep export, then assemble its entry"


@dataclass(frozen=True)
class Reference:
    """PyTorch FP32 answers to fixed rows.

    `inputs` are [rows, sequence], all that the file has; `outputs` [rows, ...], those that were asked for; `lengths`
    counts the tokens of each row, which stand before the padding. `text` and `pairs`, the second text of a row, hold
    one string a row; empty where there is none.
    """

    inputs: "Mapping[str, Array]"
    outputs: "Mapping[str, Array]"
    lengths: Sequence[int]
    text: Sequence[str]
    pairs: Sequence[str]

    def joined(self) -> list[str | tuple[str, str]]:
        """Return what a tokenizer is given for each row: a text, or two."""
        return join_texts(self.text, self.pairs)


def join_texts(texts: Sequence[str], pairs: Sequence[str]) -> list[str | tuple[str, str]]:
    """Return texts as a tokenizer takes them: alone where the second one is empty, else with it."""
    return [(text, pair) if pair else text for text, pair in zip(texts, pairs, strict=True)]


def save_reference(
    path: Path,
    inputs: "Mapping[str, Array]",
    outputs: "Mapping[str, Array]",
    text: Sequence[str],
    pairs: Sequence[str] = (),
) -> None:
    """Write a ``reference.npz``.

    Args:
        path: The file.
        inputs: [rows, sequence] by name; ``attention_mask`` is among them.
        outputs: [rows, ...] by name.
        text: One string a row.
        pairs: The second text of each row, or nothing where rows have one text.
    """
    import numpy as np

    arrays = {f"input/{name}": array for name, array in inputs.items()}
    arrays |= {f"output/{name}": array for name, array in outputs.items()}
    if any(pairs):
        arrays["text_pair"] = np.array(pairs, dtype=np.str_)
    np.savez(path, text=np.array(text, dtype=np.str_), **arrays)


def load_reference(
    path: Path, inputs: Iterable[str], outputs: Iterable[str], *, error: type[PrepError] = RepositoryError
) -> Reference:
    """Load a ``reference.npz`` and check that it has every input and output that is asked for.

    Args:
        path: The file.
        inputs: The names that must be there beside ``attention_mask``.
        outputs: The names that must be there; others are not loaded.
        error: What to raise.

    Raises:
        RepositoryError: The file is missing, damaged, or of another model; or `error`.
    """
    required, answers = {"attention_mask", *inputs}, list(outputs)
    keys = [*(f"input/{name}" for name in sorted(required)), *(f"output/{name}" for name in answers)]
    try:
        arrays = load_arrays(path, lambda key: key in (*keys, "text", "text_pair") or key.startswith("input/"))
    except (OSError, ValueError) as err:
        raise error(f"{path} is not a reference file: {err}", hint=_AGAIN) from err
    if missing := [key for key in keys if key not in arrays]:
        raise error(f"{path} has no {', '.join(missing)}", hint=_AGAIN)
    mask = arrays["input/attention_mask"]
    if mask.ndim != 2 or not len(mask) or any(array.shape[:1] != mask.shape[:1] for array in arrays.values()):
        raise error(f"{path} has no rows, or not the same number everywhere", hint=_AGAIN)
    return Reference(
        inputs={key.removeprefix("input/"): array for key, array in arrays.items() if key.startswith("input/")},
        outputs={name: arrays[f"output/{name}"] for name in answers},
        lengths=[int(count) for count in (mask != 0).sum(axis=1)],
        text=[str(text) for text in arrays.get("text", [""] * len(mask))],
        pairs=[str(text) for text in arrays.get("text_pair", [""] * len(mask))],
    )


def load_arrays(path: Path, is_needed: Callable[[str], bool]) -> "dict[str, Array]":
    """Load arrays of an ``.npz``, by name; no pickles, and nothing that would fill the memory.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not an .npz, it is damaged, or it claims more than `LARGEST_ARCHIVE_BYTES`.
    """
    import numpy as np

    try:
        with path.open("rb") as stream:
            size = sum(entry.file_size for entry in ZipFile(stream).infolist())
            if size > LARGEST_ARCHIVE_BYTES:
                raise ValueError(f"it claims to hold {size} bytes, expected at most {LARGEST_ARCHIVE_BYTES}")
            stream.seek(0)
            with np.load(stream, allow_pickle=False) as stored:
                return {key: stored[key] for key in stored.files if is_needed(key)}
    # A header may claim a shape that no memory holds, or a compression that Python does not have.
    except (BadZipFile, EOFError, MemoryError, NotImplementedError, OverflowError, TypeError, zlib.error) as err:
        raise ValueError(" ".join(str(err).split())) from err


def load_tokenizer(path: Path, *, error: type[PrepError] = RepositoryError) -> "Tokenizer":
    """Load a ``tokenizer.json``, without its own padding and truncation, and try it on `TOKENIZER_PROBES`.

    Raises:
        RepositoryError: The file is missing or damaged, or the tokenizer cannot work; or `error`.
    """
    from tokenizers import Tokenizer

    with translate_tokenizer_errors(path, error=error, reason="cannot be read"):
        tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    encode_all(path, lambda: tokenizer.encode_batch(list(TOKENIZER_PROBES)), error=error)
    return tokenizer


@contextmanager
def translate_tokenizer_errors(
    path: Path, *, error: type[PrepError] = RepositoryError, reason: str = "cannot tokenize"
) -> Iterator[None]:
    """Turn what the tokenizers library raises, its Rust panics among it, into a sentence that names the file.

    Raises:
        RepositoryError: The library raised; or `error`.
    """
    try:
        yield
    except BaseException as err:  # a panic is no Exception, and what else the library raises has no other type
        if isinstance(err, PrepError) or not is_tokenizer_error(err):
            raise
        raise error(f"{path} {reason}: {' '.join(str(err).split()):.300}", hint=_AGAIN) from err


def encode_all(path: Path, encode: Callable[[], T], *, error: type[PrepError] = RepositoryError) -> T:
    """Call a tokenizer of a file: what the library raises is a sentence, and its panics write nothing.

    Raises:
        RepositoryError: The library raised; or `error`.
    """
    with translate_tokenizer_errors(path, error=error), silence_panics():
        return encode()


@contextmanager
def silence_panics() -> Iterator[None]:
    """Keep what a panic of Rust writes, past Python's own stream, from the terminal."""
    if sys.stderr is None:  # it was closed: nothing is written anywhere
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def is_tokenizer_error(err: BaseException) -> bool:
    """Whether the tokenizers library may have raised it: an Exception, or a panic of Rust, which is none."""
    return isinstance(err, Exception) or type(err).__name__ == "PanicException"


def find_mask_token(tokenizer: "Tokenizer") -> str:
    """Return the mask token of a tokenizer.json, which does not say which token that is: BERT's, else RoBERTa's."""
    return next((token for token in (MASK_TOKEN, "<mask>") if tokenizer.token_to_id(token) is not None), MASK_TOKEN)


def count_special_tokens(tokenizer: "Tokenizer", texts: int) -> int:
    """Return how many special tokens a tokenizer puts round one text, or round and between two."""
    return int(tokenizer.num_special_tokens_to_add(texts > 1))
