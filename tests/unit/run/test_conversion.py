"""Which graph a runtime gets, and the gate that it must pass."""

import pytest
from prep_triton.errors import PrecisionError
from prep_triton.run.conversion import put_in_precision
from prep_triton.spec import ConversionSpec, GateSpec, Runtime
from prep_triton.workspace import Workspace

from tests.fakes.cpu_bert import store_with_reference
from tests.fakes.onnx_bert import make_bert


def test_fp32_is_the_exported_graph_itself(workspace: Workspace):
    model = store_with_reference(workspace, make_bert())
    produced = put_in_precision(model, ConversionSpec(runtime="onnxruntime"), workspace)
    assert produced.artifact == model
    assert produced.reused


@pytest.mark.parametrize("runtime", ["tensorrt", "openvino"])
def test_int8_without_calibration_is_the_graph_made_before_or_an_error(workspace: Workspace, runtime: Runtime):
    model = store_with_reference(workspace, make_bert())
    with pytest.raises(PrecisionError, match=f"was not quantised for {runtime} in") as refused:
        put_in_precision(model, ConversionSpec(runtime=runtime, precision="int8"), workspace)
    named = " --runtime openvino" if runtime == "openvino" else ""
    assert refused.value.hint == f"prep build-engine tiny{named} --int8 --calibration-data texts.txt"


def test_bf16_is_the_exported_graph_judged_by_openvino(workspace: Workspace):
    model = store_with_reference(workspace, make_bert())
    converted = put_in_precision(model, ConversionSpec(runtime="openvino", precision="bf16"), workspace).artifact
    assert (converted.key, converted.folder, converted.precision) == (model.key, model.folder, "bf16")
    assert converted.fidelity is not None
    assert converted.fidelity.runtime.startswith("openvino ")
    assert converted.fidelity.mean_cosine > 0.999
    unreachable = ConversionSpec(runtime="openvino", precision="bf16", gate=GateSpec(min_cosine=1.0))
    with pytest.raises(PrecisionError, match="tiny-bf16 misses its gate: it has a mean cosine of") as refused:
        put_in_precision(model, unreachable, workspace)
    assert refused.value.hint == "keep fp32: prep assemble tiny --runtime onnxruntime --precision fp32"


def without_bf16(monkeypatch: pytest.MonkeyPatch) -> ConversionSpec:
    monkeypatch.setattr("prep_triton.precision.measure.openvino_runner.has_bf16", lambda: False)
    return ConversionSpec(runtime="openvino", precision="bf16")


def test_where_bf16_would_be_emulated_it_is_said(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    model, spec = store_with_reference(workspace, make_bert()), without_bf16(monkeypatch)
    with caplog.at_level("WARNING"):
        put_in_precision(model, spec, workspace)
    assert "this CPU has no BF16 of its own (AVX512_BF16 or AMX): openvino" in caplog.text
    assert "is emulated, and slower than fp32" in caplog.text


def test_where_openvino_refuses_bf16_nothing_is_made_and_fp32_is_named(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
):
    model, spec = store_with_reference(workspace, make_bert()), without_bf16(monkeypatch)

    def refuse(*_: object, **__: object) -> None:
        raise PrecisionError("openvino refuses it", hint="")

    # What OpenVINO does on a CPU without AVX-512 (its documentation, "CPU Device").
    monkeypatch.setattr("prep_triton.precision.measure.openvino_runner.compile_graph", refuse)
    with pytest.raises(PrecisionError, match=r"no BF16 of its own .* not emulate it here: openvino") as refused:
        put_in_precision(model, spec, workspace)
    assert refused.value.hint.startswith("take --precision fp32 here")
    assert not list(workspace.root.glob("gate/*/*/manifest.json"))


def test_a_graph_that_misses_its_gate_is_refused_with_the_distance(workspace: Workspace):
    model = store_with_reference(workspace, make_bert())
    unreachable = ConversionSpec(runtime="onnxruntime", precision="fp16", gate=GateSpec(min_cosine=1.0))
    with pytest.raises(
        PrecisionError, match=r"misses its gate: it has .* expected 1 or more \(min_cosine\): it misses by"
    ):
        put_in_precision(model, unreachable, workspace)
    assert not list(workspace.root.glob("gate/*/*/manifest.json"))


def test_a_row_that_is_too_far_off_misses_the_gate_although_the_mean_does_not(workspace: Workspace):
    model = store_with_reference(workspace, make_bert())
    gate = GateSpec(min_cosine=0.5, min_row_cosine=1.0)
    with pytest.raises(PrecisionError, match=r"the worst of \d+ rows, expected 1 or more \(min_row_cosine\)"):
        put_in_precision(model, ConversionSpec(runtime="onnxruntime", precision="fp16", gate=gate), workspace)


def test_what_is_served_has_the_gate_that_it_was_built_with(workspace: Workspace):
    model = store_with_reference(workspace, make_bert())
    asked = ConversionSpec(runtime="onnxruntime", precision="fp16", gate=GateSpec(min_cosine=0.9))
    put_in_precision(model, asked, workspace)
    plain = ConversionSpec(runtime="onnxruntime", precision="fp16")
    served = put_in_precision(model, plain, workspace, reuse_gate=True)
    assert served.reused
    assert served.artifact.gate == GateSpec(min_cosine=0.9, min_row_cosine=0.7)
    built = put_in_precision(model, plain, workspace).artifact
    assert built.gate == GateSpec(min_cosine=0.999, min_row_cosine=0.999)


def test_a_gate_that_was_passed_is_not_measured_again(workspace: Workspace, monkeypatch: pytest.MonkeyPatch):
    model = store_with_reference(workspace, make_bert())
    spec = ConversionSpec(runtime="onnxruntime", precision="fp16", gate=GateSpec(min_cosine=0.99))
    put_in_precision(model, spec, workspace)

    def refuse(*arguments: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr("prep_triton.precision.measure.fidelity.measure_fidelity", refuse)
    assert put_in_precision(model, spec, workspace).reused
