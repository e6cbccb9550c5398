"""The weight files of a checkpoint: safetensors, or the pickle that PyTorch wrote before there was safetensors.

Finding them is cheap: torch is imported where tensors are read.
"""

import shlex
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from prep_triton.errors import SourceError
from prep_triton.files import load_json

WEIGHTS_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"
PICKLE_NAME = "pytorch_model.bin"
PICKLE_INDEX_NAME = "pytorch_model.bin.index.json"

# What other libraries keep weights in, and who reads it.
_FOREIGN = {"tf_model.h5": "TensorFlow", "model.ckpt.index": "TensorFlow", "flax_model.msgpack": "Flax"}
_ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
# What wrappers put before every name: torch.nn.DataParallel and DistributedDataParallel, torch.compile, trainers that
# keep the model as an attribute of their own, and PEFT (whose adapters, where not merged, have no place in the model).
# No weight of BERT or DistilBERT begins so.
_WRAPPERS = ("module.", "_orig_mod.", "model.", "base_model.model.")
# Where training libraries keep the state dict in a checkpoint of theirs.
_STATE_KEYS = ("state_dict", "model_state_dict", "model", "module")
# What torch's restricted reader puts before its own reason, below paragraphs of advice.
_READER = "WeightsUnpickler error: "
# Types whose numbers mean nothing without scales that lie elsewhere.
_QUANTIZED = ("I8", "U8", "F8_", "F4", "I4")


def has_weights(folder: Path) -> bool:
    """Whether a folder has weights that prep reads, or an index that says where they are."""
    return any((folder / name).is_file() for name in (WEIGHTS_NAME, INDEX_NAME, PICKLE_NAME, PICKLE_INDEX_NAME))


def find_weights(folder: Path, *, where: str) -> tuple[Path, ...]:
    """Return the weight files of a folder: safetensors where there are some, else PyTorch's own.

    Raises:
        SourceError: There are none, a shard is missing, or only those of another library are there.
    """
    for name, index_name in ((WEIGHTS_NAME, INDEX_NAME), (PICKLE_NAME, PICKLE_INDEX_NAME)):
        if (folder / name).is_file():
            return (folder / name,)
        if (folder / index_name).is_file():
            return _find_shards(folder, index_name, where=where)
    foreign = next((name for name in _FOREIGN if (folder / name).is_file()), None)
    if foreign:
        raise SourceError(
            f"{where} has its weights in {foreign} only; prep reads {WEIGHTS_NAME} and {PICKLE_NAME}",
            hint=f"convert it where transformers 4 and {_FOREIGN[foreign]} are installed: load it there with the Auto "
            "class of its head (from_tf=True or from_flax=True), and save_pretrained()",
        )
    if adapter := next((name for name in _ADAPTERS if (folder / name).is_file()), None):
        raise SourceError(
            f"{where} has no weights but those of an adapter, {adapter}",
            hint="merge it into its base model where peft is installed: load it there with the AutoPeftModel class of "
            "its head, and merge_and_unload().save_pretrained()",
        )
    raise SourceError(
        f"{where} has no weights: expected {WEIGHTS_NAME}",
        hint="copy the whole checkpoint, or say --weights random for a benchmark",
    )


def _find_shards(folder: Path, index_name: str, *, where: str) -> tuple[Path, ...]:
    try:
        content = load_json(folder / index_name)
        names = {str(name) for name in content["weight_map"].values()}
        if not names:
            raise ValueError("it names no weights")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
        raise SourceError(f"{index_name} of {where} is damaged: {err}", hint="copy the checkpoint again") from err
    for name in sorted(names):
        if Path(name).name != name or not (folder / name).is_file():
            raise SourceError(f"{where} lacks the weight file {name!r}", hint="copy the whole checkpoint")
    return tuple(folder / name for name in sorted(names))


