"""What sentence-transformers computes of token vectors, read off the files that modules.json names.

Read without the library; integration tests hold the answers against it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from prep_triton.artifact import EmbeddingRecord, Pooling
from prep_triton.errors import SourceError
from prep_triton.export.sentence_transformers import (
    HINT,
    MODULES_NAME,
    PROMPTS_NAME,
    check_place,
    check_settings,
    list_modules,
    load_object,
    load_transformer_settings,
)
from prep_triton.quoting import show_value
from prep_triton.tasks import TASKS, Task

_IN_GRAPH: Task = next(task for task, facts in TASKS.items() if facts.pools_in_graph)
_HINT_IN_GRAPH = f"export it with --task {_IN_GRAPH}, whose graph computes what its modules.json declares"
# The switches of a Pooling module's configuration before version 6, in the order in which it joins several.
_POOLING_BY_SWITCH = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
# What the post-processor of token vectors does not compute.
_POOLINGS_OF_GRAPH = ("weightedmean", "lasttoken")
# The classes of torch.nn that stand behind a Dense module, as the library makes them: without arguments.
DENSE_ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "SiLU", "Sigmoid", "ELU", "LeakyReLU")


@dataclass(frozen=True)
class DenseModule:
    """A Dense module: a linear layer and the function behind it, a class of ``torch.nn``; `folder` has its weights."""

    folder: Path
    in_features: int
    out_features: int
    has_bias: bool
    activation: str


@dataclass(frozen=True)
class SentenceModules:
    """What sentence-transformers computes of the token vectors: poolings joined, then `steps` (None: Normalize).

    Of the result the first `dimension` values are kept; None: all.
    """

    pooling: tuple[Pooling, ...] = ("mean",)
    steps: tuple[DenseModule | None, ...] = (None,)
    dimension: int | None = None
    prompt: str = ""
    prompts: Mapping[str, str] = field(default_factory=dict)
    includes_prompt: bool = True

    def record(self) -> EmbeddingRecord:
        """Return what an artifact's record says of them."""
        return EmbeddingRecord(
            pooling=self.pooling,
            is_normalized=bool(self.steps) and self.steps[-1] is None and self.dimension is None,
            prompt=self.prompt,
            prompts=self.prompts,
            includes_prompt=self.includes_prompt,
            dense=tuple(step.out_features for step in self.steps if step),
            dimension=self.dimension,
        )


def find_embedding(folder: Path | None, *, where: str) -> EmbeddingRecord:
    """Return how a post-processor makes one vector of token vectors; prep's own way where the checkpoint declares none.

    Args:
        folder: The checkpoint; None where there is none.
        where: The model in the user's words, for the message.

    Raises:
        SourceError: It declares what a graph alone computes, or what is not supported, or a file of it is damaged.
    """
    modules = read_modules(folder, where=where)
    beyond = (
        "a Dense module" if any(modules.steps) else "",
        "several Normalize modules" if len(modules.steps) > 1 else "",
        f"vectors cut to their first {modules.dimension} values (truncate_dim)" if modules.dimension else "",
        "prompts that its pooling leaves out (include_prompt is false)" if not modules.includes_prompt else "",
        *(f"the pooling {mode}" for mode in modules.pooling if mode in _POOLINGS_OF_GRAPH),
    )
    if declared := next(filter(None, beyond), None):
        raise SourceError(
            f"{where} declares {declared}, and the post-processor of token vectors has none", hint=_HINT_IN_GRAPH
        )
    return modules.record()


def read_modules(folder: Path | None, *, where: str) -> SentenceModules:
    """Read what a checkpoint declares; the normalized mean, prep's own way, where it declares nothing.

    Args:
        folder: The checkpoint; None where there is none.
        where: The model in the user's words, for the message.

    Raises:
        SourceError: It declares a module or a pooling that is not supported, or a file of it is damaged.
    """
    if folder is None or not (folder / MODULES_NAME).is_file():
        return SentenceModules()
    # Dropout does nothing but in training.
    modules = [(kind, path) for kind, path in list_modules(folder, where) if kind != "Dropout"]
    _check_order([kind for kind, _ in modules], where)
    (_, place), (_, pooling_path), *others = modules
    check_place(folder, place, where)
    check_settings(load_transformer_settings(folder, where=where), where)
    pooling_config = load_object(folder / pooling_path / "config.json", where)
    prompt, prompts = _find_prompts(folder, where)
    return SentenceModules(
        pooling=_find_pooling(pooling_config, where),
        steps=tuple(_read_dense(folder / path, where) if kind == "Dense" else None for kind, path in others),
        dimension=_find_dimension(folder, where),
        prompt=prompt,
        prompts=prompts,
        # Without a prompt there is nothing to leave out.
        includes_prompt=not prompts or pooling_config.get("include_prompt") is not False,
    )


