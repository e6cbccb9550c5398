"""Serving choices resolved: held against the artifact, with what the tier adds and what the artifact decides.

Pure arithmetic over records: an entry's key needs it, and must not import protobuf.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from prep_triton.artifact import Engine, OnnxModel
from prep_triton.errors import RepositoryError
from prep_triton.spec import Runtime, ServingSpec
from prep_triton.triton.config.backends import check_backend_fields
from prep_triton.triton.config.instances import check_resources, kind_of
from prep_triton.triton.config.rules import find_builder_problem
from prep_triton.triton.config.shapes import (
    accepted_sequences,
    check_smallest_batch,
    largest_batch_size,
    length_buckets_from_artifact,
)
from prep_triton.triton.config.tiers import apply_tier


@dataclass(frozen=True)
class ResolvedServing:
    """Serving choices with nothing left to decide; only `resolve_serving` makes one.

    `choices` have the tier's own where the user made none, and the length buckets that clients pad to.
    `max_batch_size` is the entry's; `shortest` and `longest` are the sequence lengths, in tokens, that every
    instance takes.
    """

    backend: Runtime
    choices: ServingSpec
    max_batch_size: int
    shortest: int
    longest: int

    @property
    def length_buckets(self) -> tuple[int, ...]:
        """The sequence lengths that clients and the tokenizer pad to, increasing."""
        return self.choices.length_buckets


def resolve_serving(
    artifact: OnnxModel | Sequence[Engine], serving: ServingSpec, *, longest: int, usual: int | None = None
) -> ResolvedServing:
    """Hold choices against what is to be served, once, before anything is written.

    Args:
        artifact: The ONNX graph that ONNX Runtime serves, or the TensorRT plans, one for each GPU
            architecture, that the TensorRT backend serves.
        serving: The choices.
        longest: The model's longest sequence, in tokens.
        usual: Where the checkpoint's own tokenizer cuts a text; None where it does not say.

    Raises:
        SpecError: The choices do not fit the backend or the artifact.
        RepositoryError: An engine is not a plan, or engines disagree.
    """
    if not isinstance(artifact, OnnxModel):
        check_plans(artifact)
    backend = backend_of(artifact)
    choices = check_choices(serving, backend)
    largest = largest_batch_size(artifact, choices)
    buckets = length_buckets_from_artifact(artifact, choices, longest=longest, usual=usual)
    check_smallest_batch(artifact, choices, buckets)
    accepted = accepted_sequences(artifact, choices, longest)
    return ResolvedServing(backend, choices.model_copy(update={"length_buckets": buckets}), largest, *accepted)


def check_choices(serving: ServingSpec, backend: Runtime) -> ServingSpec:
    """Hold choices against their backend, as far as that needs no artifact; return them with the tier's own.

    Raises:
        SpecError: One means nothing to the backend.
    """
    choices = apply_tier(serving, backend)
    check_backend_fields(choices, backend)
    check_resources(choices)
    for group in choices.groups():
        kind_of(group, backend)
    return choices


def backend_of(artifact: OnnxModel | Sequence[Engine]) -> Runtime:
    """Return the backend that serves an artifact."""
    return "onnxruntime" if isinstance(artifact, OnnxModel) else "tensorrt"


def check_plans(engines: Sequence[Engine]) -> None:
    """Refuse engines that one TensorRT entry cannot serve together.

    Raises:
        RepositoryError: There is none, one is not a plan, or they disagree.
    """
    if not engines:
        raise RepositoryError("a TensorRT entry has no engine", hint="build one with `prep build-engine`")
    for engine in engines:
        if problem := find_builder_problem(engine):
            raise RepositoryError(
                problem,
                hint=f"build it with --builder tensorrt on a machine with a {engine.gpu}, or use runtime: onnxruntime",
            )
    first = engines[0]
    for engine in engines[1:]:
        if (engine.model_inputs, engine.model_outputs) != (first.model_inputs, first.model_outputs):
            raise RepositoryError(
                f"the engines for {first.gpu} and {engine.gpu} have different inputs or outputs",
                hint="build both from the same ONNX model",
            )
    capabilities = [engine.compute_capability for engine in engines]
    if len(set(capabilities)) < len(capabilities):
        raise RepositoryError(
            f"two engines are for the same compute capability: {', '.join(sorted(capabilities))}",
            hint="keep one engine for each GPU architecture",
        )
