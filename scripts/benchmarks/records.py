"""Records of artifacts, complete and valid, with nothing behind them: for what reads records alone."""

from pathlib import Path
from typing import Any

from prep_triton.artifact import Engine, OnnxModel, PrecisionProof, RepositoryEntry, TensorSpec
from prep_triton.manifest import record_files, save_manifest
from prep_triton.spec import OptimizationProfile

INPUT_NAMES = ("input_ids", "attention_mask", "token_type_ids")
INPUTS = tuple(TensorSpec(name=name, dtype="INT64", shape=("batch", "sequence")) for name in INPUT_NAMES)
HIDDEN = TensorSpec(name="last_hidden_state", dtype="FP32", shape=("batch", "sequence", 8))
CAPABILITIES = {
    "v100": "7.0", "t4": "7.5", "a100": "8.0", "a10": "8.6", "l4": "8.9", "rtx4090": "8.9", "h100": "9.0",
}  # fmt: skip


def make_graph(name: str = "bert", **fields: Any) -> OnnxModel:
    """Return the record of a small FP32 graph, with other values for some of its fields."""
    defaults: dict[str, Any] = {
        "architecture": "bert",
        "task": "feature-extraction",
        "weights": "hub",
        "source": "a test",
        "precision": "fp32",
        "opset": 17,
        "model_inputs": INPUTS,
        "model_outputs": (HIDDEN,),
        "max_sequence_length": 512,
        "vocab_size": 30522,
        "parameters": 1,
    }
    return OnnxModel(name=name, **(defaults | fields))


def make_plan(gpu: str = "t4", **fields: Any) -> Engine:
    """Return the record of a plan that TensorRT built in FP16 on a GPU, with other values for some of its fields."""
    defaults: dict[str, Any] = {
        "name": f"bert-fp16-trt-{gpu}",
        "key": f"engine-{gpu}",
        "builder": "tensorrt",
        "builder_version": "10.13.2",
        "precision": "fp16",
        "compute_capability": CAPABILITIES[gpu],
        "profiles": (OptimizationProfile.model_validate("1x16,8x128,16x384"),),
        "model_inputs": INPUTS,
        "model_outputs": (HIDDEN,),
        "proof": PrecisionProof(method="engine inspector", gemm_flops_share={"fp16": 1.0}, layers={"fp16": 3}),
        "build_seconds": 1.0,
    }
    return Engine(gpu=gpu, **(defaults | fields))


def make_entry(name: str = "bert", *plans: Engine, **fields: Any) -> RepositoryEntry:
    """Return the record of an entry that serves plans, or an FP32 graph where it has none."""
    defaults: dict[str, Any] = {
        "runtime": "tensorrt" if plans else "onnxruntime",
        "precision": "fp16" if plans else "fp32",
        "task": "fill-mask",
        "architecture": "bert",
        "weights": "hub",
        "max_batch_size": 8,
        "tolerance": 0.999,
        "engines": plans,
        "compute_capabilities": tuple(plan.compute_capability for plan in plans),
    }
    return RepositoryEntry(name=name, **(defaults | fields))


def save_entry(folder: Path, **fields: Any) -> RepositoryEntry:
    """Write the manifest of an entry whose files are in a folder, which it is called after."""
    entry = make_entry(folder.name, folder=folder, files=record_files(folder), **fields)
    save_manifest(entry, folder)
    return entry
