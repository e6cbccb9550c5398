"""The ranges hold whatever an allowed error does to the logits."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from prep_triton.agreement import allowed_error
from prep_triton.triton.verify.tolerance import probability_range, softmax


@given(st.lists(st.floats(-20, 20), min_size=2, max_size=6), st.floats(0, 3), st.integers(0, 2**32 - 1))
def test_a_probability_stays_in_its_range_while_the_logits_stay_within_their_error(logits, error, seed):
    moved = np.array(logits) + np.random.default_rng(seed).uniform(-error, error, len(logits))
    for before, after in zip(softmax(np.array(logits)), softmax(moved), strict=True):
        low, high = probability_range(float(before), error)
        assert low <= after <= high


@given(st.lists(st.floats(-20, 20), min_size=2, max_size=8), st.integers(0, 2**32 - 1))
def test_logits_of_an_allowed_cosine_and_the_same_length_are_within_the_error(logits, seed):
    values = np.array(logits)
    other = values + np.random.default_rng(seed).normal(0, 0.05 * (np.abs(values).max() + 1e-3), len(values))
    norms = float(np.linalg.norm(values)), float(np.linalg.norm(other))
    if not all(norms):
        return
    other *= norms[0] / norms[1]
    cosine = min(1.0, float(values @ other) / (norms[0] * norms[0]))
    assert np.abs(values - other).max() <= allowed_error(values, cosine - 1e-9) * (1 + 1e-6) + 1e-9
