"""`prep tune` on a real Triton, once, with the fewest measurements."""

import json
from pathlib import Path

import pytest
from prep_triton.spec import ServingSpec, load_serving_file

from scripts.benchmarks.serving_configs import assemble_entry
from scripts.benchmarks.small_artifacts import make_model
from tests.fakes.documents import load_validator
from tests.fakes.prep_command import Prep

pytestmark = pytest.mark.integration

MODEL = "tiny-onnx-fp32"


def test_an_entry_is_tuned_and_the_file_is_read(tmp_path: Path):
    """Batch times, and three loads at a rate that any machine bears; one too busy to send it on time has no best."""
    assemble_entry(make_model(tmp_path / "model"), [], ServingSpec(threads=1, max_batch_size=8), tmp_path / "repo")
    prep = Prep(tmp_path)
    arguments = ("tune", MODEL, "--repository", "repo", "--seq-len", "16", "--max-measurements", "4", "--json")
    goal = ("--slo", "p90=20s", "--objective", "latency", "--rate", "30", "--duration-s", "0.4", "-o", "tuned.json")
    done = prep.run(*arguments, *goal)
    run = json.loads(done.stdout)
    load_validator("tune").validate(run)
    assert json.loads((tmp_path / "tuned.json").read_text()) == run
    assert run["measurements"][0]["purpose"] == "batch times"
    assert {row["rate"] for row in run["measurements"][1:]} == {30.0}
    assert len(run["measurements"]) <= 4
    assert done.returncode == (0 if run["best"] else 1), done.stderr
    path = tmp_path / "build" / "serving" / f"{MODEL}.yaml"
    assert path.is_file() == bool(run["best"])
    if run["best"]:
        assert path.read_text().startswith(f"# {MODEL} tuned for latency at p90 <= 20000 ms\n")
        assert load_serving_file(path).values == run["serving"]
