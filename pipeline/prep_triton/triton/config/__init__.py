"""config.pbtxt, one file for each part of the message; `message.py` puts them together."""

from prep_triton.triton.config.message import (
    CONFIG_NAME,
    backend_of,
    check_plans,
    model_config_from_artifact,
    parse_config,
    plan_name,
    render_config,
)

__all__ = [
    "CONFIG_NAME",
    "backend_of",
    "check_plans",
    "model_config_from_artifact",
    "parse_config",
    "plan_name",
    "render_config",
]
