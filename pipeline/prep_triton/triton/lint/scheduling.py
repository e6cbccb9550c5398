"""The server's own rules for batching, caching and metrics (core, model_config_utils.cc, ValidateModelConfig)."""

from collections.abc import Iterator
from typing import Any

from prep_triton.triton.config import traps
from prep_triton.triton.lint.entry import PLATFORMS, EntryFolder
from prep_triton.triton.lint.finding import Finding

_CORRELATION_TYPES = ("TYPE_UINT64", "TYPE_INT64", "TYPE_UINT32", "TYPE_INT32", "TYPE_STRING")


def find_scheduling_problems(entry: EntryFolder) -> Iterator[Finding]:
    """Judge what a configuration says of itself, without looking at any file."""
    yield from _find_identity_problems(entry)
    config: Any = entry.config
    if config.max_batch_size < 0:
        message = f"max_batch_size is {config.max_batch_size}, expected 0 or more"
        yield entry.at("config-batch-size", "max_batch_size", message, "set max_batch_size to 1 or more")
    if config.HasField("dynamic_batching"):
        yield from _find_batching_problems(entry)
    if config.HasField("sequence_batching"):
        yield from _find_sequence_problems(entry)
    yield from _find_cache_problems(entry)
    yield from _find_metric_problems(entry)


def _find_identity_problems(entry: EntryFolder) -> Iterator[Finding]:
    config: Any = entry.config
    if config.name and config.name != entry.name:
        message = f"its name is '{config.name}', its folder '{entry.name}': the server insists on one name"
        yield entry.at("config-name", "name", message, f'write name: "{entry.name}", or rename the folder')
    is_ensemble, has_steps = config.platform == "ensemble", config.HasField("ensemble_scheduling")
    hint = 'an ensemble has platform: "ensemble", no backend, and ensemble_scheduling'
    if is_ensemble != has_steps:
        message = f"platform is '{config.platform}', and there is {'an' if has_steps else 'no'} ensemble_scheduling"
        yield entry.at("config-platform", "platform", message, hint)
    elif is_ensemble and config.backend:
        message = f"an ensemble has no backend, this one has '{config.backend}'"
        yield entry.at("config-platform", "backend", message, hint)
    elif not is_ensemble:
        yield from _find_pair_problems(entry)


def _find_pair_problems(entry: EntryFolder) -> Iterator[Finding]:
    config: Any = entry.config
    if not entry.backend:
        message = f"neither its backend nor its platform ('{config.platform}') nor its files name a backend"
        yield entry.at("config-platform", "platform", message, 'name one, for example backend: "onnxruntime"')
        return
    expected = {**PLATFORMS, "pytorch": "pytorch_libtorch"}.get(entry.backend)
    if config.platform and expected and config.platform != expected:
        if entry.backend == "pytorch" and config.platform == "torch_aoti":  # since 26.01
            return
        message = f"platform '{config.platform}' and backend '{entry.backend}' do not belong together"
        yield entry.at("config-platform", "platform", message, f'write platform: "{expected}", or leave it out')


def _find_batching_problems(entry: EntryFolder) -> Iterator[Finding]:
    config: Any = entry.config
    batching, largest, where = config.dynamic_batching, config.max_batch_size, "dynamic_batching"
    yield from _find_preferred_size_problems(entry, batching.preferred_batch_size, where)
    if largest <= 0 and entry.backend != "ensemble":
        message = f"dynamic_batching means nothing with max_batch_size {largest}: no requests are merged"
        yield entry.at("batching-useless", where, message, "set max_batch_size, or remove dynamic_batching")
    levels = batching.priority_levels
    if levels and not 1 <= batching.default_priority_level <= levels:
        message = f"default_priority_level is {batching.default_priority_level}, expected 1..{levels}"
        hint = f"set default_priority_level within 1..{levels}"
        yield entry.at("batching-priority", f"{where}.default_priority_level", message, hint)
    for level in sorted(batching.priority_queue_policy) if levels else ():
        if not 1 <= level <= levels:
            message = f"priority_queue_policy has the level {level}, expected 1..{levels}"
            yield entry.at("batching-priority", f"{where}.priority_queue_policy.{level}", message, "mend the key")
    if not levels and (batching.default_priority_level or batching.priority_queue_policy):
        message = "default_priority_level and priority_queue_policy mean nothing without priority_levels"
        yield entry.at("batching-useless", where, message, "set priority_levels, or remove them")
    yield from _find_ordering_problems(entry)
    policies = {"default_queue_policy": batching.default_queue_policy}
    policies |= {
        f"priority_queue_policy.{level}": batching.priority_queue_policy[level]
        for level in sorted(batching.priority_queue_policy)
    }
    timeouts_us = {key: policy.default_timeout_microseconds for key, policy in policies.items()}
    if traps.slows_down(
        instances=sum(max(1, group.count) for group in config.instance_group),
        queue_delay_us=batching.max_queue_delay_microseconds,
        default_timeouts_us=timeouts_us.values(),
    ):
        trap, key = traps.DEFAULT_TIMEOUT, next(key for key, timeout_us in timeouts_us.items() if timeout_us)
        yield entry.at("batching-timeout", f"{where}.{key}", f"{trap.message} ({trap.name})", trap.hint)


