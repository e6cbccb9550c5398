"""ModernBERT's own parts of a graph: rotations by position as tables, and two masks, one of them a window.

transformers computes both in the graph. Angles of thousands of radians cannot be FP16 (at position 8191 its step is 8),
so they are turned into sines and cosines here, in FP32 and by transformers' own module, for every position that a text
may have: 2 x 2 tables [positions, head], 8 MiB for 8,192 positions and heads of 64. Its masks hold -3.4e38.
"""

from types import MethodType
from typing import Any

import torch
import transformers

from prep_triton.errors import SourceError
from prep_triton.export.sentence_head import add_mean_pooling, pool_tokens

# `classifier_pooling`; the other one is "cls".
_MEAN = "mean"
_ROTATIONS = ("cos", "sin")
FULL, SLIDING = "full_attention", "sliding_attention"
# The types of RoPE whose angle at a position is the same in a short text and in a long one.
_ROPE_TYPES = ("default", "linear", "llama3", "yarn")


def check_modernbert(config: Any, *, where: str) -> None:
    """Refuse what the library's classes fail with, or compute for each text by its length, which no table holds.

    Raises:
        SourceError: Names the key.
    """
    hint = "compare it with the config.json that the checkpoint was saved with"
    kinds = set(config.layer_types)
    if not kinds <= {FULL, SLIDING}:
        raise SourceError(
            f"config.json of {where} has layer_types {config.layer_types!r:.120}, not {FULL} or {SLIDING} alone",
            hint=hint,
        )
    own = config.hidden_size / config.num_attention_heads
    if (declared := getattr(config, "head_dim", None) or own) != own:
        raise SourceError(
            f"config.json of {where} has head_dim {declared!r:.40}, and its heads are {own:g} wide (hidden_size by "
            "num_attention_heads)",
            hint=hint,
        )
    for kind in sorted(kinds):
        rope = config.rope_parameters[kind] or {}
        name, share = rope.get("rope_type"), rope.get("partial_rotary_factor") or 1.0
        if name not in _ROPE_TYPES or share != 1.0:
            raise SourceError(
                f"config.json of {where} has rope_parameters {rope!r:.160} for {kind}; supported are the types "
                f"{', '.join(_ROPE_TYPES)}, of whole heads",
                hint="choose a checkpoint whose rotations do not depend on the length of the text",
            )


def add_rotary_tables(model: Any, longest: int) -> None:
    """Give a ModernBERT the tables that `simplify_modernbert` reads, as buffers; its answers are as before.

    Args:
        model: The transformers model.
        longest: How many positions there are.
    """
    rotary = model.base_model.rotary_emb
    places = torch.arange(longest)[None, :]
    for kind in _list_kinds(model):
        tables = rotary(torch.zeros(1, dtype=torch.float32), places, kind)
        for name, table in zip(_ROTATIONS, tables, strict=True):
            rotary.register_buffer(f"{kind}_{name}", table[0], persistent=False)


def simplify_modernbert(model: Any, mask_bias: float) -> None:
    """Have a ModernBERT with tables make its own two masks of a mask [batch, sequence], in place.

    Args:
        model: The transformers model.
        mask_bias: What a token that is not attended adds to a score.
    """
    body = model.base_model
    body.mask_bias = mask_bias
    body.forward = MethodType(_answer_tokens, body)
    classifies = isinstance(model, transformers.ModernBertForSequenceClassification)
    if classifies and model.config.classifier_pooling == _MEAN:
        add_mean_pooling(model)
        model.forward = MethodType(_classify_mean, model)


def _list_kinds(model: Any) -> list[str]:
    """Return the kinds of attention that a model's layers have, in one order whatever Python hashes strings to."""
    return sorted(set(model.config.layer_types))


def _answer_tokens(body: Any, input_ids: Any, attention_mask: Any, **_: Any) -> Any:
    """Be ModernBertModel.forward."""
    masks = make_masks(attention_mask, body.config, body.mask_bias)
    length = input_ids.shape[1]
    rotations = {
        kind: tuple(getattr(body.rotary_emb, f"{kind}_{name}")[None, :length] for name in _ROTATIONS)
        for kind in _list_kinds(body)
    }
    hidden = body.embeddings(input_ids=input_ids)
    for layer in body.layers:
        kind = layer.attention_type
        hidden = layer(hidden, attention_mask=masks[kind], position_embeddings=rotations[kind])
    return transformers.modeling_outputs.BaseModelOutput(last_hidden_state=body.final_norm(hidden))


def make_masks(attention_mask: Any, config: Any, mask_bias: float) -> dict[str, Any]:
    """Return what each kind of attention adds to its scores: [batch, 1, 1, sequence], and with a row for each query.

    A window reaches as far to either side as transformers' `sliding_window_bidirectional_overlay` has it, inclusive.

    Args:
        attention_mask: [batch, sequence], 0 for padding.
        config: The transformers configuration object.
        mask_bias: What a token that is not attended adds to a score.
    """
    padding = (attention_mask[:, None, None, :] == 0).to(torch.float32) * mask_bias
    masks = {FULL: padding}
    if SLIDING in config.layer_types:
        places = torch.arange(attention_mask.shape[1], device=attention_mask.device)
        ahead = places[None, :] - places[:, None]
        beyond = (ahead > config.sliding_window) | (ahead < -config.sliding_window)
        masks[SLIDING] = padding + beyond[None, None].to(torch.float32) * mask_bias
    return masks


def _classify_mean(model: Any, input_ids: Any, attention_mask: Any, **_: Any) -> Any:
    """Be ModernBertForSequenceClassification.forward where the mean is classified, with sums that stay FP32."""
    hidden = model.model(input_ids, attention_mask).last_hidden_state
    pooled = pool_tokens(model, hidden, attention_mask)
    return transformers.modeling_outputs.SequenceClassifierOutput(logits=model.classifier(model.head(pooled)))
