"""The namespace of a deployment, where it is not the one that every cluster has."""

from prep_triton.deploy.names import Manifest, head_of
from prep_triton.deploy.request import DeploymentSpec

DEFAULT_NAMESPACE = "default"


def render_namespace(spec: DeploymentSpec) -> Manifest | None:
    """Render the Namespace, or None for ``default``.

    It only warns of pods that are less restricted than the servers are: others may live in it.
    """
    if spec.namespace == DEFAULT_NAMESPACE:
        return None
    labels = {"pod-security.kubernetes.io/warn": "restricted", "pod-security.kubernetes.io/audit": "restricted"}
    return head_of("Namespace", "v1", spec.namespace, labels=labels)
