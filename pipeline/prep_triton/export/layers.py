"""An encoder's layers are one layer with other weights: a graph of two of them determines the graph of all.

Tracing costs torch half a second a layer. So `prep_triton.export.graph` traces two: the first also makes what
all of them share (the exporter computes a shape once), and the second is what every later one is, but for its weights.
Here it is written again for each of these, node for node as the exporter itself would have written them. Where layers
alternate (ModernBERT: one with attention to all, two with a window), two periods of them are traced instead of two.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


class LayersDifferError(Exception):
    """A graph of two layers does not determine that of more. Never leaves the room: all of them are traced then."""


@dataclass(frozen=True)
class Weight:
    """Where an initializer comes from.

    Args:
        source: The name of the parameter or buffer.
        is_transposed: Whether the initializer is its transpose.
    """

    source: str
    is_transposed: bool = False


def repeat_layers(graph: Any, weights: dict[str, Weight], stack: str, count: int, *, period: int = 1) -> None:
    """Repeat the second half of ``2 * period`` layers until there are `count`.

    Args:
        graph: The GraphProto, whose nodes, values and weights are named after their modules. It is changed in place.
        weights: The graph's weights by initializer. Those of the new layers are added.
        stack: The dotted path of the list of layers, such as ``bert.encoder.layer``.
        count: The number of layers to be, at least ``2 * period``.
        period: After how many layers one of the same kind comes again.

    Raises:
        LayersDifferError: A layer to repeat is not one run of nodes with one result, as the ones before have it.
    """
    nodes = list(graph.node)
    outputs = [value.name for value in graph.output]
    first = f"{stack}.{period}"
    runs = [_find_run(nodes, f"{stack}.{number}") for number in range(period, 2 * period)]
    before, after = nodes[: runs[0].start], nodes[runs[-1].stop :]
    layers = [nodes[run.start : run.stop] for run in runs]
    if sum(map(len, runs)) != len(nodes) - len(before) - len(after):
        raise LayersDifferError("there are nodes between the layers")
    results = [_find_result(layer, nodes[run.stop :], outputs) for layer, run in zip(layers, runs, strict=True)]
    ends = [layer[index] for layer, (_, index) in zip(layers, results, strict=True)]
    makers = [_move(ends[0].name, first, f"{stack}.{period - 1}"), *(end.name for end in ends[:-1])]
    incoming = [
        _find_incoming(nodes[: run.start], layer, maker) for run, layer, maker in zip(runs, layers, makers, strict=True)
    ]

    leaving = results[-1][0]
    ends[-1].output[0] = ends[-1].name
    end = ends[-1]
    for number in range(2 * period, count):
        kind = number % period
        old, new = f"{stack}.{period + kind}", f"{stack}.{number}"
        replaced = {incoming[kind]: end.output[0]}
        layers.append([_copy_node(node, old, new, replaced) for node in layers[kind]])
        weights.update(_copy_weights(weights, old, new))
        end = layers[-1][results[kind][1]]
    _hand_over(end, leaving, after, is_output=leaving in outputs)
    del graph.node[:]
    graph.node.extend([*before, *(node for layer in layers for node in layer), *after])


def _is_in(name: str, module: str) -> bool:
    return name.startswith((f"{module}.", f"{module}/"))


def _move(name: str, old: str, new: str) -> str:
    return new + name[len(old) :] if _is_in(name, old) else name


def _find_run(nodes: Sequence[Any], module: str) -> range:
    """Return where a module's nodes lie."""
    places = [index for index, node in enumerate(nodes) if _is_in(node.name, module)]
    if not places or places != list(range(places[0], places[-1] + 1)):
        raise LayersDifferError(f"the nodes of {module} are not one run")
    return range(places[0], places[-1] + 1)


def _find_result(layer: Sequence[Any], after: Sequence[Any], outputs: Sequence[str]) -> tuple[str, int]:
    """Return the one value that leaves a layer, and the index of the node that makes it."""
    read = {name for node in after for name in node.input} | set(outputs)
    leaving = [(name, index) for index, node in enumerate(layer) for name in node.output if name in read]
    if len(leaving) != 1 or len(layer[leaving[0][1]].output) != 1:
        raise LayersDifferError(f"the values {[name for name, _ in leaving]} leave a layer, expected one")
    return leaving[0]


def _find_incoming(before: Sequence[Any], layer: Sequence[Any], maker: str) -> str:
    """Return the value that the layer before hands to a layer: what the node called `maker` makes."""
    output = next((node.output[0] for node in before if node.name == maker), None)
    if output is None or not any(output in node.input for node in layer):
        raise LayersDifferError(f"{maker} does not make what the next layer reads")
    return str(output)


def _copy_node(node: Any, old: str, new: str, replaced: Mapping[str, str]) -> Any:
    copy = type(node)()
    copy.CopyFrom(node)
    copy.name = _move(node.name, old, new)
    copy.input[:] = [replaced.get(name) or _move(name, old, new) for name in node.input]
    copy.output[:] = [_move(name, old, new) for name in node.output]
    return copy


def _copy_weights(weights: Mapping[str, Weight], old: str, new: str) -> dict[str, Weight]:
    copies = {}
    for name, weight in weights.items():
        if _is_in(name, old):
            if not _is_in(weight.source, old):
                raise LayersDifferError(f"{name} is {weight.source}, which is not the layer's own")
            copies[_move(name, old, new)] = Weight(_move(weight.source, old, new), weight.is_transposed)
    return copies


def _hand_over(end: Any, leaving: str, after: Sequence[Any], *, is_output: bool) -> None:
    """Let the last layer's result be what left the traced one."""
    if is_output:
        end.output[0] = leaving
    for node in after:
        node.input[:] = [end.output[0] if name == leaving else name for name in node.input]
