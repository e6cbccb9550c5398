"""How an engine is built: profiles, and the builder's options."""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from prep_triton.spec.base import GpuName, Sizes, Spec
from prep_triton.spec.precision import Precision

Builder = Literal["auto", "tensorrt", "tensorrt-rtx"]
HardwareCompatibility = Literal["none", "ampere_plus"]


_SHAPE = re.compile(r"\s*([0-9]+)\s*x\s*([0-9]+)\s*")


def parse_profile(text: str) -> dict[str, tuple[int, int]]:
    """Parse a min/opt/max triple of ``BATCHxSEQUENCE`` shapes.

    Args:
        text: Three shapes, ``1x16,8x128,16x384``.

    Returns:
        The keyword arguments of `OptimizationProfile`.

    Raises:
        ValueError: The text is not three shapes.
    """
    matches = [_SHAPE.fullmatch(part) for part in text.split(",")]
    shapes = [(int(match[1]), int(match[2])) for match in matches if match]
    if len(matches) != 3 or len(shapes) != 3:
        raise ValueError(f"'{text}' is not a min,opt,max triple of BATCHxSEQUENCE shapes such as 1x16,8x128,16x384")
    return {"min": shapes[0], "opt": shapes[1], "max": shapes[2]}


class OptimizationProfile(Spec):
    """The shapes an engine accepts and the one it is tuned for; each is (batch, sequence).

    Source of the rule min <= opt <= max: `IOptimizationProfile::setDimensions` in NvInfer.h.
    """

    min: tuple[int, int] = Field(description="Smallest batch and sequence length.")
    opt: tuple[int, int] = Field(description="Batch and sequence length that it is tuned for.")
    max: tuple[int, int] = Field(description="Largest batch and sequence length.")

    @model_validator(mode="before")
    @classmethod
    def accept_triple(cls, value: Any) -> Any:
        """Accept the text form ``1x16,8x128,16x384``."""
        return parse_profile(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def check_order(self) -> Self:
        """Refuse min > opt, opt > max and sizes below 1."""
        for axis, label in enumerate(("batch", "sequence")):
            low, mid, high = self.min[axis], self.opt[axis], self.max[axis]
            if not 1 <= low <= mid <= high:
                raise ValueError(f"{label} sizes must satisfy 1 <= min <= opt <= max, got {low}, {mid}, {high}")
        return self

    def __str__(self) -> str:
        return ",".join(f"{batch}x{sequence}" for batch, sequence in (self.min, self.opt, self.max))


DEFAULT_BATCH = (1, 8, 16)
# The shortest sequence of a default profile, and the one that it is tuned for; it ends where the checkpoint does.
_DEFAULT_SHORTEST, _DEFAULT_USUAL = 16, 128


# The scores that one head has of a batch of the longest texts, at most: one text of 8,192 tokens, or 16 of 2,048. Of 12
# heads a layer's are 3 GiB in FP32 and half of that in FP16, and a runtime without a fused attention holds them twice.
_MOST_SCORES = 8192**2


def default_batch(longest: int) -> tuple[int, int, int]:
    """Return the smallest, the usual and the largest batch where none is asked for: what memory holds of `longest`.

    Args:
        longest: Tokens of the longest text that is taken.
    """
    low, usual, high = DEFAULT_BATCH
    largest = max(low, min(high, _MOST_SCORES // longest**2))
    return low, min(usual, largest), largest


def default_profile(usual_length: int) -> OptimizationProfile:
    """Return the profile of an engine of which no shapes were asked for: up to where the checkpoint cuts a text."""
    shortest, usual = min(_DEFAULT_SHORTEST, usual_length), min(_DEFAULT_USUAL, usual_length)
    low, middle, high = default_batch(usual_length)
    return OptimizationProfile(min=(low, shortest), opt=(middle, usual), max=(high, usual_length))


# An OptimizationProfile reads the text itself; this is for the schema.
_ProfileOrText = Annotated[
    OptimizationProfile, BeforeValidator(lambda value: value, json_schema_input_type=OptimizationProfile | str)
]


def profiles_from_seq_lens(
    seq_lens: Sequence[int], batch: Sequence[int] = DEFAULT_BATCH
) -> tuple[OptimizationProfile, ...]:
    """Give every sequence-length bucket an optimization profile of its own.

    Profile i takes the sequences that the bucket before it does not, and is tuned for the bucket's end,
    to which a client pads: min = the bucket before + 1 (1 for the first), opt = max = the bucket.

    Args:
        seq_lens: The ends of the buckets, increasing: ``(32, 64, 128)``.
        batch: Smallest, usual and largest batch size.

    Raises:
        ValueError: A size is below 1 or out of order, or `batch` is not a triple.
    """
    if not seq_lens or list(seq_lens) != sorted(set(seq_lens)) or seq_lens[0] < 1:
        raise ValueError(f"seq_lens must increase from 1 or more, got {_join_sizes(seq_lens)}")
    if len(batch) != 3 or list(batch) != sorted(batch) or batch[0] < 1:
        raise ValueError(f"batch must be min,opt,max with 1 <= min <= opt <= max, got {_join_sizes(batch)}")
    low, usual, high = batch
    return tuple(
        OptimizationProfile(min=(low, before + 1), opt=(usual, bucket), max=(high, bucket))
        for before, bucket in zip((0, *seq_lens), seq_lens, strict=False)
    )


def _join_sizes(sizes: Sequence[int]) -> str:
    return ",".join(map(str, sizes)) or "nothing"


class BuildOptions(Spec):
    """How to build an engine, whatever it is built for.

    All but the shapes and `workspace_limit_mib` mean something to the standard TensorRT builder alone (IBuilderConfig
    in NvInfer.h).
    """

    builder: Builder = Field(
        default="auto",
        description="tensorrt builds plans, which Triton serves, on the GPU itself; tensorrt-rtx builds ahead of time "
        "without a GPU; auto takes the first where it can.",
    )
    profiles: tuple[_ProfileOrText, ...] = Field(
        default=(),
        description="The shapes that it accepts, as min,opt,max of BATCHxSEQUENCE: 1x16,8x128,16x384; empty: one that "
        "ends at the length that the checkpoint declares.",
    )
    seq_lens: Sizes = Field(
        default=(), description="Ends of length buckets, each a profile of its own: the short way to write profiles."
    )
    batch: Sizes = Field(
        default=(),
        description="Smallest, usual and largest batch size of seq_lens; [1, 8, 16], fewer beyond 2,048 tokens.",
    )
    optimization_level: Annotated[
        int | None, Field(ge=0, le=5, description="How long the builder searches; null is TensorRT's own choice.")
    ] = None
    workspace_limit_mib: Annotated[
        int | None, Field(gt=0, description="Memory that a layer may use while it computes, MiB; null: no limit.")
    ] = None
    version_compatible: bool = Field(default=False, description="Let newer TensorRT versions load the plan.")
    hardware_compatible: HardwareCompatibility = Field(
        default="none", description="ampere_plus makes one plan for GPUs of several architectures, Ampere and newer."
    )
    refit: bool = Field(default=False, description="Let the plan take new weights later.")
    strip_weights: bool = Field(
        default=False, description="Leave the weights out of the plan, which must then be refitted before use."
    )

    @model_validator(mode="after")
    def check_profiles(self) -> Self:
        """Refuse two ways of saying the shapes, and a batch that belongs to no bucket."""
        if self.seq_lens:
            if self.profiles:
                raise ValueError("profiles and seq_lens exclude each other")
            profiles_from_seq_lens(self.seq_lens, self.batch or DEFAULT_BATCH)
        elif self.batch:
            raise ValueError("batch belongs to seq_lens; a profile has its own batch sizes")
        return self

    def engine_profiles(self, usual_length: int) -> tuple[OptimizationProfile, ...]:
        """Return the profiles that were asked for, in either way, or `default_profile` of a checkpoint's length."""
        if self.seq_lens:
            return profiles_from_seq_lens(self.seq_lens, self.batch or default_batch(self.seq_lens[-1]))
        return self.profiles or (default_profile(usual_length),)


def flags_from_precision(precision: Precision) -> str:
    """Return how `prep build-engine` is asked for an engine of a precision: INT8 is calibrated on text."""
    return f"--{precision}" + (" --calibration-data texts.txt" if precision == "int8" else "")


class EngineSpec(BuildOptions):
    """One engine for one GPU architecture."""

    precision: Precision
    gpu: GpuName
