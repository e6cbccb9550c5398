"""INT8 is kept only where it was measured faster; the GPU's clock is played, for want of a GPU."""

from pathlib import Path

import pytest
from prep_triton.artifact import Engine, OnnxModel
from prep_triton.run.int8_if_faster import choose_faster
from prep_triton.run.report import RowCollector, Silent
from prep_triton.spec import CalibrationSpec, GateSpec, Precision, QuantizationSpec, VariantSpec
from prep_triton.workspace import Workspace

from scripts.benchmarks.small_artifacts import make_engine, make_model
from tests.fakes.machines import make_machine

VARIANT = VariantSpec(
    runtime="tensorrt",
    precision="int8",
    gpus=("t4",),
    int8_if_faster=True,
    quantization=QuantizationSpec(calibration=CalibrationSpec(path="texts.txt")),
)


class Builds:
    """Plays the building of a variant's engines and records the precisions asked for."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.precisions: list[Precision] = []
        self.gates: list[GateSpec] = []
        monkeypatch.setattr("prep_triton.run.int8_if_faster.build_engines", self)

    def __call__(self, rows, model, variant, workspace, machine) -> tuple[OnnxModel, list[Engine]]:
        self.precisions.append(variant.precision)
        self.gates.append(variant.gate)
        return model, [make_engine(self.folder / variant.precision).model_copy(update={"precision": variant.precision})]


def choose(tmp_path: Path) -> tuple[list[Engine], RowCollector]:
    rows = RowCollector(Silent())
    _, engines = choose_faster(
        rows, make_model(tmp_path / "model"), VARIANT, Workspace(tmp_path / "build"), make_machine("t4")
    )
    return engines, rows


def test_without_a_gpu_fp16_is_built_and_the_reason_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    builds = Builds(tmp_path, monkeypatch)
    monkeypatch.setattr("prep_triton.engine.execute.find_execution_problem", lambda *_: "there is no GPU")
    engines, rows = choose(tmp_path)
    assert builds.precisions == ["fp16"]
    assert engines[0].precision == "fp16"
    assert builds.gates == [VARIANT.required_gate()]
    assert builds.gates[0].min_cosine == 0.99
    assert rows.rows[-1].note == "not measured: there is no GPU"


@pytest.mark.parametrize(("int8_ms", "kept"), [(1.0, "int8"), (2.0, "fp16"), (3.0, "fp16")])
def test_int8_is_kept_only_where_it_is_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, int8_ms: float, kept: str
):
    Builds(tmp_path, monkeypatch)
    monkeypatch.setattr("prep_triton.engine.execute.find_execution_problem", lambda *_: None)
    monkeypatch.setattr("prep_triton.engine.execute.measure_latencies_ms", lambda *_: [[2.0], [int8_ms]])
    engines, rows = choose(tmp_path)
    assert engines[0].precision == kept
    assert rows.rows[-1].note == f"8x32: fp16 2.00 ms, int8 {int8_ms:.2f} ms"


def test_a_second_run_remembers_the_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    Builds(tmp_path, monkeypatch)
    monkeypatch.setattr("prep_triton.engine.execute.find_execution_problem", lambda *_: None)
    monkeypatch.setattr("prep_triton.engine.execute.measure_latencies_ms", lambda *_: [[2.0], [1.0]])
    choose(tmp_path)
    monkeypatch.setattr("prep_triton.engine.execute.measure_latencies_ms", None)
    engines, rows = choose(tmp_path)
    assert engines[0].precision == "int8"
    assert rows.rows[-1].state == "unchanged"


def test_the_choice_of_the_machine_that_has_the_gpu_is_taken_where_plans_are_gathered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    Builds(tmp_path, monkeypatch)
    monkeypatch.setattr("prep_triton.engine.execute.find_execution_problem", lambda *_: None)
    monkeypatch.setattr("prep_triton.engine.execute.measure_latencies_ms", lambda *_: [[2.0], [1.0]])
    choose(tmp_path)
    monkeypatch.setattr("prep_triton.engine.execute.find_execution_problem", lambda *_: "there is no GPU")
    engines, _ = choose(tmp_path)
    assert engines[0].precision == "int8"
