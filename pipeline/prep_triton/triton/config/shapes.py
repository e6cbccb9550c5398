"""Batches and sequence lengths that an entry takes: the spec's wishes within what the artifact allows.

Pure arithmetic over records: an entry's key needs it, and must not import protobuf.
"""

from collections.abc import Sequence

from prep_triton.artifact import Engine, OnnxModel, TensorSpec
from prep_triton.errors import RepositoryError, SpecError
from prep_triton.spec import DEFAULT_LENGTH_BUCKETS, OptimizationProfile, Runtime, ServingSpec, default_batch
from prep_triton.triton.config.rules import find_bucket_problem, find_plan_batch_problem, find_profile_problem

# From here on twice the tokens are too many to pad a text to.
_LONG = 512


def profiles_of_groups(engines: Sequence[Engine], serving: ServingSpec) -> tuple[tuple[int, ...], ...]:
    """Return the indices of the optimization profiles that each instance group may use.

    A group without a list gets every profile that all engines have: the backend alone would use the first.

    Raises:
        SpecError: A group names a profile that an engine does not have.
    """
    count, gpu = min((len(engine.profiles), engine.gpu) for engine in engines)
    for group in serving.groups():
        for index in group.profiles:
            if problem := find_profile_problem(index, count, gpu):
                raise SpecError(
                    problem,
                    hint=f"keep profiles within 0..{count - 1}, or build the engine with another --profile",
                )
    return tuple(tuple(dict.fromkeys(group.profiles)) or tuple(range(count)) for group in serving.groups())


def largest_batch_size(
    artifact: OnnxModel | Sequence[Engine], serving: ServingSpec, longest: int, backend: Runtime = "onnxruntime"
) -> int:
    """Return the `max_batch_size` that the entry gets; OpenVINO's is always 0.

    A plan accepts no batch beyond its optimization profile, so an entry of several plans is as large
    as the smallest profile in use among them. A graph takes any, and by default what memory holds of its longest texts.

    Raises:
        SpecError: The spec asks for more than a profile allows.
    """
    if isinstance(artifact, OnnxModel):
        return serving.max_batch_size or (0 if backend == "openvino" else default_batch(longest)[-1])
    used = {index for indices in profiles_of_groups(artifact, serving) for index in indices}
    size, gpu = min((engine.profiles[index].max[0], engine.gpu) for engine in artifact for index in used)
    if problem := find_plan_batch_problem(serving.max_batch_size or size, size, gpu):
        raise SpecError(problem, hint=f"lower max_batch_size to {size}, or build the engine with a larger --profile")
    return serving.max_batch_size or size


def length_buckets_from_artifact(
    artifact: OnnxModel | Sequence[Engine], serving: ServingSpec, *, longest: int, usual: int | None = None
) -> tuple[int, ...]:
    """Return the sequence lengths that clients and the tokenizer pad to, increasing.

    Without a wish, a plan's are the lengths that its profiles are tuned for and end at (`seq_lens` makes both
    one), cut at what the checkpoint declares; a graph's are 32, 64, 128, 256, 384, 512, 1024, 2048, ... and end at what
    it declares. Where a profile ends far beyond what it is tuned for, a plan has those from 512 on too.

    Args:
        artifact: The graph, or the plans.
        serving: The wishes.
        longest: The model's longest sequence.
        usual: Where the checkpoint's own tokenizer cuts, up to `longest`; None where it does not say.

    Raises:
        SpecError: A wish is beyond the model, or no profile takes it.
        RepositoryError: The plans have no length in common.
    """
    inputs = artifact.model_inputs if isinstance(artifact, OnnxModel) else artifact[0].model_inputs
    for bucket in serving.length_buckets:
        if problem := find_bucket_problem(bucket, longest):
            raise SpecError(problem, hint=f"keep length_buckets within {longest}")
    fixed = _fixed_length(inputs)
    if fixed is not None:
        return _only_length(fixed, serving)
    if isinstance(artifact, OnnxModel):
        return serving.length_buckets or _default_buckets(usual or longest)
    return _plan_buckets(artifact, serving, usual or longest)


def choose_bucket(length: int, buckets: Sequence[int]) -> int | None:
    """Return the smallest of the increasing `buckets` that holds `length` tokens; None where none does.

    What the tokenizer does inside the server is `prep_triton.triton.inside_server.encode.windows.choose_bucket`,
    which must not import this; a test holds the two together.
    """
    return next((bucket for bucket in buckets if length <= bucket), None)


def accepted_sequences(artifact: OnnxModel | Sequence[Engine], serving: ServingSpec, longest: int) -> tuple[int, int]:
    """Return the shortest and the longest sequence that every instance takes: its profiles together are a range."""
    if isinstance(artifact, OnnxModel):
        return 1, longest
    choices = _choices(artifact, serving)
    shortest = max(min(profile.min[1] for profile in profiles) for profiles in choices)
    return shortest, min(max(profile.max[1] for profile in profiles) for profiles in choices)


