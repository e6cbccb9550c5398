"""A run whose long stages are played: export, conversion, build and Triton. Everything else is real."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from prep_triton.artifact import Artifact, Engine, OnnxModel, PrecisionProof
from prep_triton.errors import SourceError
from prep_triton.run.pipeline import run_pipeline
from prep_triton.run.report import Listener, RunReport
from prep_triton.run.resolve import RunChoices
from prep_triton.spec import RunSpec, parse_run_spec
from prep_triton.triton.verify import EntryReport, VerifyReport
from prep_triton.workspace import Recipe, Workspace

from scripts.benchmarks.small_artifacts import make_model

ONNX = "{runtime: onnxruntime}"
RTX = "{runtime: tensorrt, builder: tensorrt-rtx, precision: fp16, gpus: [t4], profiles: ['1x1,1x8,2x16']}"


def own_fields(artifact: Artifact) -> dict:
    return {key: getattr(artifact, key) for key in type(artifact).model_fields if key not in Artifact.model_fields}


class Stages:
    """Plays export, conversion, build (where `builds`) and server on a real workspace, and counts their work."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, builds: bool = True) -> None:
        self.made: list[str] = []
        self.verified: list[tuple[str, list[str]]] = []
        self.failure = self.broken = ""
        self.failing: str | None = None  # the entry that fails; all where None
        self.cosine: float | None = None
        monkeypatch.setattr("prep_triton.run.export.check_source", lambda spec: None)
        monkeypatch.setattr("prep_triton.export.onnx.export_model", self.export_model)
        monkeypatch.setattr("prep_triton.run.build.put_in_precision", self.put_in_precision)
        if builds:
            monkeypatch.setattr("prep_triton.engine.build.build_engine", self.build_engine)
        monkeypatch.setattr("prep_triton.triton.verify.repository.verify_entries", self.verify_entries)

    def _produce(self, workspace: Workspace, recipe: Recipe, kind: type, fields) -> object:
        def make(folder: Path) -> Mapping:
            self.made.append(f"{recipe.stage} {recipe.name}")
            return fields(folder)

        return workspace.produce(recipe, kind, make)

    def export_model(self, spec, workspace, *, progress, origin=None, replace=False):
        progress("exporting", 0.5)
        name = spec.name or "tiny"
        if name == self.broken:
            raise SourceError("the hub is gone", hint="try again")
        return self._produce(workspace, Recipe("export", name, {}), OnnxModel, lambda at: own_fields(make_model(at)))

    def put_in_precision(self, model, spec, workspace, *, progress):
        def convert(folder: Path) -> dict:
            return own_fields(make_model(folder)) | {"precision": spec.precision}

        recipe = Recipe("precision", f"{model.name}-{spec.precision}", {}, {"onnx": model.key})
        return self._produce(workspace, recipe, OnnxModel, convert)

    def build_engine(self, model, spec, workspace, machine, *, progress):
        def build(folder: Path) -> dict:
            (folder / "model.engine").write_bytes(b"engine")
            proof = PrecisionProof(method="strongly typed network", gemm_flops_share={"fp16": 1.0}, layers={"fp16": 1})
            return {
                "builder": "tensorrt-rtx",
                "builder_version": "1.7",
                "precision": spec.precision,
                "gpu": spec.gpu,
                "compute_capability": "7.5",
                "profiles": spec.engine_profiles(model.usual_length),
                "model_inputs": model.model_inputs,
                "model_outputs": model.model_outputs,
                "proof": proof,
                "build_seconds": 0.1,
            }

        return self._produce(workspace, Recipe("engine", "tiny-fp16-rtx-sm75", {}), Engine, build)

    def _fails(self, name: str) -> bool:
        return bool(self.failure) and self.failing in (None, name)

    def verify_entries(self, entries, repository_uri, spec, *, check_more, progress):
        self.verified.append((repository_uri, [entry.name for entry in entries]))
        reports = [
            EntryReport(
                name=entry.name,
                runtime=entry.runtime,
                precision=entry.precision,
                status="failed" if self._fails(entry.name) else "loaded",
                detail=self.failure if self._fails(entry.name) else "",
                tolerance=entry.tolerance,
                mean_cosine=self.cosine,
            )
            for entry in entries
        ]
        return VerifyReport(
            repository_uri=repository_uri, server_version="2.51.0", server_flavour="played", entries=tuple(reports)
        )


def run_spec(*variants: str, more: str = "") -> RunSpec:
    return parse_run_spec(f"{more}\nmodels: [{{model: ./tiny, variants: [{', '.join(variants)}]}}]", where="a test")


def run(spec: RunSpec, *, dry_run: bool = False, listener: Listener | None = None, **more) -> RunReport:
    return run_pipeline(spec, Workspace(Path("build"), read_only=dry_run), RunChoices(**more), listener=listener)
