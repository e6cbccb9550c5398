"""`prep run --server`: the Triton that verifies."""

from pathlib import Path
from typing import Any

import pytest
from prep_triton.cli.app import app
from prep_triton.run.report import RunReport
from prep_triton.spec import RunSpec
from typer.testing import CliRunner

FILE = "{models: [{model: minilm, variants: [{runtime: onnxruntime}]}], verify: {timeout_s: 7}}"


def test_the_flag_wins_over_the_file_and_keeps_its_other_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "c.yaml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    seen: list[RunSpec] = []

    def run(spec: RunSpec, *_: Any, **__: Any) -> RunReport:
        seen.append(spec)
        return RunReport(rows=(), repository=None, seconds=0.0)

    monkeypatch.setattr("prep_triton.run.pipeline.run_pipeline", run)
    done = CliRunner().invoke(app, ["run", "c.yaml", "--server", "gpu-box:8001"])
    assert done.exit_code == 0, done.output
    assert (seen[0].verify.server_url, seen[0].verify.timeout_s) == ("gpu-box:8001", 7)
