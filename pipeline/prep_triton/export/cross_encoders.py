"""A cross-encoder of sentence-transformers: how its files say that it is one, and what it makes scores with.

Read off the files, without the library; an integration test holds the answers against it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prep_triton.artifact import Activation
from prep_triton.errors import SourceError
from prep_triton.export.sentence_transformers import MODULES_NAME, PROMPTS_NAME, find_kind, list_modules, load_object

_KIND = "CrossEncoder"
# What CrossEncoder writes into config.json, now and before version 4.
_CONFIG_KEY, _EARLIER_KEY = "sentence_transformers", "sbert_ce_default_activation_function"
_ACTIVATION_KEY = "activation_fn"
_ACTIVATIONS: Mapping[str, Activation] = {"Identity": "none", "Sigmoid": "sigmoid", "Softmax": "softmax"}
_TRUSTED = "torch."  # of other places the library imports nothing, and takes its default


def is_cross_encoder(config: Mapping[str, Any], folder: Path | None = None, *, where: str = "") -> bool:
    """Whether sentence-transformers' CrossEncoder wrote a checkpoint: it scores a pair of texts.

    Args:
        config: The content of config.json, which said so before version 6.
        folder: The checkpoint, whose config_sentence_transformers.json says so since; None where there is none.
        where: The model in the user's words, for the message.

    Raises:
        SourceError: A sentence-transformers file is damaged.
    """
    return _CONFIG_KEY in config or _EARLIER_KEY in config or find_kind(folder, where=where) == _KIND


def find_pair_activation(config: Mapping[str, Any], folder: Path | None, count: int, *, where: str) -> Activation:
    """Return what CrossEncoder makes scores of the logits with: as declared, else by the number of labels.

    Args:
        config: The content of config.json.
        folder: The checkpoint; None where there is none.
        count: How many labels there are.
        where: The model in the user's words, for the message.

    Raises:
        SourceError: It is one that prep does not serve, or a file is damaged.
    """
    declared = _find_declared(config, folder, where)
    if not declared.startswith(_TRUSTED):
        return "sigmoid" if count == 1 else "none"
    try:
        return _ACTIVATIONS[declared.rsplit(".", 1)[-1]]
    except KeyError:
        raise SourceError(
            f"{where} makes scores with {declared:.80}, and prep serves {', '.join(_ACTIVATIONS)}",
            hint=f'write "{_CONFIG_KEY}": {{"{_ACTIVATION_KEY}": "torch.nn.modules.linear.Identity"}} into config.json '
            "for the logits themselves, and export it again",
        ) from None


def check_cross_encoder(folder: Path | None, *, where: str) -> None:
    """Refuse a cross-encoder that is more than a classifier of its transformer's, or puts a prompt before its texts.

    Raises:
        SourceError: It is, or a file is damaged.
    """
    if folder is None or find_kind(folder, where=where) != _KIND:
        return
    kinds = [kind for kind, _ in list_modules(folder, where)]
    if kinds != ["Transformer"]:
        raise SourceError(
            f"{MODULES_NAME} of {where} declares {', '.join(kinds) or 'no module'}, and prep exports a cross-encoder "
            "that is one Transformer with a head for sequence classification",
            hint="choose a cross-encoder that is saved as such, or serve its transformer by token ids",
        )
    content = load_object(folder / PROMPTS_NAME, where)
    name = content.get("default_prompt_name")
    if name and (content.get("prompts") or {}).get(name):
        raise SourceError(
            f"{where} puts the prompt {name!r:.40} before its texts, which prep does for embeddings alone",
            hint=f"remove default_prompt_name from its {PROMPTS_NAME}, and let clients send the prompt",
        )


def _find_declared(config: Mapping[str, Any], folder: Path | None, where: str) -> str:
    """Return the activation's place in Python, in the order in which the library looks; empty where there is none."""
    beside = folder / PROMPTS_NAME if folder else None
    own = load_object(beside, where) if beside and beside.is_file() else {}
    nested = config.get(_CONFIG_KEY)
    for content, key in (
        (own, _ACTIVATION_KEY),
        (nested if isinstance(nested, dict) else {}, _ACTIVATION_KEY),
        (config, _EARLIER_KEY),
    ):
        if value := content.get(key):
            return str(value)
    return ""
