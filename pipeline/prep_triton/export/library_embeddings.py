"""A text's embedding by sentence-transformers itself or, where it is not installed, by torch in the declared order."""

import importlib.metadata
import importlib.util
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from tokenizers import normalizers

from prep_triton.export.sentence_transformers import MODULES_NAME, PROMPTS_NAME, TRANSFORMER_PATTERN
from prep_triton.export.weights import PICKLE_NAME, WEIGHTS_NAME
from prep_triton.files import load_json

log = logging.getLogger(__name__)

_LIBRARY = "sentence_transformers"


class Embedder(Protocol):
    """Who answers, where it cuts a text (in tokens), the prompts that the checkpoint declares, and its answer."""

    name: str
    length: int
    prompt_names: tuple[str, ...]

    def embed(self, text: str, prompt_name: str = "") -> tuple[list[int], bool, list[float]]:
        """Return the ids of a text with prompt and special tokens, whether it was cut, and its vector."""


def find_embedder(model: Any, tokenizer: Any, folder: Path | None, longest: int, *, positions: int) -> Embedder:
    """Return what answers for a checkpoint.

    Args:
        model: The torch model of the body.
        tokenizer: transformers' own.
        folder: The checkpoint; None where there is none.
        longest: Where transformers cuts a text, in tokens.
        positions: How many tokens the model takes, whatever its tokenizer says.
    """
    if folder is None or not (folder / MODULES_NAME).is_file():
        return _TorchEmbedder(model, tokenizer, None, longest)
    if importlib.util.find_spec(_LIBRARY) and _has_only_known_classes(folder):
        try:
            return _LibraryEmbedder(model, folder, positions)
        except Exception as err:  # of any of its modules, and of what they import
            log.info("sentence-transformers does not load %s (%s): torch pools as its files declare", folder, err)
    return _TorchEmbedder(model, tokenizer, folder, longest)


def _has_only_known_classes(folder: Path) -> bool:
    """Whether every module is sentence-transformers' own: of others it would import, and run, whatever is named."""
    return all(str(module["type"]).startswith(f"{_LIBRARY}.") for module in load_json(folder / MODULES_NAME))


def shortest_length(declared: Any, longest: int) -> int:
    """Return a declared length in tokens, or the longest where nothing shorter is declared."""
    return int(min(declared, longest)) if isinstance(declared, int | float) and declared >= 1 else longest


class _LibraryEmbedder:
    """sentence-transformers with the torch model that is exported in the place of its own."""

    def __init__(self, model: Any, folder: Path, positions: int) -> None:
        from sentence_transformers import SentenceTransformer

        self.name = f"sentence-transformers {importlib.metadata.version('sentence-transformers')}"
        self.prompt_names = _list_prompts(folder)
        # Without layers: its own model is not needed, and its weights would be in memory twice.
        self._library = SentenceTransformer(
            str(folder), device="cpu", local_files_only=True, config_kwargs={"num_hidden_layers": 0, "n_layers": 0}
        )
        transformer = self._library[0]
        setattr(transformer, "model" if "model" in dict(transformer.named_children()) else "auto_model", model)
        self.length = shortest_length(self._library.max_seq_length, positions)
        # It takes a declared length beyond the model's positions at its word, and fails at the first long text.
        self._library.max_seq_length = self.length
        self._seen: list[dict[str, Any]] = []
        transformer.register_forward_pre_hook(lambda _, arguments: self._seen.append(dict(arguments[0])))

    def embed(self, text: str, prompt_name: str = "") -> tuple[list[int], bool, list[float]]:
        self._seen.clear()
        (vector,) = self._library.encode(
            [text], prompt_name=prompt_name or None, batch_size=1, convert_to_numpy=True, show_progress_bar=False
        )
        (features,) = self._seen
        ids = features["input_ids"][0][features["attention_mask"][0] != 0].tolist()
        # The library does not say whether it cut: a text that fills it to the brim may have been.
        return ids, len(ids) >= self.length, vector.tolist()