def check_weights(files: tuple[Path, ...], *, where: str) -> None:
    """Refuse safetensors files that are cut short or are none, and pointers to files that were not fetched.

    Raises:
        SourceError: A file is damaged; safetensors compares its header with the file's length.
    """
    from safetensors import SafetensorError, safe_open

    for path in files:
        with path.open("rb") as stream:
            if stream.read(len(_LFS_POINTER)) == _LFS_POINTER:
                raise SourceError(f"{path.name} of {where} is a Git LFS pointer, not weights", hint="run: git lfs pull")
        if path.suffix != ".safetensors":
            continue
        try:
            with safe_open(path, framework="numpy") as stored:
                kinds = {name: str(stored.get_slice(name).get_dtype()) for name in stored.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as err:
            raise SourceError(
                f"{path.name} of {where} is truncated or damaged ({path.stat().st_size} bytes): {err}",
                hint="copy or download the file again",
            ) from err
        if quantized := next((name for name, kind in kinds.items() if kind.startswith(_QUANTIZED)), None):
            raise SourceError(
                f"{path.name} of {where} stores {quantized} as {kinds[quantized]}; supported are floating-point "
                "weights",
                hint="export the checkpoint it was quantized from, then choose a precision with prep",
            )


def load_state_dict(files: tuple[Path, ...], *, where: str) -> Mapping[str, Any] | None:
    """Return the tensors of files that transformers does not take as they are; None where it does.

    That is a pickle, of which tensors alone are read (``weights_only``: no code of it runs), and names that a wrapper
    put its own before (`_WRAPPERS`), which is taken off.

    Raises:
        SourceError: A pickle is damaged, or holds more than tensors.
    """
    from safetensors import safe_open

    is_pickle = files[0].suffix != ".safetensors"
    if not is_pickle:
        with safe_open(files[0], framework="numpy") as first:
            if not _find_wrapper(first.keys()):
                return None
    tensors: dict[str, Any] = {}
    for path in files:
        tensors.update(_load_pickle(path, where=where) if is_pickle else _load_safetensors(path))
    while wrapper := _find_wrapper(tensors):
        tensors = {name.removeprefix(wrapper): tensor for name, tensor in tensors.items()}
    return tensors


def _find_wrapper(names: Collection[str]) -> str | None:
    """Return what a wrapper put before every name."""
    return next((wrapper for wrapper in _WRAPPERS if names and all(name.startswith(wrapper) for name in names)), None)


def _load_safetensors(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(path))


def _load_pickle(path: Path, *, where: str) -> dict[str, Any]:
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as err:
        raise SourceError(f"{path} cannot be read: {err.strerror or err}", hint="check its permissions") from err
    except Exception as err:  # pickle's, zip's and torch's own
        raise SourceError(
            f"{path.name} of {where} cannot be read without running code from it, or is damaged: "
            f"{find_pickle_reason(err)}",
            hint="copy the file again where it is damaged; else write its tensors as safetensors, without running any "
            f"of it: python -m prep_triton.export.inert {shlex.quote(str(path.parent))}",
        ) from err
    tensors = find_tensors(content)
    if not tensors:
        raise SourceError(
            f"{path.name} of {where} is no mapping of names to tensors",
            hint="save the model's state_dict() alone: torch.save(model.state_dict(), ...)",
        )
    return tensors


def find_tensors(content: Any) -> dict[str, Any]:
    """Return the tensors of a state dict, or of the one that a training library put beside its own state."""
    import torch

    if not isinstance(content, dict):
        return {}
    tensors = {str(name): value for name, value in content.items() if torch.is_tensor(value)}
    return tensors or next((inner for key in _STATE_KEYS if (inner := find_tensors(content.get(key)))), {})


def find_pickle_reason(err: Exception) -> str:
    """Return why torch did not read a pickle, without its advice to read it another way: that runs the file's code."""
    lines = str(err).strip().splitlines() or [type(err).__name__]
    refused = next((line for line in lines if _READER in line or "GLOBAL" in line), lines[0])
    return refused.strip().removeprefix(_READER).partition(". ")[0].rstrip(".")
