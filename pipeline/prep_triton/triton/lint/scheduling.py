"""The server's own rules for names, platforms and batching (core, model_config_utils.cc, ValidateModelConfig)."""

from collections.abc import Iterator, Mapping
from typing import Any

from prep_triton.spec import server_rules
from prep_triton.triton.config import traps
from prep_triton.triton.config.backends import PLATFORMS
from prep_triton.triton.lint.entry import EntryFolder
from prep_triton.triton.lint.finding import Finding

_PLATFORMS: Mapping[str, str] = {str(backend): platform for backend, platform in PLATFORMS.items()}


def find_scheduling_problems(entry: EntryFolder) -> Iterator[Finding]:
    """Find what is wrong with a configuration by itself, without looking at any file."""
    yield from _find_identity_problems(entry)
    config: Any = entry.config
    if config.max_batch_size < 0:
        message = f"max_batch_size is {config.max_batch_size}, expected 0 or more"
        yield entry.at("config-batch-size", "max_batch_size", message, "set max_batch_size to 1 or more")
    if config.HasField("dynamic_batching"):
        yield from _find_batching_problems(entry)
    if config.response_cache.enable and config.model_transaction_policy.decoupled:
        message = "the server keeps no answers of a decoupled model in its response cache, and refuses both together"
        yield entry.at("cache-decoupled", "response_cache", message, "remove response_cache, or decoupled")


def _find_identity_problems(entry: EntryFolder) -> Iterator[Finding]:
    config: Any = entry.config
    if config.name and config.name != entry.name:
        message = f"its name is '{config.name}', its folder '{entry.name}': the server needs them to be the same"
        yield entry.at("config-name", "name", message, f'write name: "{entry.name}", or rename the folder')
    is_ensemble, has_steps = config.platform == "ensemble", config.HasField("ensemble_scheduling")
    hint = 'an ensemble has platform: "ensemble", no backend, and ensemble_scheduling'
    if is_ensemble != has_steps:
        message = f"platform is '{config.platform}', and there is {'an' if has_steps else 'no'} ensemble_scheduling"
        yield entry.at("config-platform", "platform", message, hint)
    elif is_ensemble and config.backend:
        message = f"an ensemble does not have a backend, and this has '{config.backend}'"
        yield entry.at("config-platform", "backend", message, hint)
    elif not is_ensemble:
        yield from _find_pair_problems(entry)


def _find_pair_problems(entry: EntryFolder) -> Iterator[Finding]:
    config: Any = entry.config
    if not entry.backend:
        message = f"neither its backend nor its platform ('{config.platform}') nor its files name a backend"
        yield entry.at("config-platform", "platform", message, 'name a backend, for example backend: "onnxruntime"')
        return
    expected = _PLATFORMS.get(entry.backend)
    if config.platform and expected and config.platform != expected:
        message = f"platform '{config.platform}' and backend '{entry.backend}' do not belong together"
        yield entry.at("config-platform", "platform", message, f'write platform: "{expected}", or leave it out')


def _find_batching_problems(entry: EntryFolder) -> Iterator[Finding]:
    config: Any = entry.config
    batching, largest, where = config.dynamic_batching, config.max_batch_size, "dynamic_batching"
    for size in batching.preferred_batch_size:
        if problem := server_rules.find_preferred_size_problem(size, largest):
            hint = "remove it; the server batches well without preferred sizes"
            yield entry.at("batching-preferred-size", f"{where}.preferred_batch_size", problem, hint)
    # A queue that ranks requests does so whether they are merged or not.
    if largest <= 0 and entry.backend != "ensemble" and not batching.priority_levels:
        message = f"dynamic_batching means nothing with max_batch_size {largest}: no requests are merged"
        yield entry.at("batching-useless", where, message, "set max_batch_size, or remove dynamic_batching")
    levels, default = batching.priority_levels, batching.default_priority_level
    if problem := server_rules.find_default_level_problem(default, levels):
        hint = f"set default_priority_level within 1..{levels}"
        yield entry.at("batching-priority", f"{where}.default_priority_level", problem, hint)
    for level in sorted(batching.priority_queue_policy):
        if problem := server_rules.find_policy_level_problem(level, levels):
            hint = f"use a level within 1..{levels}"
            yield entry.at("batching-priority", f"{where}.priority_queue_policy.{level}", problem, hint)
    if problem := server_rules.find_unused_level_problem(default, len(batching.priority_queue_policy), levels):
        yield entry.at("batching-useless", where, problem, "set priority_levels, or remove them")
    yield from _find_ordering_problems(entry)
    yield from _find_queue_traps(entry)


def _find_queue_traps(entry: EntryFolder) -> Iterator[Finding]:
    config: Any = entry.config
    batching, where = config.dynamic_batching, "dynamic_batching"
    policies = {"default_queue_policy": batching.default_queue_policy}
    policies |= {
        f"priority_queue_policy.{level}": batching.priority_queue_policy[level]
        for level in sorted(batching.priority_queue_policy)
    }
    timeouts_us = {key: policy.default_timeout_microseconds for key, policy in policies.items()}
    instances = sum(max(1, group.count) for group in config.instance_group) or 1
    if entry.backend != "ensemble" and traps.holds_batches(
        priority_levels=batching.priority_levels, instances=instances
    ):
        trap = traps.HELD_BATCH
        yield entry.at("batching-held", f"{where}.priority_levels", f"{trap.message} ({trap.name})", trap.hint)
    if traps.slows_down(
        instances=instances,
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
    if problem := server_rules.find_ordering_problem(batching.priority_levels):
        yield entry.at("batching-ordering", where, problem, f"{hint}, or the levels")
    policies = [batching.default_queue_policy, *batching.priority_queue_policy.values()]
    delays = any(policy.timeout_action and policy.default_timeout_microseconds for policy in policies)
    if problem := server_rules.find_delay_problem(is_ordered=batching.preserve_ordering, delays=delays):
        yield entry.at("batching-ordering", where, problem, f"{hint}, or set timeout_action: REJECT")
