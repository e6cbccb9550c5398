"""Tiny random checkpoints as transformers saves them, to be stored otherwise, and what transformers answers then."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file

from tests.fakes.bert_checkpoint import CONFIG, VOCABULARY

Tensors = dict[str, torch.Tensor]

_SIZES = {"vocab_size": CONFIG["vocab_size"], "max_position_embeddings": 64, "initializer_range": 0.4}
_BERT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
_DISTILBERT = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}


def draw_checkpoint(folder: Path, class_name: str, **keys: Any) -> Path:
    """Save a model of a class of transformers with seeded weights, and a WordPiece vocabulary beside it."""
    is_distilled = class_name.startswith("DistilBert")
    sizes = {**_SIZES, **(_DISTILBERT if is_distilled else _BERT), **keys}
    config = (transformers.DistilBertConfig if is_distilled else transformers.BertConfig)(**sizes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(transformers, class_name)(config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() == 1:  # no bias of 0 and no scale of 1: a lost one shows
                    parameter.add_(torch.randn_like(parameter), alpha=0.2)
    model.save_pretrained(folder)
    words = list(dict.fromkeys(VOCABULARY))
    words += [f"[unused{n}]" for n in range(CONFIG["vocab_size"] - len(words))]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    return folder


def change_config(folder: Path, name: str = "config.json", **keys: Any) -> None:
    """Change keys of a JSON file of a checkpoint, which need not be there."""
    path = folder / name
    content = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**content, **keys}))


def change_weights(folder: Path, change: Callable[[Tensors], Tensors]) -> None:
    """Store other tensors in a checkpoint's place."""
    path = folder / "model.safetensors"
    changed = {name: tensor.clone().contiguous() for name, tensor in change(load_file(path)).items()}
    save_file(changed, path, metadata={"format": "pt"})


def shard(folder: Path) -> None:
    """Store a checkpoint in several files, as save_pretrained() does where it is large."""
    path, count = folder / "model.safetensors", 3
    tensors = load_file(path)
    path.unlink()
    weight_map: dict[str, str] = {}
    for number in range(count):
        name = f"model-{number + 1:05}-of-{count:05}.safetensors"
        part = {key: tensor for index, (key, tensor) in enumerate(tensors.items()) if index % count == number}
        save_file(part, folder / name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, name)
    change_config(folder, "model.safetensors.index.json", metadata={}, weight_map=weight_map)


def load_library(folder: Path, class_name: str) -> Any:
    """Load a checkpoint as transformers' users do: an Auto class by the folder's own config.json, in FP32."""
    head = class_name.removeprefix("Distil").removeprefix("Bert").removesuffix("Model")
    auto = getattr(transformers, f"AutoModel{head}")
    return auto.from_pretrained(folder, dtype=torch.float32).eval()


def encode(folder: Path, texts: Sequence[str], longest: int) -> dict[str, torch.Tensor]:
    """Encode texts with transformers' own tokenizer of a folder, padded."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return dict(tokenizer(list(texts), padding=True, truncation=True, max_length=longest, return_tensors="pt"))


def answer(model: Any, batch: dict[str, torch.Tensor]) -> np.ndarray:
    """Return the first output of a model for the inputs that it takes."""
    takes = {"input_ids", "attention_mask"} | ({"token_type_ids"} if model.config.model_type == "bert" else set())
    with torch.inference_mode():
        return model(**{name: tensor for name, tensor in batch.items() if name in takes})[0].numpy()
