import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prep_triton.precision.int8.smoothing import find_multiplier


def test_alpha_one_gives_every_channel_the_same_range():
    channel_max = np.array([0.5, 4.0, 32.0], np.float32)
    smoothed = channel_max * find_multiplier(channel_max, [np.ones((3, 2))], 1.0)
    assert smoothed == pytest.approx(smoothed[0], rel=2e-3)


def test_alpha_zero_gives_every_weight_row_the_same_range():
    weight = np.array([[0.1, -0.2], [2.0, 1.0], [0.0, 8.0]])
    multiplier = find_multiplier(np.ones(3, np.float32), [weight], 0.0)
    rows = np.abs(weight / multiplier[:, None]).max(axis=1)
    assert rows == pytest.approx(rows[0], rel=2e-3)


def test_layers_that_read_the_same_input_are_weighed_together():
    low, high = np.full((2, 2), 0.1), np.array([[4.0, 0], [1.0, 0]])
    together = find_multiplier(np.ones(2, np.float32), [low, high], 0.5)
    assert together == pytest.approx(find_multiplier(np.ones(2, np.float32), [high], 0.5))


@given(
    st.lists(st.tuples(st.floats(0, 1e4, width=32), st.floats(0, 1e4, width=32)), min_size=1, max_size=20),
    st.floats(0, 1),
)
def test_multipliers_are_positive_and_fp16_holds_them(channels, alpha):
    channel_max = np.array([one for one, _ in channels], np.float32)
    weight = np.array([[one] for _, one in channels], np.float32)
    multiplier = find_multiplier(channel_max, [weight], alpha)
    assert (multiplier > 0).all()
    assert (multiplier == multiplier.astype(np.float16)).all()
    assert np.isfinite(multiplier).all()
