"""Optimization profiles: the shapes of each input, and whether the model can take them."""

import math
from collections.abc import Sequence

from prep_triton.artifact import OnnxModel, TensorSpec
from prep_triton.errors import EngineError, SpecError
from prep_triton.spec import OptimizationProfile

BATCH, SEQUENCE = "batch", "sequence"

# min, opt and max shape of each input, by name: what IOptimizationProfile takes.
ShapeTriples = dict[str, list[list[int]]]


def check_profiles(model: OnnxModel, profiles: Sequence[OptimizationProfile]) -> None:
    """Refuse sequences longer than the model has positions for.

    Raises:
        SpecError: A profile's longest sequence exceeds `model.max_sequence_length`.
    """
    for profile in profiles:
        longest = profile.max[1]
        if longest > model.max_sequence_length:
            raise SpecError(
                f"profile {profile} goes up to sequence length {longest}, "
                f"{model.name} takes at most {model.max_sequence_length}",
                hint=f"lower the last shape of the profile to {profile.max[0]}x{model.max_sequence_length} or less",
            )


def shapes_from_profile(inputs: Sequence[TensorSpec], profile: OptimizationProfile) -> ShapeTriples:
    """Give every input its min, opt and max shape.

    Raises:
        EngineError: An input has a dynamic axis that is neither ``batch`` nor ``sequence``.
    """
    return {
        tensor.name: [
            [_size_of_axis(tensor, axis, batch, sequence) for axis in tensor.shape]
            for batch, sequence in (profile.min, profile.opt, profile.max)
        ]
        for tensor in inputs
    }


def largest_opt(profiles: Sequence[OptimizationProfile]) -> tuple[int, int]:
    """Return the largest (batch, sequence) that a profile is tuned for.

    FLOP shares are weighed there: attention products, which stay FP16 in an INT8 engine, count for most.
    """
    return max((profile.opt for profile in profiles), key=math.prod)


def choose_profile(profiles: Sequence[OptimizationProfile], shape: tuple[int, int]) -> int:
    """Return the index of the first profile that takes a (batch, sequence).

    Raises:
        SpecError: No profile does.
    """
    for index, profile in enumerate(profiles):
        if all(low <= size <= high for low, size, high in zip(profile.min, shape, profile.max, strict=True)):
            return index
    raise SpecError(
        f"the engine takes no {shape[0]}x{shape[1]}, only {'; '.join(map(str, profiles))}",
        hint="build it with a profile that does: --profile or --seq-lens",
    )


def _size_of_axis(tensor: TensorSpec, axis: int | str, batch: int, sequence: int) -> int:
    if isinstance(axis, int):
        return axis
    if axis in (BATCH, SEQUENCE):
        return batch if axis == BATCH else sequence
    raise EngineError(
        f"input '{tensor.name}' has a dynamic axis '{axis}', a profile gives only {BATCH} and {SEQUENCE}",
        hint="export the model again: prep export MODEL",
    )
