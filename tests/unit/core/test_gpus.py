import pytest
from hypothesis import given
from hypothesis import strategies as st
from prep_triton.errors import UnsupportedGpuError
from prep_triton.gpus import (
    CAPABILITY_BY_GPU,
    RTX_CAPABILITIES,
    Gpu,
    check_gpu_present,
    check_rtx_builds,
    find_present_gpus,
    find_rtx_caveat,
    is_runnable,
    parse_present_gpus,
    resolve_gpu,
)


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("t4", "7.5"),
        ("a100", "8.0"),
        ("A10G", "8.6"),
        ("l4", "8.9"),
        ("h100", "9.0"),
        ("b200", "10.0"),
        ("RTX 4090", "8.9"),
        ("NVIDIA-Tesla-T4", "7.5"),
        ("sm75", "7.5"),
        ("sm_120", "12.0"),
        ("8.9", "8.9"),
    ],
)
def test_names_and_capabilities_are_understood(name, capability):
    assert resolve_gpu(name).compute_capability == capability


def test_a_capability_is_written_as_compilers_do():
    assert (resolve_gpu("7.5"), resolve_gpu("t4").sm) == (Gpu("sm75", "7.5"), "sm75")


@given(st.text(max_size=12))
def test_any_other_text_is_refused_with_names(text):
    try:
        assert resolve_gpu(text).compute_capability
    except UnsupportedGpuError as err:
        assert "t4" in err.hint or "native" in err.message


def test_unknown_gpu_is_answered_with_the_nearest():
    with pytest.raises(UnsupportedGpuError, match="unknown GPU 'a1000', expected a name such as a100") as caught:
        resolve_gpu("a1000")
    assert caught.value.hint.startswith("known GPUs: t4, ")


@pytest.mark.parametrize("name", ["sm99", "3.3", "sm"])
def test_unknown_capability_is_refused(name):
    with pytest.raises(UnsupportedGpuError, match="unknown GPU"):
        resolve_gpu(name)


def test_rtx_refuses_a_gpu_it_has_no_target_for():
    with pytest.raises(UnsupportedGpuError, match=r"does not build for h100 \(9\.0\).*7\.5, 8\.0.*\(t4, ") as caught:
        check_rtx_builds(resolve_gpu("h100"), "fp16")
    assert "--gpu h100 --builder tensorrt" in caught.value.hint


def test_rtx_refuses_fp32_for_turing():
    with pytest.raises(UnsupportedGpuError, match=r"no FP32 GEMMs for t4 \(7\.5\)") as caught:
        check_rtx_builds(resolve_gpu("t4"), "fp32")
    assert "--fp16" in caught.value.hint


@pytest.mark.parametrize("gpu", [name for name, value in CAPABILITY_BY_GPU.items() if value in RTX_CAPABILITIES])
def test_rtx_builds_fp16_for_its_gpus(gpu):
    check_rtx_builds(resolve_gpu(gpu), "fp16")


def test_present_gpus_are_read_from_nvidia_smi():
    assert parse_present_gpus("Tesla T4, 7.5\nNVIDIA L4, 8.9\n") == (Gpu("Tesla T4", "7.5"), Gpu("NVIDIA L4", "8.9"))
    assert parse_present_gpus("No devices were found\n") == ()


def put_nvidia_smi_on_path(folder, monkeypatch, *, body):
    script = folder / "nvidia-smi"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_native_is_the_gpu_of_this_machine(tmp_path, monkeypatch):
    put_nvidia_smi_on_path(tmp_path, monkeypatch, body="echo 'NVIDIA L4, 8.9'")
    assert resolve_gpu("native") == Gpu("native", "8.9")


def test_native_needs_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnsupportedGpuError, match="nvidia-smi shows none") as caught:
        resolve_gpu("native")
    assert "--gpu t4" in caught.value.hint


def test_a_failing_nvidia_smi_means_no_gpu(tmp_path, monkeypatch):
    put_nvidia_smi_on_path(tmp_path, monkeypatch, body="echo 'T4, 7.5'; exit 9")
    assert find_present_gpus() == ()


def test_native_is_the_gpu_that_was_looked_up_before():
    assert resolve_gpu("native", [Gpu("NVIDIA L4", "8.9")]) == Gpu("native", "8.9")


def test_standard_builder_needs_the_gpu_itself():
    present = [Gpu("NVIDIA L4", "8.9")]
    check_gpu_present(resolve_gpu("l4"), present)
    with pytest.raises(UnsupportedGpuError, match=r"asked for t4 \(7\.5\), here: NVIDIA L4 \(8\.9\)") as caught:
        check_gpu_present(resolve_gpu("t4"), present)
    assert "--builder tensorrt-rtx" in caught.value.hint


@pytest.mark.parametrize(
    ("capability", "built_for", "is_hardware_compatible", "runs"),
    [
        ("7.5", "7.5", False, True),
        ("8.9", "7.5", False, False),
        ("7.5", "8.9", False, False),
        ("8.9", "8.0", False, False),
        ("8.9", "8.0", True, True),
        ("12.0", "8.6", True, True),
        ("8.0", "8.9", True, True),
        ("7.5", "8.0", True, False),
        ("", "8.0", True, False),
    ],
)
def test_a_plan_runs_on_its_own_architecture_or_on_ampere_and_later(
    capability, built_for, is_hardware_compatible, runs
):
    assert is_runnable(capability, built_for=built_for, is_hardware_compatible=is_hardware_compatible) is runs


@pytest.mark.parametrize(
    ("capability", "precision", "caveat"),
    [
        ("7.5", "fp16", None),
        ("8.9", "fp32", None),
        ("8.0", "fp16", "documents compute capability 7.5, 8.6, 8.9, 12.0, 12.1, not 8.0"),
        ("7.5", "int8", "INT8 for weights alone, and none on Turing; here it is for activations too"),
        ("8.9", "int8", "INT8 for weights alone; here it is for activations too"),
    ],
)
def test_what_tensorrt_rtx_compiles_and_does_not_document_is_said(capability, precision, caveat):
    said = find_rtx_caveat(capability, precision)
    assert (said is None) == (caveat is None)
    assert (caveat or "") in (said or "")
