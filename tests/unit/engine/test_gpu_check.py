"""`scripts/gpu_check.py` where there is no GPU: what it says, compares and reports."""

import numpy as np
import pytest
from prep_triton.artifact import PrecisionProof

from scripts import gpu_check
from scripts.benchmarks.records import make_graph, make_plan


def checked(*, precision="fp16", cosine=0.99999, weights="hub"):
    proof = PrecisionProof(
        method="engine inspector", gemm_flops_share={precision: 1.0}, layers={}, fused_attention=True
    )
    engine = make_plan("l4", name=f"minilm-{precision}-trt-sm89", precision=precision, proof=proof)
    model = make_graph("minilm", weights=weights)
    return gpu_check.Checked(engine, model, cosine, cosine, (0.5, 1.25, 2.0))


def test_without_a_gpu_it_says_why_and_does_not_pass(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(gpu_check, "has_nvidia_driver", lambda: False)
    assert gpu_check.main(["--report", str(tmp_path / "report.md")]) == 3
    assert (
        "cannot run here: there is no NVIDIA GPU with a running driver. This is not a pass." in capsys.readouterr().err
    )
    assert not (tmp_path / "report.md").exists()


def test_padding_does_not_count_in_a_cosine():
    mask = np.array([[1, 1, 0], [1, 1, 1]])
    expected = {"hidden": np.ones((2, 3, 4)), "pooled": np.ones((2, 5))}
    answered = {"hidden": np.ones((2, 3, 4)), "pooled": np.ones((2, 5))}
    answered["hidden"][0, 2] = -9.0
    answered["hidden"][1, 2] = -1.0
    cosines = gpu_check.compare_rows(expected, answered, mask)
    assert cosines == pytest.approx([1.0, (17 - 8) / 17])


def test_the_report_tells_figures_and_failures(monkeypatch):
    monkeypatch.setattr(gpu_check, "find_present_gpus", lambda: ())
    good, bad = checked(), checked(precision="int8", cosine=0.5)
    report = gpu_check.render_report([good, bad], "tensorrt")
    assert "# GPU check: no GPU, tensorrt 10.13" in report
    assert (
        "| minilm-fp16-trt-sm89 | 100.0% fp16 (engine inspector) | yes | 0.99999 | 0.99999 | 0.500 | 1.250 | 2.000 |"
        in report
    )
    assert "- minilm-int8-trt-sm89: smallest cosine 0.50000, expected 0.97" in report
    assert gpu_check.any_failed([good, bad])
    assert "Failed" not in gpu_check.render_report([good], "tensorrt")


def test_a_model_of_seeded_weights_must_only_be_finite():
    assert not checked(precision="int8", cosine=0.9, weights="random").failure
    assert checked(precision="int8", cosine=float("nan"), weights="random").failure
