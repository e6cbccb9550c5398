from prep_triton.export.onnx import export_recipe
from prep_triton.export.source import resolve_source
from prep_triton.spec import ModelSpec


def key(**given) -> str:
    spec = ModelSpec(**{"model": "bert-base", "weights": "random", **given})
    return export_recipe(resolve_source(spec), spec).key


def test_key_follows_model_task_seed_and_name():
    keys = [key(), key(model="distilbert"), key(task="feature-extraction"), key(seed=1), key(name="other")]
    assert len(set(keys)) == len(keys)
    assert key() == key(task="fill-mask")  # what auto means


def test_recipe_names_the_tools_and_the_opset():
    spec = ModelSpec(model="minilm", weights="random")
    recipe = export_recipe(resolve_source(spec), spec)
    assert set(recipe.tools) == {"torch", "transformers", "onnx", "onnxscript", "onnxruntime", "tokenizers"}
    assert recipe.spec["opset"] == 20
