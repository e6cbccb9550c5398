"""Entries against the server that they are made for: by their manifests, and by their configurations."""

from collections.abc import Iterator
from typing import Any

from prep_triton.layout import PLAN_NAME
from prep_triton.target import Target, find_misfits
from prep_triton.triton.lint.entry import EntryFolder
from prep_triton.triton.lint.finding import Finding
from prep_triton.triton.lint.instances import kind_name

_NO_GPU = "name the target's GPUs with --gpu, or serve it on a CPU: kind: KIND_CPU"


def find_target_problems(entry: EntryFolder, target: Target) -> Iterator[Finding]:
    """Say why the target would not serve an entry."""
    misfits = find_misfits(entry.manifest, target) if entry.manifest is not None else []
    for misfit in misfits:
        yield entry.on(misfit.code, "", misfit.message.removeprefix(f"{misfit.entry}: "), misfit.hint)
    config: Any = entry.config
    if config is None:
        return
    if not target.gpus:
        for index, group in enumerate(config.instance_group):
            if kind_name(group) == "KIND_GPU" and entry.backend != "tensorrt":
                message = "an instance asks for a GPU, and the target has none"
                yield entry.at("target-gpu", f"instance_group[{index}].kind", message, _NO_GPU)
        if entry.backend == "tensorrt" and (entry.manifest is None or not entry.manifest.engines):
            yield entry.at("target-gpu", "backend", "a TensorRT plan needs a GPU, and the target has none", _NO_GPU)
    is_reported = any(misfit.code == "target-gpu" for misfit in misfits)
    if entry.backend == "tensorrt" and config.cc_model_filenames and not is_reported:
        yield from _find_plans_nobody_picks(entry, target)


def _find_plans_nobody_picks(entry: EntryFolder, target: Target) -> Iterator[Finding]:
    """The server takes the plan of the GPU's exact compute capability, else the default one."""
    config: Any = entry.config
    default = config.default_model_filename or PLAN_NAME
    has_default = any((entry.folder / str(version) / default).is_file() for version in entry.served_versions)
    for gpu, capability in target.gpus.items():
        if capability not in config.cc_model_filenames and not has_default:
            have = ", ".join(sorted(config.cc_model_filenames))
            message = (
                f"cc_model_filenames has plans for {have}, none for the target's {gpu} ({capability}), and no {default}"
            )
            hint = f"build it: prep build-engine --gpu {gpu} --builder tensorrt"
            yield entry.at("target-gpu", "cc_model_filenames", message, hint)
