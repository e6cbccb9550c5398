"""A checkpoint of pickles as safetensors, whatever else is in them, and without running any of it.

``python -m prep_triton.export.inert FOLDER`` writes ``model.safetensors``, which prep and transformers prefer, beside
them. PyTorch's own restricted reader (``weights_only``) reads; each class or function that it would refuse is an
empty stand-in of ours, so that nothing of the file's choice is imported or called, and what was built of it is dropped.
"""

import re
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

from prep_triton.errors import PrepError, SourceError
from prep_triton.export.weights import PICKLE_NAME, WEIGHTS_NAME, find_pickle_reason, find_tensors

_PATTERNS = (PICKLE_NAME, "pytorch_model-*.bin")
_REFUSED = re.compile(r"Unsupported global: GLOBAL (\S+)")


class _Inert:
    """What an unknown class or function of a pickle is read as: it takes anything and does nothing."""

    def __new__(cls, *_: Any) -> Self:
        return object.__new__(cls)

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update({str(key): value for key, value in state.items()})


def convert_pickles(folder: Path) -> Path:
    """Write the tensors of a folder's pickles into its ``model.safetensors`` and return its path.

    Args:
        folder: The checkpoint.

    Raises:
        SourceError: There are no pickles, one is damaged or calls what PyTorch blocks, or none holds tensors.
    """
    from safetensors.torch import save_file

    paths = sorted({path for pattern in _PATTERNS for path in folder.glob(pattern)})
    if not paths:
        raise SourceError(f"{folder} has no {PICKLE_NAME}", hint="name the folder of the checkpoint")
    tensors = {name: tensor for path in paths for name, tensor in _load_inert(path).items()}
    if not tensors:
        raise SourceError(
            f"{paths[0]} holds no tensors by name", hint="save the model's state_dict() alone, where it was trained"
        )
    target = folder / WEIGHTS_NAME
    # Copies: safetensors refuses tensors that share memory, as tied ones do.
    save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, target, {"format": "pt"})
    return target


def _load_inert(path: Path) -> dict[str, Any]:
    import torch

    unknown: dict[str, type[_Inert]] = {}
    while True:
        try:
            with _stand_in_for(unknown):
                content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as err:  # pickle's, zip's and torch's own
            refused = _REFUSED.search(str(err))
            if refused is None or _full_name(refused[1]) in unknown:
                raise SourceError(
                    f"{path} cannot be read: {find_pickle_reason(err)}", hint="copy the checkpoint again"
                ) from err
            unknown[_full_name(refused[1])] = _Inert
        else:
            return find_tensors(content) or dict(_walk_module(content))


def _stand_in_for(unknown: dict[str, type[_Inert]]) -> AbstractContextManager[None]:
    from torch.serialization import safe_globals

    context: AbstractContextManager[None] = safe_globals([(stand_in, name) for name, stand_in in unknown.items()])
    return context


def _full_name(name: str) -> str:
    """Return the name by which PyTorch looks a global up; its message leaves the module of a builtin out."""
    return name if "." in name else f"builtins.{name}"


def _walk_module(content: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the parameters and buffers of a pickled torch module, as its state_dict() names them."""
    import torch

    if not isinstance(content, _Inert):
        return
    for group in ("_parameters", "_buffers"):
        for name, tensor in (getattr(content, group, None) or {}).items():
            if torch.is_tensor(tensor):
                yield f"{prefix}{name}", tensor.detach()
    for name, module in (getattr(content, "_modules", None) or {}).items():
        yield from _walk_module(module, f"{prefix}{name}.")


if __name__ == "__main__":
    try:
        sys.stdout.write(f"wrote {convert_pickles(Path(sys.argv[1]))}\n")
    except PrepError as error:
        sys.exit(f"error: {error}\nhint: {error.hint}")
