"""Serving choices resolved: held against the artifact, with what the tier adds and what the artifact decides.

Pure arithmetic over records: an entry's key needs it, and must not import protobuf.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from prep_triton.artifact import Engine, OnnxModel
from prep_triton.errors import RepositoryError
from prep_triton.spec import EntrySpec, Precision, Runtime, ServingSpec
from prep_triton.triton.config.backends import check_backend_fields
from prep_triton.triton.config.instances import check_resources, kind_of
from prep_triton.triton.config.openvino import resolve_openvino_choices
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
    `max_batch_size` is the entry's, 0 where a request's batch is its own affair; `shortest` and `longest` are the
    sequence lengths, in tokens, that every instance takes.
    """

    backend: Runtime
    precision: Precision
    choices: ServingSpec
    max_batch_size: int
    shortest: int
    longest: int

    @property
    def length_buckets(self) -> tuple[int, ...]:
        """The sequence lengths that clients and the tokenizer pad to, increasing."""
        return self.choices.length_buckets


def resolve_serving(
    artifact: OnnxModel | Sequence[Engine], spec: EntrySpec, *, longest: int, usual: int | None = None
) -> ResolvedServing:
    """Hold choices against what is to be served, once, before anything is written.

    Args:
        artifact: The ONNX graph that ONNX Runtime or OpenVINO serves, or the TensorRT plans, one for each GPU
            architecture, that the TensorRT backend serves.
        spec: The runtime and the precision, and the choices.
        longest: The model's longest sequence, in tokens.
        usual: Where the checkpoint's own tokenizer cuts a text; None where it does not say.

    Raises:
        SpecError: The choices do not fit the backend or the artifact.
        RepositoryError: An engine is not a plan, or engines disagree.
    """
    if not isinstance(artifact, OnnxModel):
        check_plans(artifact)
    choices = check_choices(spec.serving, spec.runtime)
    buckets = length_buckets_from_artifact(artifact, choices, longest=longest, usual=usual)
    largest = largest_batch_size(artifact, choices, buckets[-1], spec.runtime)
    check_smallest_batch(artifact, choices, buckets)
    accepted = accepted_sequences(artifact, choices, longest)
    choices = choices.model_copy(update={"length_buckets": buckets})
    return ResolvedServing(spec.runtime, precision_of(artifact, spec), choices, largest, *accepted)


def check_choices(serving: ServingSpec, backend: Runtime) -> ServingSpec:
    """Hold choices against their backend, as far as that needs no artifact; return them with the tier's own.

    Raises:
        SpecError: One means nothing to the backend.
    """
    choices = resolve_openvino_choices(serving) if backend == "openvino" else serving
    choices = apply_tier(choices, backend)
    check_backend_fields(choices, backend)
    check_resources(choices)
    for group in choices.groups():
        kind_of(group, backend)
    return choices


def precision_of(artifact: OnnxModel | Sequence[Engine], spec: EntrySpec) -> Precision:
    """Return the precision of what is served: BF16 is the runtime's, every other one is in the artifact.

    Raises:
        RepositoryError: The engines are of several.
    """
    if isinstance(artifact, OnnxModel):
        return spec.precision if spec.precision == "bf16" else artifact.precision
    precisions = sorted({engine.precision for engine in artifact})
    if len(precisions) > 1:
        raise RepositoryError(
            f"the engines are of several precisions: {', '.join(precisions)}",
            hint="assemble one entry for each precision",
        )
    return precisions[0]


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
