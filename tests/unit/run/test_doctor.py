"""What `prep doctor` finds."""

from pathlib import Path

import pytest
from prep_triton.run.doctor import Finding, examine_machine


def find(findings: list[Finding], words: str) -> Finding:
    return next(finding for finding in findings if words in finding.capability)


def test_every_cannot_has_a_remedy_and_every_can_has_none(tmp_path: Path):
    findings = examine_machine(tmp_path / "not" / "there")
    assert {finding.stage for finding in findings} >= {"export", "precision", "engine", "assemble", "verify", "publish"}
    assert all(bool(finding.hint) != finding.available for finding in findings)
    assert all(finding.detail for finding in findings)
    assert not list(tmp_path.iterdir())


def test_a_server_that_is_no_program_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PREP_TRITONSERVER", "/nowhere/tritonserver")
    server = find(examine_machine(tmp_path), "Triton server")
    assert not server.available
    assert "/nowhere/tritonserver" in server.detail


@pytest.mark.parametrize(
    ("environment", "available", "detail"),
    [
        ({"STORAGE_EMULATOR_HOST": "http://127.0.0.1:1"}, True, "STORAGE_EMULATOR_HOST"),
        ({"GOOGLE_APPLICATION_CREDENTIALS": "/nowhere.json"}, False, "a missing file"),
        ({}, False, "no credentials file"),
    ],
)
def test_credentials_are_looked_for_where_google_looks(
    environment: dict, available: bool, detail: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    for name in ("STORAGE_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    credentials = find(examine_machine(tmp_path), "reach GCS")
    assert (credentials.available, detail in credentials.detail) == (available, True)


def test_a_hub_that_is_switched_off_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub = find(examine_machine(tmp_path), "from a hub")
    assert not hub.available
    assert "--weights random" in hub.hint


def write_cpuinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> Finding:
    path = tmp_path / "cpuinfo"
    path.write_text(f"model name\t: A CPU\n{line}\n")
    monkeypatch.setattr("prep_triton.bench.machine._CPUINFO", path)
    return find(examine_machine(tmp_path), "on this CPU")


@pytest.mark.parametrize(
    ("flags", "detail"),
    [
        (
            "avx2 avx512f avx512_vnni avx512_bf16 amx_tile amx_int8 amx_bf16",
            "AVX2, AVX-512, AVX512_VNNI, AVX512_BF16, AMX INT8, AMX BF16: take int8, or bf16 without calibration text",
        ),
        (
            "avx2 avx512f avx512_vnni",
            "AVX2, AVX-512, AVX512_VNNI: take int8, or fp32 without calibration text; bf16 would be emulated, slower "
            "than fp32",
        ),
        (
            "avx2 avx_vnni",
            "AVX2, AVX_VNNI: take int8, or fp32 without calibration text; bf16 would be refused by OpenVINO",
        ),
    ],
)
def test_a_cpu_that_multiplies_int8_is_named_with_what_it_has_and_what_to_take(
    flags: str, detail: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    processor = write_cpuinfo(tmp_path, monkeypatch, f"flags\t\t: fpu sse4_2 {flags}")
    assert processor.available
    assert processor.detail.startswith("A CPU, ")
    assert processor.detail.endswith(f" cores: {detail}")
    assert processor.hint == ""


@pytest.mark.parametrize(
    ("line", "names", "hint"),
    [
        ("flags\t\t: fpu sse4_2 avx2", "AVX2", "take fp32; without VNNI sums of int8 may saturate"),
        ("flags\t\t: fpu sse4_2", "no vectors that are known", "serve on a CPU with AVX2; here take fp32"),
        ("", "no vectors that are known", "serve on a CPU with AVX2; here take fp32"),
        (
            "Features\t: fp asimd asimddp i8mm bf16 sve",
            "ASIMD, DotProd, I8MM, BF16, SVE",
            "serve fp32 with runtime onnxruntime: Triton has no OpenVINO backend on ARM",
        ),
    ],
)
def test_a_cpu_that_gains_nothing_from_int8_has_a_remedy(
    line: str, names: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    processor = write_cpuinfo(tmp_path, monkeypatch, line)
    assert not processor.available
    assert processor.detail.endswith(f" cores: {names}")
    assert processor.hint.startswith(hint)
