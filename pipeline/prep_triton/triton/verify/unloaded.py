"""Why an entry was not loaded: because it is wrong, or because this machine does not have what it needs."""

import re
from collections.abc import Mapping

from prep_triton.artifact import RepositoryEntry
from prep_triton.triton.verify.report import EntryReport, report_entry

NO_BACKEND = "unable to find backend library for backend 'tensorrt'"
BACKEND_DETAIL = "the server accepted the configuration up to the missing TensorRT backend, nothing more was checked"
# core, model_config_utils.cc (ValidateInstanceGroup); the list of GPUs that ends the last one is empty.
_NO_GPU = re.compile(
    r"has kind KIND_GPU but (no GPUs are available|server does not support GPUs)"
    r"|specifies invalid or unsupported gpu id [0-9]+\. GPUs with [^:]* are: *;?\s*\Z"
)
GPU_DETAIL = "the server accepted the configuration up to the GPU that it asks for and this machine does not have, "
GPU_DETAIL += "nothing more was checked"
_STAND_IN_REFUSAL = re.compile(r"the stand-in for the ONNX Runtime backend [^\n;]*")
_STACK = re.compile(r"\n+At:\n.*", re.DOTALL)  # a Python backend's; the sentence before it is enough
_DEPENDS = re.compile(r"depends on '([^']+)' which has no loaded version")


def report_unloaded(entry: RepositoryEntry, reason: str, reports: Mapping[str, EntryReport]) -> EntryReport:
    """Return the report of an entry that the server did not load.

    Args:
        entry: The entry.
        reason: The server's words.
        reports: The reports of the entries that an ensemble may call.
    """
    if entry.runtime == "tensorrt" and NO_BACKEND in reason:
        return report_entry(entry, "config-accepted-only", detail=BACKEND_DETAIL)
    if entry.kind == "model" and _NO_GPU.search(reason):
        return report_entry(entry, "config-accepted-only", detail=GPU_DETAIL)
    refusal = _STAND_IN_REFUSAL.search(reason)
    if entry.runtime == "onnxruntime" and refusal:
        detail = f"the server accepted the configuration, but {refusal[0]}; nothing more was checked"
        return report_entry(entry, "config-accepted-only", detail=detail)
    step = _DEPENDS.search(reason)
    blocking = reports.get(step[1]) if step else None
    if entry.kind == "ensemble" and blocking and blocking.status == "config-accepted-only":
        detail = f"{blocking.name}, which it calls, could not be loaded here; nothing more was checked"
        return report_entry(entry, "config-accepted-only", detail=detail)
    return report_entry(entry, "failed", detail=f"Triton did not load it: {_STACK.sub('', reason).strip()}")