def smallest_batch_size(artifact: OnnxModel | Sequence[Engine], serving: ServingSpec, bucket: int) -> int:
    """Return the smallest batch that every plan and every instance takes at a length; 1 for a graph."""
    if isinstance(artifact, OnnxModel):
        return 1
    taken = ([profile for profile in profiles if accepts(profile, bucket)] for profiles in _choices(artifact, serving))
    return max(min(profile.min[0] for profile in profiles) for profiles in taken)


def check_smallest_batch(artifact: OnnxModel | Sequence[Engine], serving: ServingSpec, buckets: Sequence[int]) -> None:
    """Refuse plans that take no batch within `max_batch_size`: warm-up would end the server, and requests fail.

    Raises:
        SpecError: Names the length, and both sizes.
    """
    largest = largest_batch_size(artifact, serving, buckets[-1])
    for bucket in buckets:
        smallest = smallest_batch_size(artifact, serving, bucket)
        if smallest > largest:
            raise SpecError(
                f"at length {bucket} the smallest batch of a profile in use is {smallest}, but max_batch_size is "
                f"{largest}",
                hint="raise max_batch_size, or build the engines with a batch from 1: --batch 1,8,16",
            )


def usual_batch_sizes(engines: Sequence[Engine], serving: ServingSpec, bucket: int) -> tuple[int, ...]:
    """Return the batches that the profiles in use are tuned for at a length, and 1, where all plans take them."""
    choices = [[profile for profile in profiles if accepts(profile, bucket)] for profiles in _choices(engines, serving)]
    batches = {1, *(profile.opt[0] for profiles in choices for profile in profiles)}
    if serving.dynamic_batching:
        batches.update(serving.dynamic_batching.preferred_batch_sizes)
    largest = largest_batch_size(engines, serving, bucket)
    return tuple(
        batch
        for batch in sorted(batches)
        if batch <= largest and all(any(takes(profile, batch) for profile in profiles) for profiles in choices)
    )


def dims_at_length(tensor: TensorSpec, bucket: int) -> list[int]:
    """Return a tensor's dimensions without the batch, its dynamic ones at a sequence length."""
    return [size if isinstance(size, int) else bucket for size in tensor.shape[1:]]


def accepts(profile: OptimizationProfile, bucket: int) -> bool:
    """Whether a profile takes a sequence length."""
    return profile.min[1] <= bucket <= profile.max[1]


def takes(profile: OptimizationProfile, batch: int) -> bool:
    """Whether a profile takes a batch size."""
    return profile.min[0] <= batch <= profile.max[0]


def _choices(engines: Sequence[Engine], serving: ServingSpec) -> list[list[OptimizationProfile]]:
    """Return what each instance group has on each GPU: a request goes to any of them, whatever its shape."""
    groups = profiles_of_groups(engines, serving)
    return [[engine.profiles[index] for index in indices] for engine in engines for indices in groups]


def _fixed_length(inputs: Sequence[TensorSpec]) -> int | None:
    sizes = {size for tensor in inputs if isinstance(size := tensor.shape[1] if len(tensor.shape) > 1 else None, int)}
    return sizes.pop() if len(sizes) == 1 else None


def _only_length(fixed: int, serving: ServingSpec) -> tuple[int, ...]:
    if serving.length_buckets not in ((), (fixed,)):
        raise SpecError(
            f"length_buckets {list(serving.length_buckets)} were asked for, but the graph takes length {fixed} alone",
            hint=f"write length_buckets: [{fixed}], or export with a dynamic sequence",
        )
    return (fixed,)


def _default_buckets(longest: int) -> tuple[int, ...]:
    return (*(bucket for bucket in DEFAULT_LENGTH_BUCKETS if bucket < longest), longest)


def _plan_buckets(engines: Sequence[Engine], serving: ServingSpec, usual: int) -> tuple[int, ...]:
    choices = _choices(engines, serving)

    def is_taken(bucket: int) -> bool:
        return all(any(accepts(profile, bucket) for profile in profiles) for profiles in choices)

    for bucket in serving.length_buckets:
        if not is_taken(bucket):
            raise SpecError(
                f"length bucket {bucket} is beyond the profiles of an instance: {_describe(choices)}",
                hint="keep length_buckets within the profiles, or build with --seq-lens",
            )
    if serving.length_buckets:
        return serving.length_buckets
    used = [profile for profiles in choices for profile in profiles]
    ends = {length for profile in used for length in (profile.opt[1], profile.max[1])}
    between = (bucket for bucket in DEFAULT_LENGTH_BUCKETS if bucket >= _LONG)
    ends.update(bucket for bucket in between if any(profile.opt[1] < bucket < profile.max[1] for profile in used))
    candidates = {min(length, usual) for length in ends}
    buckets = tuple(length for length in sorted(candidates) if is_taken(length))
    if not buckets:
        raise RepositoryError(
            f"no sequence length is taken by every instance: {_describe(choices)}",
            hint="build the engines with overlapping profiles, or give each its own entry",
        )
    return buckets


def _describe(choices: Sequence[Sequence[OptimizationProfile]]) -> str:
    ranges = (" or ".join(f"{profile.min[1]}..{profile.max[1]}" for profile in profiles) for profiles in choices)
    return "; ".join(dict.fromkeys(ranges))
