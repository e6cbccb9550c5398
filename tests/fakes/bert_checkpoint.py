"""A tiny BERT checkpoint with a vocabulary, written without torch."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

CONFIG: dict[str, Any] = {
    "model_type": "bert",
    "architectures": ["BertModel"],
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "hidden_act": "gelu",
    "vocab_size": 100,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
VOCABULARY = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *_LETTERS,
    *(f"##{letter}" for letter in _LETTERS),
    *".,?!'-0123456789",
    *("the", "a", "of", "and", "to", "in", "is"),
]


def write_checkpoint(folder: Path, *, seed: int = 0) -> Path:
    """Write config.json, model.safetensors and vocab.txt, as save_pretrained() would."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    words = [*VOCABULARY, *(f"[unused{n}]" for n in range(CONFIG["vocab_size"] - len(VOCABULARY)))]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    draw = np.random.default_rng(seed)
    tensors = {
        name: np.ones(shape, np.float32)
        if name.endswith("LayerNorm.weight")
        else draw.normal(0.0, 0.1, shape).astype(np.float32)
        for name, shape in _shapes().items()
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def write_wordpiece(folder: Path) -> None:
    """Write a tokenizer as many an ELECTRA has it: vocab.txt as BERT has it, under a name of its own."""
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "ElectraTokenizer", "do_lower_case": True})
    )


def _shapes() -> dict[str, tuple[int, ...]]:
    hidden, inner = CONFIG["hidden_size"], CONFIG["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (CONFIG["vocab_size"], hidden),
        "embeddings.position_embeddings.weight": (CONFIG["max_position_embeddings"], hidden),
        "embeddings.token_type_embeddings.weight": (CONFIG["type_vocab_size"], hidden),
    }
    linears = {"pooler.dense": (hidden, hidden)}
    norms = ["embeddings.LayerNorm"]
    for layer in range(CONFIG["num_hidden_layers"]):
        place = f"encoder.layer.{layer}"
        linears |= {f"{place}.attention.self.{role}": (hidden, hidden) for role in ("query", "key", "value")}
        linears[f"{place}.attention.output.dense"] = (hidden, hidden)
        linears[f"{place}.intermediate.dense"] = (inner, hidden)
        linears[f"{place}.output.dense"] = (hidden, inner)
        norms += [f"{place}.attention.output.LayerNorm", f"{place}.output.LayerNorm"]
    for name, (rows, columns) in linears.items():
        shapes |= {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}
    for name in norms:
        shapes |= {f"{name}.weight": (hidden,), f"{name}.bias": (hidden,)}
    return shapes
