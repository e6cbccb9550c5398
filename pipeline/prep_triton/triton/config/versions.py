"""Which versions of an entry a server serves."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig


def pick_versions(config: "ModelConfig", versions: Sequence[int]) -> tuple[int, ...]:
    """Return the versions that a version policy picks, the latest one without a policy.

    Source: core, model_lifecycle.cc, VersionsToLoad.

    Args:
        config: The entry's configuration.
        versions: The version numbers for which there is a folder, ascending.
    """
    if not config.HasField("version_policy"):
        return tuple(versions[-1:])
    policy = config.version_policy
    if policy.HasField("specific"):
        return tuple(version for version in policy.specific.versions if version in versions)
    if policy.HasField("latest"):
        count = policy.latest.num_versions
        return tuple(versions[-count:]) if count else ()
    return tuple(versions)
