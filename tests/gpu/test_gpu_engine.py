"""Plans built by the standard TensorRT on a GPU, and proved by its engine inspector."""

import pytest

from pipeline.engine.build import build_engine
from pipeline.engine.builders import find_builder_problem
from pipeline.precision.fp16 import convert_to_fp16
from pipeline.spec import EngineSpec, OptimizationProfile
from pipeline.workspace import Workspace
from tests.fakes.onnx_bert import make_bert, store_model

PROBLEM = find_builder_problem("tensorrt")
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(PROBLEM is not None, reason=str(PROBLEM))]

PROFILE = OptimizationProfile(min=(1, 16), opt=(8, 32), max=(16, 64))


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_plan_for_the_gpu_of_this_machine_holds_its_precision(tmp_path, precision):
    workspace = Workspace(tmp_path)
    model = store_model(workspace, make_bert())
    if precision == "fp16":
        model = convert_to_fp16(model, workspace).artifact
    spec = EngineSpec(precision=precision, gpu="native", builder="tensorrt", profiles=(PROFILE,))
    plan = build_engine(model, spec, workspace).artifact
    assert plan.proof.method == "engine inspector"
    assert plan.proof.gemm_flops_share == {precision: 1.0}
    assert plan.model_outputs == model.model_outputs
    assert list((tmp_path / "timing-caches").glob("tensorrt-*.cache"))