def _check_order(kinds: Sequence[str], where: str) -> None:
    known = ("Transformer", "Pooling", "Dense", "Normalize")
    if unknown := next((kind for kind in kinds if kind not in known), None):
        raise SourceError(
            f"{MODULES_NAME} of {where} declares a {unknown} module, which prep does not serve; supported are "
            f"{', '.join(known)}",
            hint=HINT,
        )
    if tuple(kinds[:2]) != known[:2] or not {*kinds[2:]} <= {*known[2:]}:
        raise SourceError(
            f"{MODULES_NAME} of {where} declares {', '.join(kinds) or 'nothing'}; supported are a Transformer, then a "
            "Pooling, then perhaps Dense and Normalize",
            hint=HINT,
        )


def _read_dense(folder: Path, where: str) -> DenseModule:
    """Read the configuration of a Dense module, with the library's own defaults."""
    config = load_object(folder / "config.json", where)
    declared = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    activation = declared.rsplit(".", 1)[-1]
    sizes = [config.get(key) for key in ("in_features", "out_features")]
    others = {key: config.get(key) for key in ("module_input_name", "module_output_name")}
    problem = ""
    if not declared.startswith("torch.nn.") or activation not in DENSE_ACTIVATIONS:
        known = ", ".join(DENSE_ACTIVATIONS)
        problem = f"the activation_function {declared!r:.80}; supported are those of torch.nn named {known}"
    elif not all(isinstance(size, int) and size > 0 for size in sizes):
        problem = f"in_features and out_features {sizes!r:.80}, expected two whole numbers of 1 or more"
    elif config.get("use_residual"):
        problem = "use_residual, which prep does not serve"
    elif wrong := next((name for name in others.values() if name not in (None, "sentence_embedding")), None):
        problem = f"{wrong!r:.40} as what it reads or writes, and prep serves 'sentence_embedding'"
    if problem:
        raise SourceError(f"the Dense module {folder.name} of {where} declares {problem}", hint=HINT)
    return DenseModule(folder, int(sizes[0] or 0), int(sizes[1] or 0), bool(config.get("bias", True)), activation)


def _find_pooling(config: Mapping[str, Any], where: str) -> tuple[Pooling, ...]:
    declared = config.get("pooling_mode")
    if declared is None:
        declared = [mode for switch, mode in _POOLING_BY_SWITCH.items() if config.get(switch)] or ["mean"]
    modes = [declared] if isinstance(declared, str) else declared
    known = get_args(Pooling)
    if not isinstance(modes, list) or not modes or any(mode not in known for mode in modes):
        raise SourceError(
            f"the Pooling module of {where} declares the pooling {declared!r:.80}; supported are {', '.join(known)}",
            hint="choose a model with a supported pooling",
        )
    return tuple(modes)


def _find_dimension(folder: Path, where: str) -> int | None:
    """Return how many of its vectors' first values the library keeps (Matryoshka)."""
    path = folder / PROMPTS_NAME
    dimension = load_object(path, where).get("truncate_dim") if path.is_file() else None
    if dimension is not None and (not isinstance(dimension, int) or isinstance(dimension, bool) or dimension < 1):
        raise SourceError(
            f"{PROMPTS_NAME} of {where} has the truncate_dim {dimension!r:.40}, expected a whole number of 1 or more",
            hint="copy the checkpoint again",
        )
    return dimension


def _find_prompts(folder: Path, where: str) -> tuple[str, Mapping[str, str]]:
    """Return what the library puts before a text that names no prompt, and all prompts by name.

    Where every prompt is empty there are none: the library writes ``{"query": "", "document": ""}`` unasked.
    """
    path = folder / PROMPTS_NAME
    config = load_object(path, where) if path.is_file() else {}
    name, declared = config.get("default_prompt_name"), config.get("prompts") or {}
    if not isinstance(declared, dict) or not all(isinstance(text, str | None) for text in declared.values()):
        raise SourceError(
            f"{PROMPTS_NAME} of {where} has the prompts {show_value(declared)}, expected a text by each name",
            hint="copy the checkpoint again",
        )
    if name is not None and name not in declared:
        raise SourceError(
            f"{PROMPTS_NAME} of {where} has no prompt of its default_prompt_name {name!r:.40}",
            hint="copy the checkpoint again",
        )
    prompts = {key: text or "" for key, text in declared.items()}
    return prompts.get(name, ""), prompts if any(prompts.values()) else {}
