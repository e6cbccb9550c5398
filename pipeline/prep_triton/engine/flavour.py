"""The TensorRT of this process: the standard one, or TensorRT-RTX. A process can hold one alone.

Imported by the worker only, after it has chosen with `choose_flavour`. Both have one API; for the type
checker it is the standard one's (stubs of the real bindings, which scripts/tensorrt_contract makes).
"""

import importlib
import os
from typing import TYPE_CHECKING

# Polygraphy reads it once, at its first import.
_SWITCH = "POLYGRAPHY_USE_TENSORRT_RTX"


def choose_flavour(builder: str) -> None:
    """Choose for the whole process, before `trt` of this module or polygraphy is imported."""
    if builder == "tensorrt-rtx":
        os.environ[_SWITCH] = "1"
    else:
        os.environ.pop(_SWITCH, None)


if TYPE_CHECKING:
    import tensorrt as trt
else:

    def __getattr__(name: str) -> object:
        if name != "trt":
            raise AttributeError(name)
        return importlib.import_module("tensorrt_rtx" if _SWITCH in os.environ else "tensorrt")


__all__ = ["choose_flavour", "trt"]
