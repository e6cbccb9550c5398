import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, numpy_helper
from prep_triton.errors import PrecisionError
from prep_triton.external_data import RawSpan
from prep_triton.precision.rewrite.weights import FP16_MAX, ConvertedWeight, half_from_array


def test_refuses_what_fp16_cannot_hold_and_names_it():
    with pytest.raises(PrecisionError, match=r"'ffn\.weight' holds \|x\| up to 1e\+05, FP16 holds 65504") as caught:
        half_from_array(np.array([1.0, -1e5], np.float32), "ffn.weight")
    assert "--fp32" in caught.value.hint


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "an infinity"), (-np.inf, "an infinity")])
def test_refuses_weights_that_are_not_finite(value, word):
    with pytest.raises(PrecisionError, match=f"'w' holds {word}") as caught:
        half_from_array(np.array([1.0, value, 2.0], np.float32), "w")
    assert "export the model again" in caught.value.hint


def test_refuses_a_scalar_that_becomes_zero():
    with pytest.raises(PrecisionError, match="constant 'epsilon' is 1e-12, FP16 rounds it to zero") as caught:
        half_from_array(np.array(1e-12, np.float32), "epsilon")
    assert "--fp32" in caught.value.hint


def test_lets_a_small_weight_become_zero():
    assert half_from_array(np.array([1e-12, 1.0], np.float32), "w").tolist() == [0.0, 1.0]


def test_converts_an_empty_weight():
    assert half_from_array(np.zeros((0, 4), np.float32), "w").shape == (0, 4)


@given(hnp.arrays(np.float32, st.integers(1, 50), elements=st.floats(-FP16_MAX, FP16_MAX, width=32)))
def test_error_of_a_conversion_is_half_a_step(array):
    half = half_from_array(array, "w").astype(np.float64)
    assert (np.abs(half - array) <= np.maximum(np.abs(array) * 2.0**-11, 2.0**-25)).all()


def weight_in_file(tmp_path, values, *, dims=None, data_type=TensorProto.FLOAT16):
    path = tmp_path / "weights"
    path.write_bytes(b"head" + np.asarray(values, "<f4").tobytes())
    source = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims or [len(values)])
    return ConvertedWeight("w", data_type, source, RawSpan(path, 4, 4 * len(values)))


def test_reads_a_weight_in_chunks_from_its_place(tmp_path):
    values = np.linspace(-1.0, 1.0, 600_000, dtype=np.float32)
    weight = weight_in_file(tmp_path, values)
    chunks = list(weight.chunks())
    assert len(chunks) > 1
    joined = b"".join(chunks)
    assert len(joined) == weight.size_bytes()
    np.testing.assert_array_equal(np.frombuffer(joined, "<f2"), values.astype(np.float16))


def test_reads_values_of_a_typed_field():
    source = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], float_data=[1.5, -2.5])
    weight = ConvertedWeight("v", TensorProto.FLOAT16, source, None)
    tensor = weight.header()
    tensor.raw_data = b"".join(weight.chunks())
    assert (tensor.name, numpy_helper.to_array(tensor).tolist()) == ("v", [1.5, -2.5])


def test_nan_in_a_weight_that_stays_fp32_is_refused(tmp_path):
    weight = weight_in_file(tmp_path, [1.0, np.nan], data_type=TensorProto.FLOAT)
    with pytest.raises(PrecisionError, match="'w' holds NaN"):
        list(weight.chunks())


def test_refuses_bytes_that_do_not_fit_the_shape(tmp_path):
    weight = weight_in_file(tmp_path, [1.0, 2.0], dims=[3])
    with pytest.raises(PrecisionError, match="'w' has 8 bytes, its shape needs 12") as caught:
        list(weight.chunks())
    assert "prep export" in caught.value.hint


def test_refuses_a_file_that_ends_too_soon(tmp_path):
    weight = weight_in_file(tmp_path, [1.0, 2.0])
    weight.span.path.write_bytes(b"head")
    with pytest.raises(PrecisionError, match="ends inside initializer 'w'") as caught:
        list(weight.chunks())
    assert "prep export" in caught.value.hint
