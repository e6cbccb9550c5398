"""Releases as `prep_triton.deploy` sees them: records alone, no files."""

from typing import Any

from prep_triton.artifact import Engine, FileRecord, OnnxModel, PrecisionProof, RepositoryEntry, TensorSpec
from prep_triton.deploy.request import ServedRelease
from prep_triton.spec import OptimizationProfile
from prep_triton.target import Target, load_triton_releases

ID = "20260131T235959Z-0123456789ab"
URI = f"gs://bucket/models/releases/{ID}"
MIB = 1 << 20
CAPABILITIES = {"t4": "7.5", "a100": "8.0", "a10": "8.6", "l4": "8.9", "rtx4090": "8.9", "h100": "9.0"}


def make_plan(gpu: str = "t4", version: str = "10.13.2.6", **spec: Any) -> Engine:
    """A plan that was built on a GPU, by a TensorRT."""
    return Engine(
        name=f"bert-fp16-trt-{gpu}",
        key=f"engine-{gpu}",
        spec=spec,
        builder="tensorrt",
        builder_version=version,
        precision="fp16",
        gpu=gpu,
        compute_capability=CAPABILITIES[gpu],
        profiles=(OptimizationProfile.model_validate("1x16,8x128,16x384"),),
        model_inputs=(),
        model_outputs=(),
        proof=PrecisionProof(method="engine inspector", gemm_flops_share={"fp16": 1.0}, layers={"fp16": 3}),
        build_seconds=1.0,
    )


def make_entry(name: str = "bert-trt-fp16", *plans: Engine, size_mib: int = 200, **fields: Any) -> RepositoryEntry:
    """An entry of a release: served by ONNX Runtime where it has no plan."""
    given = {
        "runtime": "tensorrt" if plans else "onnxruntime",
        "precision": "fp16",
        "task": "fill-mask",
        "architecture": "bert",
        "weights": "random",
        "max_batch_size": 8,
        "tolerance": 0.999,
        "engines": plans,
        "compute_capabilities": tuple(plan.compute_capability for plan in plans),
        "files": {"1/model": FileRecord(size=size_mib * MIB, sha256="0" * 64)},
    }
    return RepositoryEntry(name=name, key=f"key-{name}", **(given | fields))


def make_graph(*, inputs: tuple[TensorSpec, ...] = (), outputs: tuple[TensorSpec, ...] = ()) -> OnnxModel:
    """The graph that an entry serves."""
    return OnnxModel(
        name="bert",
        architecture="bert",
        task="fill-mask",
        weights="random",
        source="bert-base",
        precision="fp32",
        opset=20,
        model_inputs=inputs,
        model_outputs=outputs,
        max_sequence_length=512,
        vocab_size=30522,
        parameters=1,
    )


def make_release(*entries: RepositoryEntry, **fields: Any) -> ServedRelease:
    """A release of these entries."""
    return ServedRelease(id=ID, uri=URI, entries=entries or (make_entry("bert-trt-fp16", make_plan()),), **fields)


def make_target(tag: str = "25.08", **gpus: str) -> Target:
    """The server that a release was made for."""
    return Target(release=load_triton_releases()[tag], gpus=gpus, platform="linux/amd64")
