"""Tiny rerankers and an NLI model, laid out as the hub has them, with drawn weights."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig, BertForSequenceClassification

from tests.fakes.bert_checkpoint import CONFIG, VOCABULARY

SIZES: dict[str, Any] = {
    "vocab_size": CONFIG["vocab_size"],
    "max_position_embeddings": 64,
    "initializer_range": 0.4,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
IDENTITY = "torch.nn.modules.linear.Identity"
NLI_LABELS = {0: "contradiction", 1: "entailment", 2: "neutral"}


def write_pair_model(folder: Path, *, truncation: str | None = None, extra: dict[str, Any], **config: Any) -> None:
    """Write a checkpoint as save_pretrained() does, with its tokenizer.json; `extra` goes into config.json.

    Args:
        folder: Where to.
        truncation: The strategy that tokenizer.json declares, in its words.
        extra: Keys of config.json that transformers does not know.
        config: Arguments of BertConfig.
    """
    torch.manual_seed(5)
    BertForSequenceClassification(BertConfig(**SIZES, **config)).save_pretrained(folder)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **extra}))
    words = [*VOCABULARY, *(f"[unused{n}]" for n in range(CONFIG["vocab_size"] - len(VOCABULARY)))]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 64}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    if truncation:
        from transformers import AutoTokenizer

        backend = AutoTokenizer.from_pretrained(str(folder)).backend_tokenizer
        backend.enable_truncation(64, strategy=truncation)
        backend.save(str(folder / "tokenizer.json"))


def write_reranker(folder: Path) -> None:
    """Write what cross-encoder/ms-marco-MiniLM-L6-v2 is: one label, scored by the logit itself."""
    write_pair_model(folder, extra={"sbert_ce_default_activation_function": IDENTITY}, num_labels=1)


def write_nli(folder: Path, *, truncation: str | None = None) -> None:
    """Write an NLI model as transformers saves it: three labels, and softmax by its pipeline."""
    numbers = {name: index for index, name in NLI_LABELS.items()}
    write_pair_model(folder, truncation=truncation, extra={}, id2label=NLI_LABELS, label2id=numbers)
