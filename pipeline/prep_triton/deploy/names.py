"""The names and labels that tie the objects of a base together."""

from typing import Any

from prep_triton.deploy.accelerators import Pool
from prep_triton.deploy.request import DeploymentSpec

HTTP_PORT, GRPC_PORT, METRICS_PORT = 8000, 8001, 8002
# A gRPC client looks for servers anew when a connection ends, so that those that were added get their part. Triton
# lets what runs on it finish.
GRPC_CONNECTION_AGE_S = 300

# One object of the cluster, as its YAML holds it.
Manifest = dict[str, Any]


def name_of_pool(spec: DeploymentSpec, pool: Pool) -> str:
    """Return the name of a pool's Deployment, its container and what watches it: ``triton-t4``."""
    return f"{spec.name}-{pool.label}"


def labels_of_service(spec: DeploymentSpec) -> dict[str, str]:
    """Return the labels of every server, whatever its nodes."""
    return {"app.kubernetes.io/name": "triton", "app.kubernetes.io/instance": spec.name}


def labels_of_pool(spec: DeploymentSpec, pool: Pool) -> dict[str, str]:
    """Return the labels of a pool's servers, without the release: they are in selectors, which cannot be changed."""
    return {**labels_of_service(spec), "app.kubernetes.io/component": pool.label}


def head_of(kind: str, api_version: str, name: str, **metadata: Any) -> Manifest:
    """Begin a manifest."""
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, **metadata}}
