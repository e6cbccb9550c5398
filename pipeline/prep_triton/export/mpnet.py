"""MPNet's relative position bias, as a table.

transformers computes the bucket of each distance in the graph, from a logarithm: for distances of 16, 32 and 64 the
last bit decides, in which runtimes differ, and FP16 has coarser ones. Here the bias of every distance is stored, as the
library itself finds it, and the graph looks it up: once for a batch, [heads, sequence, sequence], for all layers.
"""

from types import MethodType
from typing import Any

import torch

# A buffer of the encoder, FP32 [2 * longest - 1, heads]: the bias of each distance, from 1 - longest on.
_TABLE = "bias_by_distance"


def add_bias_table(model: Any, longest: int) -> None:
    """Give an MPNet's encoder the position bias of every distance, as a buffer.

    Args:
        model: The transformers model.
        longest: How many tokens a text may have.
    """
    encoder = model.base_model.encoder
    buckets = encoder.relative_position_bucket(torch.arange(1 - longest, longest))
    with torch.no_grad():
        encoder.register_buffer(_TABLE, encoder.relative_attention_bias(buckets), persistent=False)


def look_up_bias(model: Any) -> None:
    """Let a model that `add_bias_table` has prepared read its position bias there."""
    encoder = model.base_model.encoder
    encoder.compute_position_bias = MethodType(_find_bias, encoder)


def _find_bias(encoder: Any, hidden: Any) -> Any:
    """Return what is added to the scores of every head: [1, heads, sequence, sequence]."""
    table = encoder.get_buffer(_TABLE)
    places = torch.arange(hidden.shape[1], device=hidden.device)
    distances = places[None, :] - places[:, None] + len(table) // 2
    return torch.nn.functional.embedding(distances, table).permute(2, 0, 1)[None]
