"""A checkpoint folder: config.json, safetensors weights and a WordPiece vocabulary.

Everything here is cheap: neither torch nor transformers is imported.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prep_triton.errors import SourceError
from prep_triton.export.heads import ARCHITECTURES, Architecture
from prep_triton.layout import TOKENIZER_NAME
from prep_triton.workspace import digest_file

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"
VOCABULARY_NAME = "vocab.txt"

_PICKLES = (
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "model.ckpt.index",
    "tf_model.h5",
    "flax_model.msgpack",
)
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_CONVERT = (
    'convert it where you trust it: python -c "from transformers import AutoModel; '
    "AutoModel.from_pretrained('FOLDER').save_pretrained('FOLDER')\" with the Auto class of its head"
)


def load_config(folder: Path, *, where: str) -> dict[str, Any]:
    """Load the content of a folder's config.json.

    Raises:
        SourceError: It is missing, unreadable, or not a JSON object.
    """
    path = folder / CONFIG_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as err:
        raise SourceError(f"{where} has no {CONFIG_NAME}", hint="name the folder that save_pretrained() wrote") from err
    except (OSError, ValueError, RecursionError) as err:
        raise SourceError(f"{CONFIG_NAME} of {where} is not JSON: {err}", hint="copy the checkpoint again") from err
    if not isinstance(content, dict):
        raise SourceError(
            f"{CONFIG_NAME} of {where} holds a JSON {type(content).__name__}, expected an object",
            hint="copy the checkpoint again",
        )
    return content


def check_config(config: Mapping[str, Any], *, where: str) -> Architecture:
    """Return the architecture of a configuration.

    Raises:
        SourceError: It is not an encoder of a supported architecture.
    """
    model_type = config.get("model_type")
    if model_type not in ARCHITECTURES:
        raise SourceError(
            f"{where} is a '{model_type}' model; supported are {' and '.join(ARCHITECTURES)}",
            hint="choose a BERT or DistilBERT checkpoint (model_type in its config.json)",
        )
    if config.get("is_decoder") or config.get("add_cross_attention"):
        raise SourceError(f"{where} is configured as a decoder; supported are encoders", hint="set is_decoder to false")
    # transformers 5 ignores this key and would compute absolute positions without a word.
    position = config.get("position_embedding_type", "absolute")
    if position != "absolute":
        raise SourceError(
            f"{where} has position_embedding_type '{position}'; supported is 'absolute'",
            hint="choose a checkpoint with absolute positions",
        )
    if config.get("quantization_config"):
        raise SourceError(
            f"{where} has quantized weights; supported are floating-point ones",
            hint="export the checkpoint it was quantized from, then choose a precision with prep",
        )
    return "distilbert" if model_type == "distilbert" else "bert"


def find_weights(folder: Path, *, where: str) -> tuple[Path, ...]:
    """Return the safetensors files of a folder.

    Raises:
        SourceError: There are none, a shard is missing, or only pickles are there.
    """
    if (folder / WEIGHTS_NAME).is_file():
        return (folder / WEIGHTS_NAME,)
    if (folder / INDEX_NAME).is_file():
        return _find_shards(folder, where=where)
    pickles = [name for name in _PICKLES if (folder / name).is_file()]
    if pickles:
        raise SourceError(
            f"{where} has its weights in {pickles[0]} only; prep reads {WEIGHTS_NAME} and never unpickles",
            hint=_CONVERT,
        )
    raise SourceError(
        f"{where} has no weights: expected {WEIGHTS_NAME}",
        hint="copy the whole checkpoint, or say --weights random for a benchmark",
    )


def _find_shards(folder: Path, *, where: str) -> tuple[Path, ...]:
    try:
        names = {
            str(name) for name in json.loads((folder / INDEX_NAME).read_text(encoding="utf-8"))["weight_map"].values()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
        raise SourceError(f"{INDEX_NAME} of {where} is damaged: {err}", hint="copy the checkpoint again") from err
    for name in sorted(names):
        if Path(name).name != name or not (folder / name).is_file():
            raise SourceError(f"{where} lacks the weight file {name!r}", hint="copy the whole checkpoint")
    return tuple(folder / name for name in sorted(names))


def check_weights(files: tuple[Path, ...], *, where: str) -> None:
    """Refuse weight files that are cut short or are not safetensors.

    Raises:
        SourceError: A file is damaged; safetensors compares its header with the file's length.
    """
    from safetensors import SafetensorError, safe_open

    for path in files:
        with path.open("rb") as stream:
            if stream.read(len(_LFS_POINTER)) == _LFS_POINTER:
                raise SourceError(f"{path.name} of {where} is a Git LFS pointer, not weights", hint="run: git lfs pull")
        try:
            with safe_open(path, framework="numpy"):
                pass
        except (SafetensorError, OSError, ValueError) as err:
            raise SourceError(
                f"{path.name} of {where} is truncated or damaged ({path.stat().st_size} bytes): {err}",
                hint="copy or download the file again",
            ) from err


def find_vocabulary(folder: Path, *, where: str) -> Path:
    """Return tokenizer.json, or vocab.txt where that is all there is.

    Raises:
        SourceError: There is neither.
    """
    for name in (TOKENIZER_NAME, VOCABULARY_NAME):
        if (folder / name).is_file():
            return folder / name
    raise SourceError(
        f"vocabulary missing: {where} has neither {TOKENIZER_NAME} nor {VOCABULARY_NAME}",
        hint="copy the tokenizer's files of the checkpoint beside its weights",
    )


def digest_folder(folder: Path, *, where: str) -> str:
    """Return the SHA-256 over everything of a folder that decides the export.

    Raises:
        SourceError: Weights or vocabulary are missing.
    """
    vocabulary = find_vocabulary(folder, where=where)
    files = [folder / CONFIG_NAME, *find_weights(folder, where=where), vocabulary]
    if vocabulary.name == VOCABULARY_NAME:  # tokenizer.json says these things itself
        files += [
            path for name in ("tokenizer_config.json", "special_tokens_map.json") if (path := folder / name).is_file()
        ]
    try:
        digests = [f"{path.name}:{digest_file(path)}" for path in files]
    except OSError as err:
        raise SourceError(f"{where} cannot be read: {err}", hint="check the permissions of its files") from err
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def digest_config(config: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a configuration, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