class _TorchEmbedder:
    """The modules of modules.json, one after another, in torch; without them the normalized mean, which is prep's."""

    def __init__(self, model: Any, tokenizer: Any, folder: Path | None, longest: int) -> None:
        self.name = f"torch {torch.__version__}"
        self._model, self._tokenizer, self._folder = model, tokenizer, folder
        settings = _load_first(folder, TRANSFORMER_PATTERN)
        if settings.get("do_lower_case"):
            backend = tokenizer.backend_tokenizer
            own = [backend.normalizer] if backend.normalizer else []
            backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *own])
        self.length = shortest_length(settings.get("max_seq_length"), longest)
        declared = _load_first(folder, PROMPTS_NAME)
        self.prompt_names = _list_prompts(folder)
        self._dimension = declared.get("truncate_dim")
        self._prompts, self._default = declared.get("prompts") or {}, declared.get("default_prompt_name")
        self._modules: list[dict[str, Any]] = [{"type": "Transformer"}, {"type": "Pooling"}, {"type": "Normalize"}]
        if folder is not None:
            self._modules = load_json(folder / MODULES_NAME)

    def embed(self, text: str, prompt_name: str = "") -> tuple[list[int], bool, list[float]]:
        prompt = str(self._prompts.get(prompt_name or self._default) or "")
        batch = self._tokenizer(prompt + text, truncation=True, max_length=self.length, return_tensors="pt")
        accepted = {"input_ids", "attention_mask"}
        if getattr(self._model.config, "type_vocab_size", 1) > 1:
            accepted.add("token_type_ids")
        hidden = self._model(**{name: tensor for name, tensor in batch.items() if name in accepted}).last_hidden_state
        vector = hidden[0].float()
        for module in self._modules:
            kind = str(module["type"]).rsplit(".", 1)[-1]
            config = _load_first(self._folder, f"{module.get('path') or '.'}/config.json")
            if kind == "Pooling":
                vector = _pool(vector, config, self._count_left_out(prompt, config))
            elif kind == "Dense":
                vector = _apply_dense(vector, config, _load_dense(self._folder, str(module["path"])))
            elif kind == "Normalize":
                vector = torch.nn.functional.normalize(vector, dim=0)
        vector = vector[: self._dimension]
        return batch["input_ids"][0].tolist(), bool(batch.encodings[0].overflowing), vector.tolist()

    def _count_left_out(self, prompt: str, pooling: Mapping[str, Any]) -> int:
        """Return how many tokens the pooling leaves out: a prompt's with the special ones before it, or none."""
        if not prompt or pooling.get("include_prompt") is not False:
            return 0
        ids = self._tokenizer(prompt, truncation=True, max_length=self.length)["input_ids"]
        return len(ids) - (ids[-1] in self._tokenizer.all_special_ids)


def _list_prompts(folder: Path | None) -> tuple[str, ...]:
    """Return the names of the prompts that a checkpoint declares; none where all of them are empty."""
    prompts = _load_first(folder, PROMPTS_NAME).get("prompts") or {}
    return tuple(prompts) if any(prompts.values()) else ()


def _pool(tokens: torch.Tensor, config: dict[str, Any], left_out: int) -> torch.Tensor:
    """Join what a Pooling module's configuration asks for, of token vectors [S, H] but for the first `left_out`."""
    weights = torch.arange(left_out + 1, len(tokens) + 1.0)
    tokens = tokens[left_out:]
    by_name = {
        "cls": tokens[0],
        "max": tokens.amax(0),
        "mean": tokens.mean(0),
        "mean_sqrt_len_tokens": tokens.sum(0) / len(tokens) ** 0.5,
        "weightedmean": weights @ tokens / weights.sum(),
        "lasttoken": tokens[-1],
    }
    declared = config.get("pooling_mode")  # since version 6; a switch for each, in a fixed order, before
    switched = [
        name
        for name in by_name
        if config.get(f"pooling_mode_{name}")
        or config.get(f"pooling_mode_{name}_token")
        or config.get(f"pooling_mode_{name}_tokens")
    ]
    modes = [declared] if isinstance(declared, str) else declared or switched or ["mean"]
    return torch.cat([by_name[mode] for mode in modes])


def _apply_dense(vector: torch.Tensor, config: dict[str, Any], weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
    activation = str(config.get("activation_function", "Tanh")).rsplit(".", 1)[-1]
    product = weights["linear.weight"].float() @ vector
    bias = weights.get("linear.bias")
    return getattr(torch.nn, activation)()(product if bias is None else product + bias.float())


def _load_dense(folder: Path | None, path: str) -> Mapping[str, torch.Tensor]:
    from safetensors.torch import load_file

    place = (folder or Path()) / path
    if (place / WEIGHTS_NAME).is_file():
        return dict(load_file(place / WEIGHTS_NAME))
    return dict(torch.load(place / PICKLE_NAME, map_location="cpu", weights_only=True))


def _load_first(folder: Path | None, pattern: str) -> dict[str, Any]:
    path = next(iter(sorted(folder.glob(pattern))), None) if folder else None
    content = json.loads(path.read_text(encoding="utf-8")) if path else {}
    return content if isinstance(content, dict) else {}
