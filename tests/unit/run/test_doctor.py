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
