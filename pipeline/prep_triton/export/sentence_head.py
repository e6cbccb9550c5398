"""What sentence-transformers' modules make of token vectors, as a part of the torch model and so of its graph.

Sums, weights and roots are sums over the tokens that the mask leaves: a row may be padded on either side, as far as
one likes. Nothing is gathered by an index, so that every runtime reads the graph, and an engine fuses it.
"""

from collections.abc import Mapping
from typing import Any, assert_never

import torch

from prep_triton.artifact import Pooling
from prep_triton.errors import SourceError
from prep_triton.export.sentence_modules import DenseModule, SentenceModules
from prep_triton.export.weights import check_weights, find_weights, load_state_dict
from prep_triton.tasks import NORMALIZE_SCOPE, POOLING_SCOPE, PROMPT_MASK, TASKS, Task

# Below every output of a LayerNormalization, and inside of FP16.
_BELOW_ALL = -30000.0
# As sentence-transformers' own.
_SMALLEST_COUNT, _SMALLEST_NORM = 1e-9, 1e-12

# The head's own name in the model, and that of its parts in it.
_HEAD, _POOLING = POOLING_SCOPE.split(".")
_NORMALIZE = NORMALIZE_SCOPE.split(".")[1]


class _Pooling(torch.nn.Module):  # type: ignore[misc]  # torch is not followed by mypy
    """Token vectors [batch, sequence, hidden] and their mask [batch, sequence] to [batch, poolings * hidden].

    Without `includes_prompt` the tokens of `PROMPT_MASK` attend, and do not count.
    """

    def __init__(self, modes: tuple[Pooling, ...], *, includes_prompt: bool) -> None:
        super().__init__()
        self.modes, self.includes_prompt = modes, includes_prompt

    def forward(self, hidden: Any, attention_mask: Any) -> Any:
        attended = (attention_mask != 0).to(torch.float32)
        counted = attended
        if not self.includes_prompt:
            counted = attended * (attention_mask != PROMPT_MASK).to(torch.float32)
        tokens = _Tokens(hidden, counted, attended)
        return torch.cat([tokens.pool(mode) for mode in self.modes], dim=-1)


class _Tokens:
    """The token vectors of a batch, FP32, which of them count (`mask`), and which are a row's at all (`attended`)."""

    def __init__(self, hidden: Any, mask: Any, attended: Any) -> None:
        self.hidden, self.mask, self.attended = hidden, mask, attended
        self.places = torch.arange(1, hidden.shape[1] + 1, device=hidden.device).to(torch.float32)

    def pool(self, mode: Pooling) -> Any:
        """Return one vector a row, [batch, hidden]."""
        match mode:
            case "cls":
                return self._add((self.places == self._first(self.mask)).to(torch.float32) * self.mask)
            case "lasttoken":
                last = (self.places * self.mask).amax(1, keepdim=True)
                return self._add((self.places == last).to(torch.float32))
            case "max":
                return torch.where(self.mask[:, :, None] != 0, self.hidden, _BELOW_ALL).amax(1)
            case "mean":
                return self._add(self.mask) / self._count(self.mask)
            case "mean_sqrt_len_tokens":
                return self._add(self.mask) / torch.sqrt(self._count(self.mask))
            case "weightedmean":
                # The library weighs a token by its place in the row, prompt and all.
                weights = (self.places - self._first(self.attended) + 1) * self.mask
                return self._add(weights) / self._count(weights)
            case _:
                assert_never(mode)

    def _first(self, mask: Any) -> Any:
        """Return the place of each row's first token of a mask, from 1 on: padding may stand before it."""
        return torch.where(mask != 0, self.places, float(2**24)).amin(1, keepdim=True)

    def _add(self, weights: Any) -> Any:
        return (self.hidden * weights[:, :, None]).sum(1)

    def _count(self, weights: Any) -> Any:
        return weights.sum(1, keepdim=True).clamp(min=_SMALLEST_COUNT)


class _Normalize(torch.nn.Module):  # type: ignore[misc]
    def forward(self, vectors: Any) -> Any:
        return vectors / torch.sqrt((vectors * vectors).sum(1, keepdim=True)).clamp(min=_SMALLEST_NORM)


