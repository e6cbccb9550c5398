import subprocess
import sys

import pytest
from prep_triton.errors import SpecError
from prep_triton.precision.int8.qdq import Linear
from prep_triton.precision.int8.stage import check_keep_out, quantize_to_int8
from prep_triton.spec import CalibrationSpec, QuantizationSpec
from prep_triton.workspace import NotMadeError, Workspace

from tests.fakes.onnx_bert import make_bert, store_model

LINEARS = tuple(Linear(name, "x", f"{name}.weight", "y", 2, 2) for name in ("layer.0.query", "layer.0.key"))


def test_importing_the_stage_imports_no_vendor():
    heavy = "{'numpy', 'onnx', 'onnxruntime', 'tokenizers', 'torch'}"
    code = f"import sys, prep_triton.precision.int8.stage; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_dry_run_names_what_it_would_make(tmp_path):
    model = store_model(Workspace(tmp_path), make_bert(layers=1))
    path = tmp_path / "text.txt"
    path.write_text("rain\n")
    with pytest.raises(NotMadeError) as caught:
        quantize_to_int8(
            model, QuantizationSpec(calibration=CalibrationSpec(path=str(path))), Workspace(tmp_path, read_only=True)
        )
    assert caught.value.recipe.name == "tiny-int8"


def test_the_key_follows_the_content_of_the_text_and_not_its_place(tmp_path):
    model = store_model(Workspace(tmp_path), make_bert(layers=1))

    def key(name, text):
        path = tmp_path / name
        path.write_text(text)
        spec = QuantizationSpec(calibration=CalibrationSpec(path=str(path)))
        with pytest.raises(NotMadeError) as caught:
            quantize_to_int8(model, spec, Workspace(tmp_path, read_only=True))
        return caught.value.recipe.key

    assert key("a.txt", "rain\n") == key("b.txt", "rain\n") != key("c.txt", "sea\n")


def test_known_layers_are_accepted_and_unknown_ones_refused():
    check_keep_out(("layer.0.key",), LINEARS)
    with pytest.raises(SpecError, match=r"no linear layer 'layer\.0\.qurey'") as caught:
        check_keep_out(("layer.0.qurey",), LINEARS)
    assert caught.value.hint == "did you mean 'layer.0.query'?"
