import pytest
from prep_triton.artifact import TensorSpec
from prep_triton.engine.profile import check_profiles, choose_profile, largest_opt, shapes_from_profile
from prep_triton.errors import EngineError, SpecError
from prep_triton.spec import OptimizationProfile
from prep_triton.workspace import Workspace

from tests.fakes.onnx_bert import make_bert, store_model

PROFILE = OptimizationProfile(min=(1, 16), opt=(8, 32), max=(16, 64))


def test_every_input_gets_its_three_shapes():
    inputs = [
        TensorSpec(name="ids", dtype="INT64", shape=("batch", "sequence")),
        TensorSpec(name="fixed", dtype="FP32", shape=("batch", 4)),
    ]
    assert shapes_from_profile(inputs, PROFILE) == {
        "ids": [[1, 16], [8, 32], [16, 64]],
        "fixed": [[1, 4], [8, 4], [16, 4]],
    }


def test_an_unknown_dynamic_axis_is_refused():
    tensor = TensorSpec(name="ids", dtype="INT64", shape=("batch", "height"))
    with pytest.raises(EngineError, match="'ids' has a dynamic axis 'height'") as caught:
        shapes_from_profile([tensor], PROFILE)
    assert "prep export" in caught.value.hint


def test_a_profile_longer_than_the_model_is_refused_with_both_lengths(tmp_path):
    model = store_model(Workspace(tmp_path), make_bert(layers=1))
    check_profiles(model, [PROFILE])
    longer = OptimizationProfile(min=(1, 16), opt=(8, 32), max=(16, 65))
    with pytest.raises(SpecError, match="up to sequence length 65, tiny takes at most 64") as caught:
        check_profiles(model, [PROFILE, longer])
    assert "16x64 or less" in caught.value.hint


SHORT = OptimizationProfile(min=(1, 1), opt=(16, 16), max=(32, 16))


def test_shares_are_weighed_at_the_largest_shape_that_is_tuned_for():
    assert largest_opt([SHORT, OptimizationProfile(min=(1, 17), opt=(16, 32), max=(32, 32))]) == (16, 32)


@pytest.mark.parametrize(("shape", "index"), [((1, 1), 0), ((32, 16), 0), ((1, 17), 1), ((16, 64), 1), ((16, 16), 0)])
def test_the_first_profile_that_takes_a_shape_is_chosen(shape, index):
    assert choose_profile([SHORT, PROFILE], shape) == index


def test_a_shape_that_no_profile_takes_is_refused():
    with pytest.raises(SpecError, match="the engine takes no 32x64, only 1x1,16x16,32x16; 1x16,8x32,16x64") as caught:
        choose_profile([SHORT, PROFILE], (32, 64))
    assert "--profile" in caught.value.hint
