"""A checkpoint folder: config.json and a WordPiece vocabulary; its weights are in `weights.py`.

Everything here is cheap: neither torch nor transformers is imported.
"""

import hashlib
import json
import shlex
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from prep_triton.architectures import ARCHITECTURES, Architecture, ArchitectureFacts, find_architecture, list_titles
from prep_triton.errors import SourceError, find_nearest
from prep_triton.export.sentence_transformers import (
    MODULES_NAME,
    PROMPTS_NAME,
    TRANSFORMER_PATTERN,
    find_nested_transformer,
    list_declaring_files,
    nested_transformer,
)
from prep_triton.export.weights import (
    INDEX_NAME,
    PICKLE_INDEX_NAME,
    PICKLE_NAME,
    WEIGHTS_NAME,
    find_weights,
    has_weights,
)
from prep_triton.files import digest_file, load_json
from prep_triton.layout import TOKENIZER_NAME

CONFIG_NAME = "config.json"
VOCABULARY_NAME = "vocab.txt"
# All that a tokenizer class of transformers may read: tokenizer.json, its versioned forms, and tokenizer_config.json.
TOKENIZER_FILES = (
    *("tokenizer*.json", "special_tokens_map.json", "added_tokens.json"),
    *(VOCABULARY_NAME, "vocab.json", "merges.txt", "*.model"),
)

# What tokenizers that are not BERT's keep a vocabulary in where they have no tokenizer.json.
_SLOW_VOCABULARIES = ("*.model", "vocab.json")
_CONVERT_VOCABULARY = (
    "from transformers import AutoTokenizer; folder = {folder!r}; "
    "AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
)

# All of a checkpoint that an export reads, and the weights that stand in for safetensors where there are none.
CHECKPOINT_FILES = (
    *(CONFIG_NAME, WEIGHTS_NAME, INDEX_NAME, "model-*.safetensors"),
    *TOKENIZER_FILES,
    *(MODULES_NAME, PROMPTS_NAME, TRANSFORMER_PATTERN),
    # A module's weights as pickle too, whatever the transformer has: it is small, and may have no others.
    *(f"[0-9]*_*/{name}" for name in (CONFIG_NAME, WEIGHTS_NAME, PICKLE_NAME)),
)
PICKLE_FILES = (PICKLE_NAME, PICKLE_INDEX_NAME, "pytorch_model-*.bin")

# What of config.json decides the graph and its answers. Everything else is how transformers runs or stores a model
# (return_dict, output_attentions, torchscript, dtype, use_cache, ...), and reaches no class of it.
_SIZE_KEYS = (
    *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
    *("max_position_embeddings", "type_vocab_size", "dim", "n_layers", "n_heads", "hidden_dim"),
    *("embedding_size", "relative_attention_num_buckets"),
    *("local_attention", "global_attn_every_n_layers"),
)
# ModernBERT's own; `sparse_prediction` chooses what a loss sees, the others how it runs.
_MODERNBERT_KEYS = (
    *("hidden_activation", "norm_eps", "norm_bias", "attention_bias", "mlp_bias", "decoder_bias"),
    *("classifier_pooling", "classifier_bias", "classifier_activation", "initializer_cutoff_factor"),
    *("layer_types", "sliding_window", "head_dim"),
    *("rope_parameters", "rope_scaling", "global_rope_theta", "local_rope_theta"),
)
GRAPH_KEYS = (
    *_SIZE_KEYS,
    *("hidden_act", "activation", "layer_norm_eps", "initializer_range", "pad_token_id", "sinusoidal_pos_embds"),
    *("id2label", "label2id", "num_labels", "problem_type", "tie_word_embeddings"),
    *_MODERNBERT_KEYS,
)


def load_config(folder: Path, *, where: str) -> dict[str, Any]:
    """Load the content of a folder's config.json.

    Raises:
        SourceError: It is missing, unreadable, or not a JSON object.
    """
    path = folder / CONFIG_NAME
    try:
        content = load_json(path)
    except FileNotFoundError as err:
        if nested := find_nested_transformer(folder, where=where):
            raise nested_transformer(folder, nested, where) from err
        raise SourceError(f"{where} has no {CONFIG_NAME}", hint="name the folder that save_pretrained() wrote") from err
    except OSError as err:
        raise SourceError(
            f"{path} cannot be read: {err.strerror or err}", hint="check its permissions, or copy the checkpoint again"
        ) from err
    except ValueError as err:
        raise SourceError(f"{CONFIG_NAME} of {where} is not JSON: {err}", hint="copy the checkpoint again") from err
    if not isinstance(content, dict):
        raise SourceError(
            f"{CONFIG_NAME} of {where} holds a JSON {type(content).__name__}, expected an object",
            hint="copy the checkpoint again",
        )
    return content


