"""The small BERT with a reference that holds its own FP32 answers, as a converted graph needs to be measured."""

from onnx import ModelProto
from prep_triton.artifact import OnnxModel
from prep_triton.reference import save_reference
from prep_triton.workspace import Workspace

from tests.fakes.onnx_bert import make_feed, run_onnx, store_model


def store_with_reference(workspace: Workspace, source: ModelProto) -> OnnxModel:
    """Put a graph into a workspace, with 3 reference rows of unequal length."""
    model = store_model(workspace, source)
    feed = {name: values[:3] for name, values in make_feed().items()}
    (answers,) = run_onnx(model.path("model.onnx"), feed)
    save_reference(model.path("reference.npz"), feed, {"last_hidden_state": answers}, [""] * 3)
    return model
