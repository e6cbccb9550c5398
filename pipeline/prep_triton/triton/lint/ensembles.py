"""Ensemble wiring (core, model_config_utils.cc, ValidateEnsembleSchedulingConfig; ensemble_utils.cc)."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prep_triton.errors import suggest
from prep_triton.triton.config import traps
from prep_triton.triton.lint.entry import EntryFolder
from prep_triton.triton.lint.finding import Finding
from prep_triton.triton.lint.tensors import WILDCARD, data_type_name, describe_dims

# core, ensemble_utils.cc: the model_version that asks for whatever is served; any other is a version's number.
_NEWEST = -1


@dataclass(frozen=True)
class _End:
    """One end of an edge: what a model says of a tensor. `dims` are without the batch axis where it is `batched`."""

    model: str
    data_type: int
    dims: tuple[int, ...]
    is_batched: bool

    def full_dims(self) -> tuple[int, ...]:
        return (WILDCARD, *self.dims) if self.is_batched else self.dims


def find_ensemble_problems(entry: EntryFolder, entries: Mapping[str, EntryFolder]) -> Iterator[Finding]:
    """Find what is wrong with the wiring of an ensemble.

    Args:
        entry: An ensemble whose configuration parses.
        entries: Every entry of the repository by name.
    """
    config: Any = entry.config
    for name, is_given in (
        ("instance_group", bool(config.instance_group)),
        ("optimization", config.HasField("optimization")),
        ("model_warmup", bool(config.model_warmup)),
    ):
        if is_given:
            yield entry.at("ensemble-field", name, f"an ensemble must not have {name}", f"remove {name}")
    if not config.ensemble_scheduling.step:
        yield entry.at("ensemble-step", "ensemble_scheduling", "the ensemble has no step", "add steps")
        return
    edges: dict[str, list[_End]] = {}
    for role in (config.input, config.output):
        for tensor in role:
            dims = tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims
            edges.setdefault(tensor.name, []).append(
                _End(entry.name, tensor.data_type, tuple(dims), entry.is_batched())
            )
    for index, step in enumerate(config.ensemble_scheduling.step):
        yield from _find_step_problems(entry, index, step, entries)
        other = entries.get(step.model_name)
        if other is not None and other.config is not None:
            _note_edges(edges, step, other)
    yield from _find_type_problems(entry, edges)
    yield from _find_flow_problems(entry)
    if circle := _find_circle(entry, entries):
        message = f"the ensemble calls itself: {' -> '.join(circle)}"
        yield entry.at("ensemble-flow", "ensemble_scheduling", message, "let no step call an ensemble that calls it")


def _find_circle(entry: EntryFolder, entries: Mapping[str, EntryFolder]) -> list[str]:
    """Return the names on a way from an ensemble over others back to it (core, ensemble_utils.cc); none: empty."""
    ways, seen = [[entry.name]], {entry.name}
    while ways:
        way = ways.pop()
        config: Any = entries[way[-1]].config
        for step in config.ensemble_scheduling.step if config is not None else ():
            if step.model_name == entry.name and not step.model_namespace:
                return [*way, entry.name]
            if step.model_name in entries and step.model_name not in seen:
                seen.add(step.model_name)
                ways.append([*way, step.model_name])
    return []


def _find_step_problems(
    entry: EntryFolder, index: int, step: Any, entries: Mapping[str, EntryFolder]
) -> Iterator[Finding]:
    where = f"ensemble_scheduling.step[{index}]"
    if not step.model_name or not step.input_map or not step.output_map:
        message = f"step {index} needs model_name, input_map and output_map"
        yield entry.at("ensemble-step", where, message, "write all three down")
        return
    if step.model_namespace:
        return
    other = entries.get(step.model_name)
    if other is None:
        message = f"step {index} calls '{step.model_name}', which is not in the repository"
        have = f"the repository has {', '.join(sorted(entries))}"
        hint = f"add the entry; {suggest(step.model_name, sorted(entries), otherwise=have)}"
        yield entry.at("ensemble-step", f"{where}.model_name", message, hint)
        return
    if step.model_version != _NEWEST and step.model_version not in other.served_versions:
        served = ", ".join(map(str, other.served_versions)) or "none"
        message = f"step {index} calls version {step.model_version} of {other.name}, which serves {served}"
        yield entry.at("ensemble-step", f"{where}.model_version", message, "write model_version: -1 for the newest")
    if other.config is None:
        return
    yield from _find_map_problems(entry, where, step, other.config)
    config: Any = entry.config
    if other.config.max_batch_size and other.config.max_batch_size < config.max_batch_size:
        message = f"max_batch_size is {config.max_batch_size}, {other.name} takes up to {other.config.max_batch_size}"
        yield entry.at("ensemble-batch-size", "max_batch_size", message, f"lower it to {other.config.max_batch_size}")
    if traps.loses_priorities(priority_levels=other.config.dynamic_batching.priority_levels, is_composed=True):
        trap = traps.ENSEMBLE_PRIORITY
        message = f"{other.name} has priority levels: {trap.message} ({trap.name})"
        yield entry.at("ensemble-priority", where, message, trap.hint)


def _find_map_problems(entry: EntryFolder, where: str, step: Any, model: Any) -> Iterator[Finding]:
    name = step.model_name
    for role, mapped, tensors in (
        ("input", step.input_map, model.input), ("output", step.output_map, model.output)
    ):  # fmt: skip
        known = [tensor.name for tensor in tensors]
        for key in sorted(mapped):
            if known and key not in known:
                message = f"{name} has no {role} '{key}'; it has {', '.join(known)}"
                yield entry.at(
                    "ensemble-tensor", f"{where}.{role}_map.{key}", message, f"map one of {', '.join(known)}"
                )
    left_out = [tensor.name for tensor in model.input if not tensor.optional and tensor.name not in step.input_map]
    if left_out:
        message = f"nothing is mapped to {', '.join(left_out)} of {name}"
        yield entry.at("ensemble-tensor", f"{where}.input_map", message, "map every input that is not optional")
    # The server loads it; the step refuses each request that leaves the ensemble's input out.
    config: Any = entry.config
    optional = {tensor.name for tensor in config.input if tensor.optional}
    for tensor in model.input:
        source = dict(step.input_map).get(tensor.name)
        if source in optional and not tensor.optional:
            message = f"the optional input '{source}' is mapped to {tensor.name} of {name}, which is not optional"
            hint = f"write optional: true in both, or in neither: {name} refuses each request without it"
            yield entry.at("ensemble-optional", f"{where}.input_map.{tensor.name}", message, hint)


def _note_edges(edges: dict[str, list[_End]], step: Any, other: EntryFolder) -> None:
    model: Any = other.config
    for mapped, tensors in ((step.input_map, model.input), (step.output_map, model.output)):
        for tensor in tensors:
            if tensor.name in mapped:
                end = _End(other.name, tensor.data_type, tuple(tensor.dims), other.is_batched())
                edges.setdefault(mapped[tensor.name], []).append(end)


def _find_type_problems(entry: EntryFolder, edges: Mapping[str, list[_End]]) -> Iterator[Finding]:
    for name, ends in sorted(edges.items()):
        for end in ends[1:]:
            first = ends[0]
            between = f"'{name}' between {first.model} and {end.model}"
            if first.data_type != end.data_type:
                types = f"TYPE_{data_type_name(first.data_type)} and TYPE_{data_type_name(end.data_type)}"
                yield _edge_finding(entry, f"{between}: {types}")
            elif not (_is_same_shape(first.dims, end.dims) or _is_same_shape(first.full_dims(), end.full_dims())):
                yield _edge_finding(entry, f"{between}: {describe_dims(first.dims)} and {describe_dims(end.dims)}")


def _edge_finding(entry: EntryFolder, message: str) -> Finding:
    return entry.at("ensemble-type", "ensemble_scheduling", f"types or dims differ, {message}", "make both ends agree")


def _is_same_shape(dims: tuple[int, ...], others: tuple[int, ...]) -> bool:
    pairs = zip(dims, others, strict=False)
    return len(dims) == len(others) and all(a == b or WILDCARD in {a, b} for a, b in pairs)


def _find_flow_problems(entry: EntryFolder) -> Iterator[Finding]:
    """Follow the tensors from the inputs: each is produced once, and used."""
    config: Any = entry.config
    steps = config.ensemble_scheduling.step
    inputs = [tensor.name for tensor in config.input]
    outputs = [tensor.name for tensor in config.output]
    produced = Counter([*inputs, *(name for step in steps for name in step.output_map.values())])
    used = {name for step in steps for name in step.input_map.values()}
    where = "ensemble_scheduling"
    for name in sorted(name for name, count in produced.items() if count > 1):
        message = f"the tensor '{name}' is produced {produced[name]} times"
        yield entry.at("ensemble-flow", where, message, "give each step's output a name of its own")
    ready, waiting = set(inputs), list(steps)
    while runnable := [step for step in waiting if ready.issuperset(step.input_map.values())]:
        ready.update(name for step in runnable for name in step.output_map.values())
        waiting = [step for step in waiting if step not in runnable]
    for step in waiting:
        lacking = sorted(set(step.input_map.values()) - ready)
        message = f"the step of '{step.model_name}' never runs: {', '.join(lacking)} is not produced before it"
        yield entry.at("ensemble-flow", where, message, "map an output of an earlier step, or an input of the ensemble")
    for name in outputs:
        if name not in ready and name not in produced:
            yield entry.at(
                "ensemble-flow", where, f"the output '{name}' is never produced", "map a step's output to it"
            )
    for name in sorted((set(produced) | set(inputs)) - used - set(outputs)):
        message = f"the tensor '{name}' is used by nobody, and the server refuses that"
        yield entry.at("ensemble-flow", where, message, "remove it, or make it an output")