def architecture_from_config(config: Mapping[str, Any], *, where: str) -> Architecture:
    """Return the architecture of a configuration.

    Raises:
        SourceError: It is not an encoder of a supported architecture.
    """
    model_type = config.get("model_type")
    if model_type is None:
        kind = _guess_model_type(config)
        raise SourceError(
            f"{CONFIG_NAME} of {where} has no model_type, which says what the weights are",
            hint=f'add "model_type": "{kind}" to it if that is what the checkpoint is',
        )
    architecture = next((name for name in ARCHITECTURES if name == model_type), None)
    if architecture is None:
        raise _unsupported_architecture(config, str(model_type), where)
    _check_code(config, where)
    if key := next((key for key in ("is_decoder", "add_cross_attention") if config.get(key)), None):
        raise SourceError(
            f"{where} is configured as a decoder ({key}); supported are encoders",
            hint=f"choose an encoder; set {key} to false only if the weights were trained as one, for a decoder's "
            "tokens see no later ones, and its answers are others",
        )
    # transformers 5 ignores this key and would compute absolute positions without a word.
    position = config.get("position_embedding_type", "absolute")
    if position != "absolute":
        raise SourceError(
            f"{where} has position_embedding_type '{position}'; supported is 'absolute'",
            hint="choose a checkpoint with absolute positions",
        )
    if config.get("pruned_heads"):
        raise SourceError(
            f"{where} has pruned attention heads, which transformers {version('transformers')} no longer loads",
            hint="choose a checkpoint without pruned_heads in its config.json",
        )
    _check_sizes(config, architecture, where)
    if config.get("quantization_config"):
        raise SourceError(
            f"{where} has quantized weights; supported are floating-point ones",
            hint="export the checkpoint it was quantized from, then choose a precision with prep",
        )
    return architecture


def _check_sizes(config: Mapping[str, Any], architecture: Architecture, where: str) -> None:
    """Refuse sizes that are none, and those that the architecture's classes take and fail with."""
    facts = ARCHITECTURES[architecture]
    for key in _SIZE_KEYS:
        size = config.get(key, 1)
        # Where there are no token types, no class reads how many there are.
        least = 1 if key != "type_vocab_size" or facts.has_token_types else 0
        if isinstance(size, bool) or not isinstance(size, int) or size < least:
            raise SourceError(
                f"{CONFIG_NAME} of {where} has {key} {size!r:.40}, expected a whole number of {least} or more",
                hint="compare it with the config.json that the checkpoint was saved with",
            )
    _check_positions(config, facts, where)
    for key, least in facts.least_sizes.items():
        if config.get(key, least) < least:
            raise SourceError(
                f"{CONFIG_NAME} of {where} has {key} {config[key]}; {facts.title}'s classes read {least}, whatever it "
                "says",
                hint="choose a checkpoint that was trained with them",
            )


def _check_positions(config: Mapping[str, Any], facts: ArchitectureFacts, where: str) -> None:
    """Refuse a padding id that positions cannot be counted from: transformers fails with it, or has none left."""
    if not facts.positions_follow_padding or facts.padding_id is not None or "pad_token_id" not in config:
        return
    pad, limit = config["pad_token_id"], config.get("max_position_embeddings", 512)
    if isinstance(pad, bool) or not isinstance(pad, int) or not 0 <= pad < limit - 1:
        raise SourceError(
            f"{CONFIG_NAME} of {where} has pad_token_id {pad!r:.40}; {facts.title} counts positions from it, and has "
            f"{limit} of them (max_position_embeddings)",
            hint="write the max_position_embeddings that it was saved with, which is 514 in most"
            if isinstance(limit, int) and pad == 1
            else "write the id of its tokenizer's <pad>, which is 1 in most",
        )


