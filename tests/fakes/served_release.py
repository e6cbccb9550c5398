"""Releases as `prep_triton.deploy` sees them: records alone, no files."""

from typing import Any

from prep_triton.artifact import Engine, FileRecord, RepositoryEntry
from prep_triton.containers import load_triton_releases
from prep_triton.deploy.request import ServedRelease
from prep_triton.target import Target

from scripts.benchmarks import records

ID = "20260131T235959Z-0123456789ab"
URI = f"gs://bucket/models/releases/{ID}"
MIB = 1 << 20


def make_plan(gpu: str = "t4", version: str = "10.13.2.6", **spec: Any) -> Engine:
    """A plan that was built on a GPU, by a TensorRT."""
    return records.make_plan(gpu, builder_version=version, spec=spec)


def make_entry(name: str = "bert-trt-fp16", *plans: Engine, size_mib: int = 200, **fields: Any) -> RepositoryEntry:
    """An FP16 entry of a release: served by ONNX Runtime where it has no plan."""
    files = {"1/model": FileRecord(size=size_mib * MIB, sha256="0" * 64)}
    return records.make_entry(name, *plans, **({"key": f"key-{name}", "precision": "fp16", "files": files} | fields))


def make_release(*entries: RepositoryEntry, **fields: Any) -> ServedRelease:
    """A release of these entries."""
    return ServedRelease(id=ID, uri=URI, entries=entries or (make_entry("bert-trt-fp16", make_plan()),), **fields)


def make_target(tag: str = "25.08", **gpus: str) -> Target:
    """The server that a release was made for."""
    return Target(release=load_triton_releases()[tag], gpus=gpus, platform="linux/amd64")
