"""Rules of the server for what a user chooses, each stated once: a spec, the writer of config.pbtxt and lint use them.

Source: triton-inference-server/core, ``src/model_config_utils.cc`` (`ValidateModelConfig`, `ValidateInstanceGroup`).
Each function takes the plain values of a configuration, and returns what is wrong in a sentence, or None. Rules
about what is served are in `prep_triton.triton.config.rules`.
"""

from collections.abc import Sequence


def find_preferred_size_problem(size: int, largest: int) -> str | None:
    """Preferred batch sizes lie within 1..max_batch_size."""
    if 1 <= size <= largest:
        return None
    return f"preferred batch size {size} is not within 1..max_batch_size ({largest})"


def find_default_level_problem(level: int, levels: int) -> str | None:
    """Where there are priority levels, a request that names none has one of them."""
    if not levels or 1 <= level <= levels:
        return None
    return f"default_priority_level is {level}, expected 1..{levels}"


def find_policy_level_problem(level: int, levels: int) -> str | None:
    """Where there are priority levels, a queue policy is for one of them."""
    if not levels or 1 <= level <= levels:
        return None
    return f"a queue policy is for the priority level {level}, expected 1..{levels}"


def find_unused_level_problem(default_level: int, policies: int, levels: int) -> str | None:
    """Without priority levels, a default one and queue policies for them mean nothing."""
    if levels or not (default_level or policies):
        return None
    what = "default_priority_level" if default_level else "a queue policy for a priority level"
    return f"{what} means nothing without priority_levels"


def find_ordering_problem(levels: int) -> str | None:
    """With `preserve_ordering` there is one priority level at most."""
    return f"preserve_ordering allows one priority level, there are {levels}" if levels > 1 else None


def find_delay_problem(*, is_ordered: bool, delays: bool) -> str | None:
    """With `preserve_ordering` no queue policy delays requests that are late: others would overtake them."""
    if not (is_ordered and delays):
        return None
    return (
        "preserve_ordering excludes a queue policy with a timeout whose action is delay: a delayed request is overtaken"
    )


def find_device_problem(kind: str, gpus: Sequence[int]) -> str | None:
    """An instance names GPUs only where it is on them: `kind` is the proto's word in lower case, or empty."""
    if not gpus or kind in {"", "auto", "gpu"}:
        return None
    return f"an instance of kind {kind} names the GPUs {list(gpus)}"


def find_bucket_order_problem(buckets: Sequence[int]) -> str | None:
    """The tokenizer pads to the first bucket that is long enough, so they increase."""
    if list(buckets) == sorted(set(buckets)) and min(buckets, default=1) >= 1:
        return None
    return f"length buckets must increase from 1 or more, got {list(buckets)}"
