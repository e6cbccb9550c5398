import pytest
import torch
from prep_triton.errors import ExportError
from prep_triton.export.graph import ExportedGraph, _check_weights
from prep_triton.export.layers import Weight


def test_initializer_that_is_no_weight_of_the_model_is_refused():
    model = torch.nn.Linear(2, 2)
    _check_weights(ExportedGraph(None, {}, {"w": Weight("weight", is_transposed=True), "b": Weight("bias")}), model)
    with pytest.raises(ExportError, match="exports lifted_0, which is none of the model's weights") as caught:
        _check_weights(ExportedGraph(None, {}, {"lifted_0": Weight("lifted_0")}), model)
    assert "pip install 'prep-triton[export]'" in caught.value.hint
