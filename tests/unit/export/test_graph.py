import pytest
import torch
from prep_triton.errors import ExportError
from prep_triton.export.graph import ExportedGraph, _check_weights, export_graph
from prep_triton.export.layers import Weight
from transformers import BertConfig, BertForMaskedLM, BertModel


def test_initializer_that_is_no_weight_of_the_model_is_refused():
    model = torch.nn.Linear(2, 2)
    _check_weights(ExportedGraph(None, {}, {"w": Weight("weight", is_transposed=True), "b": Weight("bias")}), model)
    with pytest.raises(ExportError, match="exports lifted_0, which is none of the model's weights") as caught:
        _check_weights(ExportedGraph(None, {}, {"lifted_0": Weight("lifted_0")}), model)
    assert "pip install 'prep-triton[export]'" in caught.value.hint


@pytest.mark.parametrize(
    ("model_class", "task", "tied"), [(BertModel, "feature-extraction", 0), (BertForMaskedLM, "fill-mask", 1)]
)
def test_a_linear_layer_reads_a_weight_of_the_file_but_for_the_tied_embedding(model_class, task, tied):
    """INT8 finds linear layers by the weight that a MatMul reads."""
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    model = model_class(
        BertConfig(vocab_size=40, max_position_embeddings=16, attn_implementation="eager", **sizes)
    ).eval()
    graph = export_graph(model, "bert", task)
    folded = [node for node in graph.skeleton.graph.node if node.op_type == "MatMul" and node.input[1] in graph.weights]
    assert len(folded) == 6 * 2 + tied
    transposed = [node.input[0] for node in graph.skeleton.graph.node if node.op_type == "Transpose"]
    assert sum(name in graph.weights for name in transposed) == tied
