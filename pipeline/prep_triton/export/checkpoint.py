"""The torch model of a source: loaded from safetensors, or drawn from a seed. Imports transformers where it is used."""

import logging
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prep_triton.architectures import ARCHITECTURES
from prep_triton.errors import SourceError, find_nearest
from prep_triton.export.folder import GRAPH_KEYS
from prep_triton.export.heads import class_name
from prep_triton.export.sentence_modules import read_modules
from prep_triton.export.source import Source
from prep_triton.export.weights import check_weights, find_weights, load_state_dict
from prep_triton.tasks import TASKS

# Buffers that old checkpoints stored and new ones rebuild.
_IGNORED_KEYS = ("position_ids", "token_type_ids")
# What a checkpoint has for another task than the one that is exported; a body's own weights are never among them.
_OTHER_HEADS = tuple(dict.fromkeys(module for facts in ARCHITECTURES.values() for module in facts.head_modules))
# What a loss function of the training keeps beside the model.
_LOSSES = ("loss.", "loss_fct.", "loss_fn.", "criterion.")
_NOISY_LOGGERS = ("torch", "onnxscript", "onnx_ir", "sentence_transformers")


def load_model(source: Source, folder: Path | None, seed: int) -> Any:
    """Return the source's torch model: FP32, eager attention, evaluation mode, sentence-transformers' modules in it.

    Eager attention exports to the smallest graph: `sdpa` adds IsNaN and Where nodes to every layer.

    Args:
        source: What to load.
        folder: The folder of the checkpoint; None for random weights.
        seed: What random weights are drawn from.

    Raises:
        SourceError: The configuration or the weights cannot be used.
    """
    with silence_vendors():
        config = build_config(source)
        model = _draw_model(source, config, seed) if folder is None else _read_model(source, config, folder)
    if TASKS[source.task].pools_in_graph:
        from prep_triton.export.sentence_head import attach_head

        attach_head(model, read_modules(folder, where=source.label), where=source.label)
    model.eval()
    _check_finite(model, source)
    return model


def build_config(source: Source) -> Any:
    """Return the transformers configuration of a source.

    Raises:
        SourceError: Its config.json cannot be used.
    """
    import transformers

    config_class = getattr(transformers, f"{ARCHITECTURES[source.architecture].class_prefix}Config")
    try:
        config = config_class.from_dict({key: source.config[key] for key in GRAPH_KEYS if key in source.config})
    except Exception as err:  # its validators raise many types
        raise _unusable_config(source, err) from err
    if TASKS[source.task].text_form == "question" and config.num_labels != 2:
        raise SourceError(
            f"config.json of {source.label} declares {config.num_labels} labels; a question-answering head has two "
            "numbers a token, for start and end",
            hint="compare num_labels and id2label with the config.json that the checkpoint was saved with",
        )
    if TASKS[source.task].has_labels and config.num_labels < 1:
        raise SourceError(
            f"config.json of {source.label} declares no labels, and a {source.task} head answers one number for each",
            hint="compare num_labels and id2label with the config.json that the checkpoint was saved with",
        )
    config._attn_implementation = "eager"
    for key in (ARCHITECTURES[source.architecture].activation_key, "classifier_activation"):
        _check_activation(source, config, key)
    if source.architecture == "modernbert":
        from prep_triton.export.modernbert import check_modernbert

        check_modernbert(config, where=source.label)
    _check_heads(source, config)
    return config


def _check_heads(source: Source, config: Any) -> None:
    """Refuse heads that do not share the width: ELECTRA's class takes them, and its layers do not fit each other."""
    if config.hidden_size % config.num_attention_heads:
        raise SourceError(
            f"config.json of {source.label} cannot be used: the hidden size ({config.hidden_size}) is not a multiple "
            f"of the number of attention heads ({config.num_attention_heads})",
            hint="compare it with the config.json that the checkpoint was saved with",
        )


def _check_activation(source: Source, config: Any, key: str) -> None:
    from transformers.activations import ACT2FN

    name = getattr(config, key, "gelu")  # the second one is ModernBERT's alone
    if not isinstance(name, str) or name not in ACT2FN:
        nearest = find_nearest(str(name), list(ACT2FN))
        raise SourceError(
            f"config.json of {source.label} has {key} {name!r:.40}, which transformers does not know",
            hint=f"did you mean '{nearest[0]}'?"
            if nearest
            else "compare it with the config.json that it was saved with",
        )


def _unusable_config(source: Source, err: Exception) -> SourceError:
    reason = str(err).strip().splitlines()[-1].strip() if str(err).strip() else type(err).__name__
    hint = "compare it with the config.json that the checkpoint was saved with"
    return SourceError(f"config.json of {source.label} cannot be used: {reason}", hint=hint)


def _model_arguments(source: Source) -> dict[str, Any]:
    facts = ARCHITECTURES[source.architecture]
    is_body = class_name(source.architecture, source.task) == f"{facts.class_prefix}Model"
    return dict(facts.body_arguments) if is_body else {}


def _draw_model(source: Source, config: Any, seed: int) -> Any:
    import torch
    import transformers

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model = getattr(transformers, class_name(source.architecture, source.task))(
                config, **_model_arguments(source)
            )
        except Exception as err:  # sizes that do not fit together raise many types
            raise _unusable_config(source, err) from err
        _draw_constants(model, float(getattr(config, "initializer_range", 0.02)))
    return model.float()


