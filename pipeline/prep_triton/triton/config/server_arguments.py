"""What the server must be started with for an entry to be served as it was asked for; nothing here touches a disk."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prep_triton.server_arguments import RESOURCE_ARGUMENT, merge_server_arguments
from prep_triton.spec import ServingSpec

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

# The rate limiter is off by default, and then weights and resources are ignored. No --rate-limit-resource: the server
# has as many copies of a resource as the neediest instance takes, while naming one makes every other that is not
# named unavailable (core, src/rate_limiter.cc, ParseAndValidateExplicitResources).
RATE_LIMIT = "--rate-limit=execution_count"
# The server has no cache unless it is asked for one; BERT's answers at 384 tokens take about 1 MiB in FP32.
CACHE_SIZE_BYTES = 256 << 20
CACHE = f"--cache-config=local,size={CACHE_SIZE_BYTES}"
# The beginnings of the arguments that give a server a response cache.
CACHE_PREFIXES = ("--cache-config", "--response-cache-byte-size")


def arguments_from_serving(serving: ServingSpec) -> tuple[str, ...]:
    """Return the arguments that an entry of these choices needs, its tier applied: a tier gives each group a share."""
    needed = [RATE_LIMIT] if any(group.rate_limiter for group in serving.groups()) else []
    return merge_server_arguments([*needed, CACHE] if serving.response_cache else needed)


@dataclass(frozen=True)
class NeededArgument:
    """An argument without which a field of a configuration has no effect.

    Args:
        field: The field; empty where it is the manifest that asks.
        prefixes: The beginnings of arguments that serve as well.
        text: The argument.
    """

    field: str
    prefixes: tuple[str, ...]
    text: str

    @property
    def flag(self) -> str:
        """The argument without its value."""
        return self.text.partition("=")[0]

    def is_among(self, arguments: Iterable[str]) -> bool:
        """Whether arguments have it, or one that serves as well."""
        return any(argument.startswith(self.prefixes) for argument in arguments)


def list_needed_arguments(config: "ModelConfig") -> list[NeededArgument]:
    """Return what a configuration, of whoever wrote it, asks of the server."""
    limited = [index for index, group in enumerate(config.instance_group) if group.HasField("rate_limiter")]
    needed = (
        [NeededArgument(f"instance_group[{limited[0]}].rate_limiter", (RATE_LIMIT,), RATE_LIMIT)] if limited else []
    )
    if config.response_cache.enable:
        needed.append(NeededArgument("response_cache", CACHE_PREFIXES, CACHE))
    return needed


def resource_limits(arguments: Iterable[str]) -> dict[str, int]:
    """Return the largest count of each resource that arguments name: ``--rate-limit-resource=NAME:COUNT[:DEVICE]``."""
    limits: dict[str, int] = {}
    for argument in arguments:
        if argument.startswith(RESOURCE_ARGUMENT):
            name, _, rest = argument.removeprefix(RESOURCE_ARGUMENT).partition(":")
            count = rest.partition(":")[0]
            is_count = count.isascii() and count.isdigit() and len(count) < 19  # int() refuses thousands of digits
            limits[name] = max(limits.get(name, 0), int(count) if is_count else 0)
    return limits