def _unsupported_architecture(config: Mapping[str, Any], model_type: str, where: str) -> SourceError:
    """Return which architectures there are, and which of them a checkpoint meant or is nearest to."""
    code = ", whose code it brings itself (auto_map)" if config.get("auto_map") else ""
    message = f"{where} is a '{model_type:.60}' model{code}; supported are {', '.join(ARCHITECTURES)}"
    kind = _guess_model_type(config)
    classes = config.get("architectures")
    named = str(classes[0]) if isinstance(classes, list) and classes else ""
    if find_architecture(named) and not code:
        return SourceError(message, hint=f'write "model_type": "{kind}" into its {CONFIG_NAME}: it names {named:.60}')
    if not (nearest := find_nearest(model_type, ARCHITECTURES)):
        return SourceError(message, hint=f"choose a checkpoint of {list_titles()} (model_type in its {CONFIG_NAME})")
    return SourceError(
        message,
        hint=f"the nearest is {nearest[0]}: choose a checkpoint with that model_type, trained for the same task",
    )


def _check_code(config: Mapping[str, Any], where: str) -> None:
    """Refuse a model whose own code makes its answers: transformers' class would load its weights and answer others."""
    declared = config.get("auto_map")
    classes = declared if isinstance(declared, dict) else {}
    if name := next((name for name in sorted(classes) if name.startswith(("AutoModel", "AutoConfig"))), None):
        raise SourceError(
            f"{where} brings code of its own for its model (auto_map: {name} is {classes[name]!r:.80}), which prep "
            "does not run",
            hint="choose a checkpoint that runs without trust_remote_code; remove auto_map from its "
            f"{CONFIG_NAME} only if that code computes what transformers' own class does",
        )


def _guess_model_type(config: Mapping[str, Any]) -> str:
    named = config.get("architectures")
    first = str(named[0]) if isinstance(named, list) and named else ""
    return find_architecture(first) or ("distilbert" if "n_layers" in config else "bert")


def find_vocabulary(folder: Path, *, where: str) -> Path:
    """Return tokenizer.json, or vocab.txt where that is all there is.

    Raises:
        SourceError: There is neither.
    """
    for name in (TOKENIZER_NAME, VOCABULARY_NAME):
        if (folder / name).is_file():
            return folder / name
    slow = next((path.name for pattern in _SLOW_VOCABULARIES for path in sorted(folder.glob(pattern))), None)
    if slow:
        raise SourceError(
            f"{where} has its vocabulary in {slow} only; prep reads {TOKENIZER_NAME} and {VOCABULARY_NAME}",
            hint=f"have transformers write {TOKENIZER_NAME} beside it (for a .model file pip install sentencepiece "
            f"protobuf): python -c {shlex.quote(_CONVERT_VOCABULARY.format(folder=str(folder)))}",
        )
    raise SourceError(
        f"vocabulary missing: {where} has neither {TOKENIZER_NAME} nor {VOCABULARY_NAME}",
        hint="copy the tokenizer's files of the checkpoint beside its weights",
    )


def digest_folder(folder: Path, *, where: str) -> str:
    """Return the SHA-256 over everything of a folder that decides the export.

    Raises:
        SourceError: Weights or vocabulary are missing.
    """
    find_vocabulary(folder, where=where)
    files = [folder / CONFIG_NAME, *find_weights(folder, where=where), *_list_tokenizer(folder)]
    return _digest_files([*files, *list_declaring_files(folder)], where)


def digest_checkpoint(folder: Path, *, where: str) -> str:
    """Return the SHA-256 over everything of a folder that decides what a graph of it means; not all need be there.

    Raises:
        SourceError: It cannot be read, or lacks a part of its weights.
    """
    weights = find_weights(folder, where=where) if has_weights(folder) else ()
    files = [folder / CONFIG_NAME, *weights, *_list_tokenizer(folder), *list_declaring_files(folder)]
    return _digest_files(files, where)


def digest_tokenizer(folder: Path, *, where: str) -> str:
    """Return the SHA-256 over everything of a folder that decides its tokenizer.

    Raises:
        SourceError: It has no vocabulary, or cannot be read.
    """
    find_vocabulary(folder, where=where)
    config = [folder / CONFIG_NAME] if (folder / CONFIG_NAME).is_file() else []
    return _digest_files([*config, *_list_tokenizer(folder)], where)


def _list_tokenizer(folder: Path) -> list[Path]:
    return sorted({path for pattern in TOKENIZER_FILES for path in folder.glob(pattern) if path.is_file()})


def _digest_files(files: Iterable[Path], where: str) -> str:
    try:
        digests = [f"{path.name}:{digest_file(path)}" for path in files]
    except OSError as err:
        raise SourceError(f"{where} cannot be read: {err}", hint="check the permissions of its files") from err
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def digest_config(config: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a configuration, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