def _draw_constants(model: Any, deviation: float) -> None:
    """Move every bias from 0 and every LayerNorm scale from 1, where transformers starts them.

    No trained checkpoint has such, onnxruntime merges equal ones, and a graph that lost its biases would pass for a
    right one.
    """
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter), alpha=deviation)


def _read_model(source: Source, config: Any, folder: Path) -> Any:
    import torch
    import transformers

    files = find_weights(folder, where=source.label)
    check_weights(files, where=source.label)
    tensors = load_state_dict(files, where=source.label)
    model_class = getattr(transformers, class_name(source.architecture, source.task))
    try:
        model, info = model_class.from_pretrained(
            folder if tensors is None else None,
            config=config,
            state_dict=tensors,
            dtype=torch.float32,  # transformers 5 keeps the stored type otherwise
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # `_check_loaded` refuses them, and says which
            **_model_arguments(source),
        )
    except Exception as err:  # shapes, types, safetensors: each raises its own
        reason = str(err).strip().splitlines()[0] if str(err).strip() else type(err).__name__
        raise SourceError(
            f"the weights of {source.label} cannot be loaded: {reason}",
            hint="check that config.json and the weights belong together",
        ) from err
    _check_loaded(source, model, info)
    return model.float()


def _check_loaded(source: Source, model: Any, info: Mapping[str, Any]) -> None:
    """Refuse to export what the checkpoint does not have: transformers fills it with random numbers."""
    if info["mismatched_keys"]:
        key, stored, expected = sorted(info["mismatched_keys"])[0]
        raise SourceError(
            f"the weights of {source.label} do not fit its config.json: {key} is {tuple(stored)}, "
            f"expected {tuple(expected)}",
            hint="check that config.json and the weights belong together",
        )
    _check_left_over(source, model, info["unexpected_keys"])
    missing = sorted(key for key in info["missing_keys"] if not key.endswith(_IGNORED_KEYS))
    if not missing:
        return
    body = f"{model.base_model_prefix}."
    is_body = "Model" in TASKS[source.task].class_suffixes
    if not is_body and not any(key.startswith(body) and ".pooler." not in key for key in missing):
        if source.config.get("tie_word_embeddings") is False and all(
            key.startswith(ARCHITECTURES[source.architecture].decoder) for key in missing
        ):
            raise SourceError(
                f"config.json of {source.label} says that its decoder is not the embedding (tie_word_embeddings is "
                f"false), and {_list_some(missing)} are not among its weights",
                hint='write "tie_word_embeddings": true into config.json if it was trained so, as BERT is; else copy '
                "the checkpoint again",
            )
        trained_for = source.config.get("architectures")
        raise SourceError(
            f"{source.label} has no {source.task} head: {_list_some(missing)} are not among its weights "
            f"(its architectures: {trained_for})",
            hint="choose the --task it was trained for, a checkpoint that was trained for this one, "
            "or --weights random for a benchmark",
        )
    raise SourceError(
        f"the weights of {source.label} are incomplete: {_list_some(missing)} are missing",
        hint="copy or download the checkpoint again, with the config.json that it was saved with",
    )


def _check_left_over(source: Source, model: Any, unexpected: Collection[str]) -> None:
    """Refuse weights that the model has no place for, but for another head's: half a model has perfect parity too."""
    body = f"{model.base_model_prefix}."
    names = {key: key.removeprefix(body) for key in unexpected}
    # More of a head that the model itself has is not another task's: cls. alone has several beside each other.
    other = tuple(head for head in _OTHER_HEADS if head == "cls." or getattr(model, head.rstrip("."), None) is None)
    left_over = sorted(
        key
        for key, name in names.items()
        if not name.startswith((*other, *_LOSSES)) and not name.endswith(_IGNORED_KEYS)
    )
    if left_over:
        key = ARCHITECTURES[source.architecture].layer_key
        layers = f", with {key} {source.config[key]}," if key in source.config else ""
        raise SourceError(
            f"config.json of {source.label}{layers} has no place for {len(left_over)} of its weights: "
            f"{_list_some(left_over)}",
            hint="check that config.json and the weights belong together (the number of layers first)",
        )


def _list_some(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return ", ".join(keys[:3]) + more


def _check_finite(model: Any, source: Source) -> None:
    for name, parameter in model.named_parameters():
        # One pass without a temporary of the parameter's size: min and max show any NaN or infinity.
        low, high = parameter.detach().aminmax()
        if not (low.isfinite() and high.isfinite()):
            raise SourceError(
                f"the weights of {source.label} hold NaN or infinite values, first in {name}",
                hint="copy or download the checkpoint again",
            )


@contextmanager
def silence_vendors() -> Iterator[None]:
    """Keep torch's and transformers' bars, tables and warnings from the terminal: what matters is an error here."""
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    had_bars = transformers_logging.is_progress_bar_enabled()
    loggers = [logging.getLogger(name) for name in _NOISY_LOGGERS]
    levels = [logger.level for logger in loggers]
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if had_bars:
            transformers_logging.enable_progress_bar()
