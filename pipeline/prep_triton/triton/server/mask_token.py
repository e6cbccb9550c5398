"""Which token a text for fill-mask has, as a server's entries say it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prep_triton.tasks import MASK_TOKEN

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig


def find_mask_token(configs: "Iterable[ModelConfig]") -> str:
    """Return the mask token that a post-processor among some entries is told; BERT's where none is."""
    told = (config.parameters["mask_token"].string_value for config in configs if "mask_token" in config.parameters)
    return next(told, MASK_TOKEN)
