"""A tiny checkpoint of each architecture, with a tokenizer of its kind, laid out as the hub has them.

Another architecture is one row of `TINY`. BERT and DistilBERT have their own tests.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
import transformers
from filelock import FileLock
from prep_triton.architectures import Architecture
from prep_triton.artifact import OnnxModel
from prep_triton.export.heads import class_name
from prep_triton.export.onnx import export_model
from prep_triton.spec import ModelSpec
from prep_triton.tasks import TASK_NAMES, TASKS, Task
from prep_triton.workspace import Workspace

from tests.fakes.bert_checkpoint import write_wordpiece
from tests.fakes.mpnet_tokenizer import write_mpnet
from tests.fakes.subword import write_byte_level, write_modern, write_unigram

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


@dataclass(frozen=True)
class TinyArchitecture:
    """What is drawn of one architecture.

    Args:
        config: Keys of config.json; `vocab_size` is the tokenizer's. Three layers, so that one is repeated.
        write_tokenizer: Writes the tokenizer's files into a folder.
        tasks: The tasks that transformers has a head for.
        repeats_layers: Whether two layers are traced for all of them.
        repeated_at: With how many layers one is repeated: five where two kinds alternate.
        served: The tasks whose text entries run on a real server in the tests.
    """

    config: Mapping[str, Any]
    write_tokenizer: Callable[[Path], None]
    tasks: tuple[Task, ...] = TASK_NAMES
    repeats_layers: bool = True
    repeated_at: int = 3
    served: tuple[Task, ...] = ("token-classification",)


# BERT's sizes, as most have them.
SIZES: Mapping[str, Any] = MappingProxyType(
    {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "hidden_act": "gelu",
        "initializer_range": 0.3,
    }
)
_ROBERTA = {
    **SIZES,
    "max_position_embeddings": 66,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "bos_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
}
# As answerdotai/ModernBERT-base writes them, keys of no class of transformers 5 among them.
_MODERN = {
    **SIZES,
    "max_position_embeddings": 66,
    "global_attn_every_n_layers": 2,
    "global_rope_theta": 160000.0,
    "local_rope_theta": 10000.0,
    "local_attention": 8,
    "hidden_activation": "gelu",
    "classifier_pooling": "mean",
    "position_embedding_type": "absolute",
    "reference_compile": None,
    "sparse_prediction": False,
    "unk_token_id": 400,
    "cls_token_id": 401,
    "bos_token_id": 401,
    "sep_token_id": 402,
    "eos_token_id": 402,
    "pad_token_id": 403,
}

TINY: Mapping[Architecture, TinyArchitecture] = MappingProxyType(
    {
        "roberta": TinyArchitecture(_ROBERTA, write_byte_level, served=("token-classification", "question-answering")),
        "xlm-roberta": TinyArchitecture(_ROBERTA, write_unigram),
        "camembert": TinyArchitecture(
            {**_ROBERTA, "bos_token_id": 5, "eos_token_id": 6},
            partial(write_unigram, is_camembert=True),
            served=("fill-mask",),
        ),
        "mpnet": TinyArchitecture(
            {**SIZES, "max_position_embeddings": 66},
            write_mpnet,
        ),
        "electra": TinyArchitecture({**SIZES, "embedding_size": 16, "max_position_embeddings": 64}, write_wordpiece),
        "modernbert": TinyArchitecture(
            _MODERN, write_modern, repeated_at=5, served=("token-classification", "fill-mask")
        ),
    }
)


def draw_architecture(folder: Path, architecture: Architecture, task: Task, **keys: Any) -> Path:
    """Save a model of a task's class with seeded weights, as save_pretrained() does, and its tokenizer.

    Args:
        folder: The checkpoint's folder to be.
        architecture: A row of `TINY`.
        task: Decides the class.
        keys: Of config.json, beside the row's.
    """
    row = TINY[architecture]
    folder.mkdir(parents=True)
    row.write_tokenizer(folder)
    vocabulary = transformers.AutoTokenizer.from_pretrained(folder).backend_tokenizer.get_vocab()
    labels = {"id2label": dict(enumerate(TAGS))} if task == "token-classification" else {}
    kind = getattr(transformers, class_name(architecture, task))
    config = kind.config_class(**{**row.config, "vocab_size": max(vocabulary.values()) + 1, **labels, **keys})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = kind(config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() == 1:  # no bias of 0 and no scale of 1: a lost one shows
                    parameter.add_(torch.randn_like(parameter), alpha=0.2)
    model.save_pretrained(folder)
    return folder


class TinyExports:
    """Checkpoints of `TINY` and their exports, each made once for every test and every process of a run.

    Args:
        root: A folder that all of them share. prep's own workspace keeps the exports, and its locks the peace.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.workspace = Workspace(root / "workspace")

    def folder(self, architecture: Architecture, task: Task) -> Path:
        """Return the checkpoint of a head."""
        folder = self.root / "checkpoints" / f"{architecture}-{task}"
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not folder.is_dir():
                draw_architecture(folder, architecture, task, **_choose_layers(architecture, task))
        return folder

    def export(self, architecture: Architecture, task: Task) -> OnnxModel:
        """Return the export of a head. The task is found by itself, but for a body: it is saved for its tokens."""
        choice = "sentence-embedding" if TASKS[task].pools_in_graph else "auto"
        spec = ModelSpec(model=str(self.folder(architecture, task)), task=choice, name=f"{architecture}-{task}")
        return export_model(spec, self.workspace).artifact


def _choose_layers(architecture: Architecture, task: Task) -> dict[str, int]:
    """Return one layer for heads whose body other heads have with all: tracing takes a second a layer.

    Where layers alternate, one is not what two are.
    """
    has_all = TASKS[task].answers_embedding or TASKS[task].scores_texts or TINY[architecture].repeated_at > 3
    return {} if has_all else {"num_hidden_layers": 1}


def change_object(path: Path, **keys: Any) -> None:
    """Change keys of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


def list_heads() -> list[tuple[Architecture, Task]]:
    """Return each architecture with each task that it has a head for; a classifier of pairs is one of texts."""
    heads = [task for task, facts in TASKS.items() if not facts.takes_pairs]
    return [(architecture, task) for architecture, row in TINY.items() for task in heads if task in row.tasks]
