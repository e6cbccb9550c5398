"""A repository that a test may spoil, and entries in it."""

import pytest
from prep_triton.spec import ServingSpec

from scripts.benchmarks.serving_configs import assemble_entry
from scripts.benchmarks.small_artifacts import make_engine, make_model


@pytest.fixture
def repository(tmp_path):
    return tmp_path / "repo"


@pytest.fixture
def onnx_entry(tmp_path, repository):
    return assemble_entry(make_model(tmp_path / "model"), (), ServingSpec(), repository, name="bert").artifact


@pytest.fixture
def plan_entry(tmp_path, repository):
    model, engine = make_model(tmp_path / "model"), make_engine(tmp_path / "engine")
    return assemble_entry(model, (engine,), ServingSpec(), repository, name="plan").artifact
