"""Entries against the server that they are made for: by their manifests, and by their configurations."""

from collections.abc import Iterator, Mapping
from typing import Any

from prep_triton.layout import PLAN_NAME
from prep_triton.target import Target, find_driver_problem, find_misfits, find_turing_problem
from prep_triton.triton.config import traps
from prep_triton.triton.lint.entry import EntryFolder
from prep_triton.triton.lint.finding import Finding
from prep_triton.triton.lint.graph import DamagedGraphError, read_signature
from prep_triton.triton.lint.instances import kind_name
from prep_triton.triton.lint.models import list_graphs

# Seen with 1.24.4: the same graph is right in 1.32, and with scales in FP32 in both.
_WRONG_WITH_FP16_SCALES = ("1.24.4",)
_FP32_SCALES = (
    "choose 26.03 or 26.07, or serve a graph whose scales are FP32: "
    "prep build-engine --runtime openvino --int8 --calibration-data texts.txt"
)
_NO_GPU = "name the target's GPUs with --gpu, or serve it on a CPU: kind: KIND_CPU"


def find_target_problems(entry: EntryFolder, target: Target, entries: Mapping[str, EntryFolder]) -> Iterator[Finding]:
    """Say why the target would not serve an entry, or not as it should.

    Args:
        entry: The entry.
        target: The server.
        entries: Every entry of the repository by name: an ensemble waits for those that it calls.
    """
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
    if entry.manifest is None:
        yield from _find_doubts(entry, target)
    yield from _find_queue_problems(entry, target, entries)
    yield from _find_scale_problems(entry, target)
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


def _find_doubts(entry: EntryFolder, target: Target) -> Iterator[Finding]:
    """Say of an entry that prep did not write what `find_misfits` says of one that it did."""
    config: Any = entry.config
    is_plan = entry.backend == "tensorrt"
    if is_plan and (problem := find_turing_problem(target)):
        yield entry.on("target-unproven", "", *problem)
    is_on_gpu = is_plan or any(kind_name(group) == "KIND_GPU" for group in config.instance_group)
    if is_on_gpu and (problem := find_driver_problem(target)):
        yield entry.on("target-driver", "", *problem)


def _find_queue_problems(entry: EntryFolder, target: Target, entries: Mapping[str, EntryFolder]) -> Iterator[Finding]:
    config: Any = entry.config
    tag = target.release.tag
    for index, step in enumerate(config.ensemble_scheduling.step):
        other: Any = entries[step.model_name].config if step.model_name in entries else None
        if other is None or not traps.hangs_when_full(tag, _list_queue_limits(other)):
            continue
        trap = traps.ENSEMBLE_QUEUE
        message = (
            f"step {index} calls {step.model_name}, whose queue has a largest size: {trap.message}, which {tag} is"
        )
        yield entry.at("ensemble-queue", f"ensemble_scheduling.step[{index}]", message, trap.hint)


def _list_queue_limits(config: Any) -> list[int]:
    batching = config.dynamic_batching
    policies = [batching.default_queue_policy, *batching.priority_queue_policy.values()]
    return [policy.max_queue_size for policy in policies]


def _find_scale_problems(entry: EntryFolder, target: Target) -> Iterator[Finding]:
    """Find graphs that the target's ONNX Runtime answers wrongly for: seen to cost 17 points of accuracy on 1.24.4."""
    runtime = target.release.onnxruntime
    if entry.backend != "onnxruntime" or runtime not in _WRONG_WITH_FP16_SCALES:
        return
    for version in entry.served_versions:
        for name in list_graphs(entry, version):
            try:
                has_fp16_scales = read_signature(entry.folder / str(version) / name).has_fp16_scales
            except (DamagedGraphError, OSError):  # which the rules of `models` report
                continue
            if has_fp16_scales:
                message = (
                    f"{version}/{name} is quantised with scales in FP16, for which ONNX Runtime {runtime} of Triton "
                    f"{target.release.tag} gives wrong answers (seen: 17 points of accuracy)"
                )
                yield entry.on("target-onnxruntime", f"{version}/{name}", message, _FP32_SCALES)
