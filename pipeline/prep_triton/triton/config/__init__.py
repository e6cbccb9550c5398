"""config.pbtxt, one file for each part of the message; `message.py` puts them together."""

from prep_triton.triton.config.message import (
    backend_of,
    check_plans,
    model_config_from_artifact,
    parse_config,
    render_config,
)

__all__ = [
    "backend_of",
    "check_plans",
    "model_config_from_artifact",
    "parse_config",
    "render_config",
]
