"""An entry that was not loaded is wrong, or needs what this machine does not have; the server's words tell which."""

import pytest
from prep_triton.triton.verify.report import report_entry
from prep_triton.triton.verify.unloaded import report_unloaded

from scripts.benchmarks.records import make_entry

LOAD = "load failed for model 'e': version 1 is at UNAVAILABLE state: "
DEPENDS = "load failed for model 'e': ensemble 'e' depends on 'm' which has no loaded version. Model 'm' loading failed"


@pytest.mark.parametrize(
    ("runtime", "reason", "message"),
    [
        (
            "tensorrt",
            "Invalid argument: unable to find backend library for backend 'tensorrt', try specifying runtime",
            "the server accepted the configuration up to the missing TensorRT backend, nothing more was checked",
        ),
        (
            "onnxruntime",
            "Invalid argument: instance group e_0 of model e has kind KIND_GPU but no GPUs are available;\n",
            "the server accepted the configuration up to the GPU that it asks for and this machine does not have, "
            "nothing more was checked",
        ),
        (
            "onnxruntime",
            "Invalid argument: instance group e_0 of model e has kind KIND_GPU but server does not support GPUs;",
            "up to the GPU that it asks for",
        ),
        (
            "onnxruntime",
            "Invalid argument: instance group e_0 of model e specifies invalid or unsupported gpu id 0. GPUs with at "
            "least the minimum required CUDA compute compatibility of 6.000000 are: ;\n",
            "up to the GPU that it asks for",
        ),
        (
            "onnxruntime",
            "Internal: the stand-in for the ONNX Runtime backend has no execution accelerator; this entry asks for "
            "openvino\n\nAt:\n  model.py(9): initialize\n;",
            "but the stand-in for the ONNX Runtime backend has no execution accelerator; nothing more was checked",
        ),
    ],
)
def test_what_this_machine_does_not_have_leaves_the_configuration_accepted(runtime, reason, message):
    report = report_unloaded(make_entry(runtime=runtime), LOAD + reason, {})
    assert report.status == "config-accepted-only"
    assert message in report.detail


@pytest.mark.parametrize(
    ("runtime", "reason"),
    [
        ("onnxruntime", "Invalid argument: unable to find backend library for backend 'tensorrt'"),
        ("tensorrt", "Internal: unable to load plan file to auto complete config: Version tag does not match"),
        (
            "onnxruntime",
            "Invalid argument: instance group e_0 specifies invalid or unsupported gpu id 9. GPUs with at least the "
            "minimum required CUDA compute compatibility of 6.000000 are: 0;",
        ),
        ("onnxruntime", "default priority level must be in range [1, 2] for e"),
    ],
)
def test_everything_else_is_a_failure_in_the_servers_words(runtime, reason):
    report = report_unloaded(make_entry(runtime=runtime), LOAD + reason, {})
    assert report.status == "failed"
    assert report.detail == f"Triton did not load it: {LOAD}{reason}"


def test_a_python_stack_is_left_out():
    message = LOAD + "Internal: ValueError: no labels\n\nAt:\n  /repo/e/1/model.py(9): initialize\n;\n"
    assert report_unloaded(make_entry(runtime="python"), message, {}).detail.endswith("Internal: ValueError: no labels")


def test_an_ensemble_is_as_checked_as_the_model_that_it_calls():
    accepted = {"m": report_entry(make_entry("m", runtime="tensorrt"), "config-accepted-only", detail="no backend")}
    ensemble = make_entry(runtime="ensemble", kind="ensemble")
    report = report_unloaded(ensemble, DEPENDS, accepted)
    assert report.status == "config-accepted-only"
    assert report.detail == "m, which it calls, could not be loaded here; nothing more was checked"
    failed = {"m": report_entry(make_entry("m"), "failed", detail="broken")}
    assert report_unloaded(ensemble, DEPENDS, failed).status == "failed"
    assert report_unloaded(ensemble, "in ensemble e, tensor X has no type", accepted).status == "failed"