def _find_ordering_problems(entry: EntryFolder) -> Iterator[Finding]:
    config: Any = entry.config
    batching = config.dynamic_batching
    if not batching.preserve_ordering:
        return
    where, hint = "dynamic_batching.preserve_ordering", "remove preserve_ordering"
    if batching.priority_levels > 1:
        message = f"preserve_ordering allows one priority level, there are {batching.priority_levels}"
        yield entry.at("batching-ordering", where, message, f"{hint}, or the levels")
    policies = [batching.default_queue_policy, *batching.priority_queue_policy.values()]
    if any(policy.timeout_action and policy.default_timeout_microseconds for policy in policies):
        message = "preserve_ordering excludes a queue policy whose timeout_action is DELAY"
        yield entry.at("batching-ordering", where, message, f"{hint}, or set timeout_action: REJECT")


def _find_preferred_size_problems(entry: EntryFolder, sizes: Any, where: str) -> Iterator[Finding]:
    config: Any = entry.config
    for size in sizes:
        if not 1 <= size <= config.max_batch_size:
            message = f"preferred batch size {size} is not within 1..max_batch_size ({config.max_batch_size})"
            hint = "remove it; the server batches well without preferred sizes"
            yield entry.at("batching-preferred-size", f"{where}.preferred_batch_size", message, hint)


def _find_sequence_problems(entry: EntryFolder) -> Iterator[Finding]:
    config: Any = entry.config
    batcher, where = config.sequence_batching, "sequence_batching"
    if batcher.HasField("oldest"):
        yield from _find_preferred_size_problems(entry, batcher.oldest.preferred_batch_size, f"{where}.oldest")
    if batcher.HasField("direct") and not 0 <= batcher.direct.minimum_slot_utilization <= 1:
        message = f"minimum_slot_utilization is {batcher.direct.minimum_slot_utilization:g}, expected 0..1"
        yield entry.at("batching-sequence", f"{where}.direct", message, "set it within 0..1")
    names = [control.name for control in batcher.control_input]
    if "" in names or len(set(names)) < len(names):
        message = f"the names of control_input are {names}; each needs one of its own"
        yield entry.at("batching-sequence", f"{where}.control_input", message, "name each control tensor once")
    kinds = [one.kind for control in batcher.control_input for one in control.control]
    if len(set(kinds)) < len(kinds):
        message = "a kind of control is given to several tensors"
        yield entry.at("batching-sequence", f"{where}.control_input", message, "keep one tensor for each kind")
    for index, control in enumerate(batcher.control_input):
        for one in control.control:
            if problem := _judge_control(one):
                yield entry.at("batching-sequence", f"{where}.control_input[{index}]", problem, "mend the control")


def _judge_control(control: Any) -> str:
    kind = type(control).Kind.Name(control.kind) if control.kind in type(control).Kind.values() else str(control.kind)
    counts = [len(control.int32_false_true), len(control.fp32_false_true), len(control.bool_false_true)]
    if kind == "CONTROL_SEQUENCE_CORRID":
        from tritonclient.grpc import model_config_pb2

        known = model_config_pb2.DataType.DESCRIPTOR.values_by_number
        name = known[control.data_type].name if control.data_type in known else str(control.data_type)
        if any(counts):
            return f"{kind} takes a data_type, and no values of false and true"
        return (
            "" if name in _CORRELATION_TYPES else f"{kind} has {name}, expected one of {', '.join(_CORRELATION_TYPES)}"
        )
    if sorted(counts) != [0, 0, 2]:
        return (
            f"{kind} needs two values, of false and true, in one of int32_false_true, fp32_false_true, bool_false_true"
        )
    return ""


def _find_cache_problems(entry: EntryFolder) -> Iterator[Finding]:
    config: Any = entry.config
    if not config.response_cache.enable:
        return
    hint = "remove response_cache"
    if config.HasField("sequence_batching"):
        yield entry.at("cache-unsupported", "response_cache", "a sequence batcher excludes response_cache", hint)
    if config.model_transaction_policy.decoupled:
        yield entry.at("cache-unsupported", "response_cache", "a decoupled model excludes response_cache", hint)


def _find_metric_problems(entry: EntryFolder) -> Iterator[Finding]:
    config: Any = entry.config
    for index, control in enumerate(config.model_metrics.metric_control):
        if not control.metric_identifier.family or not control.histogram_options.buckets:
            message = "a metric_control needs metric_identifier.family and histogram_options.buckets"
            yield entry.at(
                "metrics-incomplete", f"model_metrics.metric_control[{index}]", message, "add them, or remove it"
            )
