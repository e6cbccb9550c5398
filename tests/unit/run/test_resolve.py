"""What a run looks up is looked up once: the counts of a run that ships the plans of other machines."""

from collections import Counter
from pathlib import Path

import pytest
from prep_triton import manifest as manifest_module
from prep_triton.artifact import Engine, PrecisionProof
from prep_triton.engine.request import describe_request, name_engine
from prep_triton.gpus import resolve_gpu
from prep_triton.layout import MANIFEST_NAME
from prep_triton.publish import uri as uri_module
from prep_triton.run.resolve import resolve_run
from prep_triton.spec import RunSpec
from prep_triton.workspace import Recipe, Workspace

from tests.fakes.played_stages import ONNX, Stages, run, run_spec

PLANS = (
    "{runtime: tensorrt, builder: tensorrt, precision: fp16, gpus: [t4, l4], "
    "profiles: ['1x1,1x8,2x16'], serving: {max_batch_size: 2}}"
)


class Counts:
    """Counts what a run opens, starts and reads, without keeping it from it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stores: list[str] = []
        self.manifests: Counter[str] = Counter()
        self.log = folder / "nvidia-smi.log"
        tools = folder / "tools"
        tools.mkdir()
        (tools / "nvidia-smi").write_text(f"#!/bin/sh\necho started >>{self.log}\nexit 9\n")
        (tools / "nvidia-smi").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
        open_store, load_manifest = uri_module.open_store, manifest_module.load_manifest

        def count_store(uri):
            self.stores.append(uri)
            return open_store(uri)

        def count_manifest(folder, artifact_type):
            if (folder / MANIFEST_NAME).exists():
                self.manifests[str(folder.absolute().relative_to(Path.cwd()))] += 1
            return load_manifest(folder, artifact_type)

        monkeypatch.setattr(uri_module, "open_store", count_store)
        monkeypatch.setattr(manifest_module, "load_manifest", count_manifest)
        for user in ("prep_triton.triton.entries.load", "prep_triton.triton.lint.entry"):
            monkeypatch.setattr(f"{user}.load_manifest", count_manifest)

    @property
    def gpu_lookups(self) -> int:
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0

    def manifests_below(self, folder: str) -> dict[str, int]:
        return {
            path: count
            for path, count in self.manifests.items()
            if path.startswith(f"{folder}/") and not path.startswith("build/model_repository/")
        }


def gather_plans(stages: Stages, spec: RunSpec, workspace: Workspace) -> None:
    """Write the plans that machines with the GPUs would build, and the graphs that they are built of."""
    model = stages.export_model(spec.models[0].model_spec(), workspace, progress=lambda *_: None).artifact
    variant = spec.models[0].variants[0]
    graph = stages.put_in_precision(model, variant, workspace, progress=lambda *_: None).artifact
    for request in variant.engine_specs():
        gpu = resolve_gpu(request.gpu)
        recipe = Recipe(
            "engine",
            name_engine(graph, request, gpu, "tensorrt"),
            describe_request(graph, request, gpu, "tensorrt"),
            {"onnx": graph.key},
            {"tensorrt": "10.13.2"},
        )
        fields = {
            "builder": "tensorrt",
            "builder_version": "10.13.2",
            "precision": "fp16",
            "gpu": request.gpu,
            "compute_capability": gpu.compute_capability,
            "profiles": request.profiles,
            "model_inputs": graph.model_inputs,
            "model_outputs": graph.model_outputs,
            "proof": PrecisionProof(method="engine inspector", gemm_flops_share={"fp16": 1.0}, layers={"fp16": 1}),
            "build_seconds": 0.1,
        }

        def build(folder: Path, fields=fields, gpu=gpu) -> dict:
            (folder / "model.engine").write_bytes(f"plan for {gpu.sm}".encode())
            return fields

        workspace.produce(recipe, Engine, build)


@pytest.fixture
def spec(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RunSpec:
    """A file with plans for two GPUs that are not here, which a workspace holds, and a CPU entry."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    spec = run_spec(PLANS, ONNX)
    gather_plans(Stages(monkeypatch, builds=False), spec, Workspace(Path("build")))
    return spec


def test_a_run_looks_for_gpus_once_and_opens_its_store_once(spec: RunSpec, monkeypatch, tmp_path):
    counts = Counts(tmp_path, monkeypatch)
    first = run(spec, publish_uri="./releases")
    assert first.outcome == "done"
    assert (counts.gpu_lookups, counts.stores) == (1, ["./releases"])
    run(spec, publish_uri="./releases")
    assert (counts.gpu_lookups, counts.stores) == (2, ["./releases"] * 2)


def test_a_run_with_nothing_to_do_reads_each_manifest_of_its_workspace_once(spec: RunSpec, monkeypatch, tmp_path):
    run(spec, publish_uri="./releases")
    counts = Counts(tmp_path, monkeypatch)
    assert run(spec, publish_uri="./releases").is_unchanged
    artifacts = counts.manifests_below("build")
    assert sorted({path.split("/")[1] for path in artifacts}) == ["engine", "export", "precision", "verify"]
    assert set(artifacts.values()) == {1}


def test_without_an_engine_no_gpu_is_looked_for(monkeypatch, tmp_path):
    counts = Counts(tmp_path, monkeypatch)
    resolved = resolve_run(run_spec(ONNX), Workspace(tmp_path / "build"))
    assert (counts.gpu_lookups, resolved.machine.gpus, resolved.store) == (0, (), None)
