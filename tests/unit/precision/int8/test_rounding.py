"""Weights are rounded for the layer's output, not for themselves."""

import numpy as np
import pytest
from prep_triton.precision.int8.qdq import LARGEST, weight_scale
from prep_triton.precision.int8.rounding import round_weights


def draw_input(rng: np.random.Generator, tokens: int, channels: int) -> np.ndarray:
    """Draw an input whose channels go together, as those of a network do."""
    mixed: np.ndarray = rng.normal(size=(tokens, channels // 4)) @ rng.normal(size=(channels // 4, channels))
    return (mixed + 0.1 * rng.normal(size=mixed.shape)).astype(np.float32)


def output_error(inputs: np.ndarray, weight: np.ndarray, rounded: np.ndarray) -> float:
    return float(((inputs @ (weight - rounded)) ** 2).mean())


@pytest.mark.parametrize("channels", [40, 300])  # within a block, and over several
def test_the_output_is_nearer_than_by_rounding_each_weight(channels: int):
    rng = np.random.default_rng(0)
    inputs, unseen = np.split(draw_input(rng, 2400, channels), 2)
    weight = rng.normal(0, 0.1, (channels, 24)).astype(np.float32)
    (rounded,) = round_weights([weight], inputs.T @ inputs)
    nearest = np.rint(weight / rounded.scale) * rounded.scale
    assert rounded.values.dtype == np.int8
    assert np.abs(rounded.values.astype(int)).max() <= LARGEST
    np.testing.assert_array_equal(rounded.scale, weight_scale(weight))
    assert output_error(unseen, weight, rounded.values * rounded.scale) < 0.5 * output_error(unseen, weight, nearest)


def test_layers_of_one_input_are_rounded_as_each_alone():
    rng = np.random.default_rng(1)
    inputs = draw_input(rng, 500, 32)
    gram = inputs.T @ inputs
    weights = [rng.normal(0, spread, (32, size)).astype(np.float32) for spread, size in ((0.1, 8), (3.0, 5))]
    together = round_weights(weights, gram)
    for weight, rounded in zip(weights, together, strict=True):
        (alone,) = round_weights([weight], gram)
        np.testing.assert_array_equal(alone.values, rounded.values)
        np.testing.assert_array_equal(alone.scale, rounded.scale)


@pytest.mark.parametrize("tokens", [0, 1, 3])
def test_few_tokens_leave_weights_within_reach_of_their_nearest_step(tokens: int):
    """Channels that were never seen are rounded to the nearest, and no weight runs away."""
    rng = np.random.default_rng(2)
    inputs = draw_input(rng, tokens, 16)
    weight = rng.normal(0, 0.1, (16, 4)).astype(np.float32)
    (rounded,) = round_weights([weight], inputs.T @ inputs)
    steps = np.abs(rounded.values * rounded.scale - weight) / rounded.scale
    assert steps.max() <= (0.5001 if tokens == 0 else 8)
