"""config.pbtxt, one file for each part of the message; `message.py` puts them together."""

from prep_triton.triton.config.message import (
    model_config_from_artifact,
    render_config,
)
from prep_triton.triton.config.parse import decode_config, parse_config
from prep_triton.triton.config.resolve import ResolvedServing, resolve_serving

__all__ = [
    "ResolvedServing",
    "decode_config",
    "model_config_from_artifact",
    "parse_config",
    "render_config",
    "resolve_serving",
]
