"""From the range of each channel to how a tensor is rounded."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prep_triton.precision.int8.qdq import InputScale
from prep_triton.precision.int8.scales import make_input_scale

WEIGHTS = [np.full((4, 3), 0.1, np.float32)]
GELU = np.array([[-0.17, -0.17, -0.1, -0.17], [4.0, 2.0, 3.0, 0.01]], np.float32)


def test_values_on_one_side_of_zero_are_shifted_to_both_and_zero_stays_exact():
    shifted = make_input_scale(GELU, WEIGHTS, alpha=0.8)
    plain = make_input_scale(GELU, WEIGHTS, alpha=0.8, can_shift=False)
    assert shifted.shift is not None
    assert plain.shift is None
    assert shifted.scale < 0.6 * plain.scale  # nearly twice as many steps for the same values
    whole = shifted.shift / shifted.scale
    assert np.abs(whole - np.rint(whole)).max() < 0.07  # as near as FP16 holds it
    zero = shifted.quantize(np.zeros((1, 4), np.float32))
    assert np.abs(zero).max() < 0.07 * shifted.scale


def test_values_on_both_sides_are_not_shifted():
    assert make_input_scale(np.array([[-2.0] * 4, [3.0] * 4], np.float32), WEIGHTS, alpha=0.8).shift is None


@pytest.mark.parametrize("alpha", [None, 0.0, 0.8])
def test_a_channel_that_was_silent_keeps_room(alpha: float | None):
    """Its last channel was 0.01 at most: on other text it may be as loud as the others."""
    scale = make_input_scale(GELU, WEIGHTS, alpha=alpha)
    loud = np.array([[0.0, 0.0, 0.0, 1.9]], np.float32)
    multiplier = 1.0 if scale.multiplier is None else scale.multiplier
    assert np.abs(scale.quantize(loud) / multiplier - loud).max() < 0.1


@given(
    st.lists(st.tuples(st.floats(-50, 0, width=32), st.floats(0, 50, width=32)), min_size=4, max_size=4),
    st.sampled_from([None, 0.5, 0.85]),
    st.booleans(),
)
def test_nothing_that_was_seen_is_cut_off(ranges: list[tuple[float, float]], alpha: float | None, can_shift: bool):
    channel_range = np.array(ranges, np.float32).T
    scale: InputScale = make_input_scale(channel_range, WEIGHTS, alpha=alpha, can_shift=can_shift)
    smoothed = scale.smooth(channel_range)
    assert (np.abs(smoothed) <= 128.1 * scale.scale).all()  # a whole number of steps away: half a step at most


def test_a_channel_far_beyond_fp16s_bits_is_not_shifted():
    """What its shift takes from every product and adds to the bias would cost FP16 more than the finer steps give."""
    channels = 512
    usual = np.stack([np.full(channels, -0.17), np.full(channels, 4.0)]).astype(np.float32)
    weights = [np.random.default_rng(0).normal(0, 0.05, (channels, 64)).astype(np.float32)]
    assert make_input_scale(usual, weights, alpha=0.8).shift is not None
    usual[1, 3] = 5e4
    assert make_input_scale(usual, weights, alpha=0.8).shift is None