class _Dense(torch.nn.Module):  # type: ignore[misc]
    def __init__(self, module: DenseModule) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(module.in_features, module.out_features, bias=module.has_bias)
        self.activation = getattr(torch.nn, module.activation)()

    def forward(self, vectors: Any) -> Any:
        return self.activation(self.linear(vectors))


class SentenceHead(torch.nn.Module):  # type: ignore[misc]
    """A checkpoint's modules behind its transformer, in their order."""

    def __init__(self, modules: SentenceModules) -> None:
        super().__init__()
        self.dimension = modules.dimension
        self.add_module(_POOLING, _Pooling(modules.pooling, includes_prompt=modules.includes_prompt))
        self.steps = []
        for place, step in enumerate(modules.steps, 1):
            self.steps.append(f"{_NORMALIZE}_{place}" if step is None else f"dense_{place}")
            self.add_module(self.steps[-1], _Normalize() if step is None else _Dense(step))

    def forward(self, hidden: Any, attention_mask: Any) -> Any:
        """Return the embeddings [batch, width] of token vectors [batch, sequence, hidden]."""
        vectors = self.get_submodule(_POOLING)(hidden, attention_mask)
        for step in self.steps:
            vectors = self.get_submodule(step)(vectors)
        return vectors if self.dimension is None else vectors[:, : self.dimension]


def attach_head(model: Any, modules: SentenceModules, *, where: str) -> None:
    """Make a checkpoint's modules a part of its transformer, with their weights.

    Raises:
        SourceError: Weights are missing, damaged, or do not fit.
    """
    width = int(model.config.hidden_size) * len(modules.pooling)
    head = SentenceHead(modules)
    for name, step in zip(head.steps, modules.steps, strict=True):
        if step is None:
            continue
        if step.in_features != width:
            raise SourceError(
                f"the Dense module {step.folder.name} of {where} takes vectors of {step.in_features} values, and what "
                f"stands before it gives {width}",
                hint="compare its config.json with that of the Pooling module and of the transformer",
            )
        _load_weights(head.get_submodule(name), step, f"{step.folder.name} of {where}")
        width = step.out_features
    model.add_module(_HEAD, head.eval())


def add_mean_pooling(model: Any) -> None:
    """Give a model a head that is the mean of the tokens alone, without weights."""
    model.add_module(_HEAD, SentenceHead(SentenceModules(steps=())))


def _load_weights(dense: Any, module: DenseModule, where: str) -> None:
    from safetensors.torch import load_file

    files = find_weights(module.folder, where=where)
    check_weights(files, where=where)
    stored: Mapping[str, Any] = load_state_dict(files, where=where) or load_file(files[0])
    expected = {name: tuple(tensor.shape) for name, tensor in dense.state_dict().items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in stored.items()}
    if shapes != expected:
        raise SourceError(
            f"the weights of {where} are {_list_shapes(shapes)}; its config.json says {_list_shapes(expected)}",
            hint="check that its config.json and its weights belong together",
        )
    dense.load_state_dict({name: tensor.to(torch.float32) for name, tensor in stored.items()})


def _list_shapes(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in sorted(shapes.items())) or "none"


def pool_tokens(model: Any, hidden: Any, attention_mask: Any) -> Any:
    """Return what a model's head makes of its token vectors."""
    return model.get_submodule(_HEAD)(hidden, attention_mask)


def read_outputs(model: Any, answer: Any, attention_mask: Any, task: Task) -> tuple[Any, ...]:
    """Return the outputs of a task, in their order, of what a transformers model answered.

    Args:
        model: The model; with the head of `attach_head` where the task's graph makes the embedding itself.
        answer: Its answer to a batch.
        attention_mask: The batch's own, [batch, sequence].
        task: Decides what is read.
    """
    if TASKS[task].pools_in_graph:
        return (pool_tokens(model, answer.last_hidden_state, attention_mask),)
    return tuple(getattr(answer, name) for name in TASKS[task].outputs)
