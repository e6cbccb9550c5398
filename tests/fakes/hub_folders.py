"""Folders as the hub has them: a classifier on XLM-R, and a sentence embedder on XLM-R, each with what lies beside."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel

from tests.fakes.architectures import SIZES, change_object, draw_architecture

LABELS = ("negative", "neutral", "positive")
# What old transformers wrote, and new ones ignore.
_OLD_KEYS = {
    "transformers_version": "4.12.5",
    "position_embedding_type": "absolute",
    "output_past": True,
    "use_cache": True,
    "gradient_checkpointing": False,
    "attention_probs_dropout_prob": 0.1,
}
_PROMPTS = {"query": "query: ", "passage": "passage: "}


def write_classifier(folder: Path) -> Path:
    """Write a sentiment classifier: labels, an old buffer, FP16 weights, tokenizer.json beside a .model file."""
    names = {"id2label": dict(enumerate(LABELS)), "label2id": {name: index for index, name in enumerate(LABELS)}}
    draw_architecture(folder, "xlm-roberta", "text-classification", **names)
    change_object(folder / "config.json", problem_type="single_label_classification", **_OLD_KEYS)
    _age_weights(folder, "roberta.embeddings.position_ids")
    _write_beside(folder)
    return folder


def write_reranker(folder: Path) -> Path:
    """Write a reranker of bge-reranker-v2-m3's kind, as sentence-transformers saves one: one label, a sigmoid."""
    draw_architecture(folder, "xlm-roberta", "text-classification", num_labels=1)
    declared = {"version": "4.1.0", "activation_fn": "torch.nn.modules.activation.Sigmoid"}
    change_object(folder / "config.json", sentence_transformers=declared, **_OLD_KEYS)
    _age_weights(folder, "roberta.embeddings.position_ids")
    _write_beside(folder)
    return folder


def write_embedder(folder: Path) -> Path:
    """Write an embedder of multilingual-e5's kind: mean, Normalize, prompts of which none is the default."""
    draw_architecture(folder, "xlm-roberta", "sentence-embedding")
    change_object(folder / "config.json", **_OLD_KEYS)
    return _declare_embedder(folder)


def write_multilingual_minilm(folder: Path, tokenizer_class: str) -> Path:
    """Write an embedder of paraphrase-multilingual-MiniLM's kind: a BERT with XLM-R's vocabulary.

    Its padding token has the id 1, and its config.json says 0, as every BERT's.
    """
    draw_architecture(folder, "xlm-roberta", "sentence-embedding")
    config = json.loads((folder / "config.json").read_text())
    sizes = {key: config[key] for key in SIZES}
    torch.manual_seed(3)
    body = BertModel(BertConfig(**sizes, vocab_size=config["vocab_size"], max_position_embeddings=64))
    body.save_pretrained(folder)
    change_object(folder / "config.json", **_OLD_KEYS)
    change_object(folder / "tokenizer_config.json", tokenizer_class=tokenizer_class)
    return _declare_embedder(folder)


def _declare_embedder(folder: Path) -> Path:
    """Write what sentence-transformers has beside a transformer, and what the hub has."""
    _age_weights(folder, "embeddings.position_ids")
    _write_beside(folder)
    modules = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    content = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(modules.items())
    ]
    width = json.loads((folder / "config.json").read_text())["hidden_size"]
    pooling = {"word_embedding_dimension": width, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
    settings = {"max_seq_length": 64, "do_lower_case": False}
    (folder / "1_Pooling").mkdir()
    for name, written in (
        ("modules.json", content),
        ("1_Pooling/config.json", pooling),
        ("sentence_bert_config.json", settings),
        ("config_sentence_transformers.json", {"prompts": _PROMPTS, "default_prompt_name": None}),
    ):
        (folder / name).write_text(json.dumps(written))
    return folder


def _age_weights(folder: Path, buffer: str) -> None:
    """Store weights as an older transformers did: in FP16, with a buffer of positions."""
    path = folder / "model.safetensors"
    tensors = {name: tensor.half() for name, tensor in load_file(path).items()}
    positions = json.loads((folder / "config.json").read_text())["max_position_embeddings"]
    save_file({**tensors, buffer: torch.arange(positions)[None]}, path, metadata={"format": "pt"})


def _write_beside(folder: Path) -> None:
    """Write what a repository of the hub has beside a checkpoint."""
    (folder / "sentencepiece.bpe.model").write_bytes(b"\n\x0e\n\x05<unk>")
    (folder / ".gitattributes").write_text("*.safetensors filter=lfs diff=lfs merge=lfs -text\n")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    tokens = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "pad_token": "<pad>"}
    mask = {"content": "<mask>", "lstrip": True, "normalized": True, "rstrip": False, "single_word": False}
    (folder / "special_tokens_map.json").write_text(json.dumps({**tokens, "unk_token": "<unk>", "mask_token": mask}))
