"""How requests arrive: the Services, and which requests are let in from outside the cluster."""

import re
from typing import Any

from prep_triton.artifact import Record, RepositoryEntry
from prep_triton.deploy.names import (
    GRPC_PORT,
    HTTP_PORT,
    METRICS_PORT,
    Manifest,
    head_of,
    labels_of_service,
)
from prep_triton.deploy.request import DeploymentSpec, ServedRelease

# Inference, health and metadata. Not among them: loading models, registering shared memory, logging and tracing,
# which Triton offers to everybody who reaches its port. Source: the KServe v2 protocol and Triton's extensions of it,
# http_server.cc and grpc_service.proto (triton-inference-server/server, /common).
_SERVER_PATHS = ("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/stats")
_MODEL_PATHS = ("", "/ready", "/config", "/stats", "/infer", "/generate", "/generate_stream")
_GRPC_SERVICES = {
    "inference.GRPCInferenceService": (
        "ServerLive",
        "ServerReady",
        "ServerMetadata",
        "ModelReady",
        "ModelMetadata",
        "ModelConfig",
        "ModelStatistics",
        "ModelInfer",
        "ModelStreamInfer",
    ),
    "grpc.health.v1.Health": ("Check", "Watch"),
}
# The same as expressions, with models of any name: RE2, as Istio takes it.
HTTP_PATHS = (
    "|".join(_SERVER_PATHS)
    + rf"|/v2/models/[^/]+(/versions/[^/]+)?({'|'.join(path for path in _MODEL_PATHS if path)})?"
)
GRPC_METHODS = "|".join(rf"/{re.escape(service)}/({'|'.join(methods)})" for service, methods in _GRPC_SERVICES.items())


class Backend(Record):
    """A Service behind a gateway, and its part of the requests: of all backends together, 100."""

    service: str
    weight: int = 100


def list_http_paths(release: ServedRelease) -> list[str]:
    """Return every path of HTTP by which clients use the entries of a release."""
    return [*_SERVER_PATHS, *(path for entry in release.entries for path in _list_paths_of_entry(entry))]


def list_grpc_paths() -> list[str]:
    """Return the path of every gRPC method that clients use."""
    return [f"/{service}/{method}" for service, methods in _GRPC_SERVICES.items() for method in methods]


def _list_paths_of_entry(entry: RepositoryEntry) -> list[str]:
    versions = sorted({version for file in entry.files if (version := file.partition("/")[0]).isdecimal()}, key=int)
    heads = [f"/v2/models/{entry.name}", *(f"/v2/models/{entry.name}/versions/{version}" for version in versions)]
    return [head + path for head in heads for path in _MODEL_PATHS]


def render_service_account(spec: DeploymentSpec) -> Manifest:
    """Render the servers' ServiceAccount, which acts as Google's by workload identity."""
    annotations = {"iam.gke.io/gcp-service-account": spec.service_account} if spec.service_account else {}
    metadata = {"labels": labels_of_service(spec), **({"annotations": annotations} if annotations else {})}
    return {**head_of("ServiceAccount", "v1", spec.name, **metadata), "automountServiceAccountToken": False}


def render_service(spec: DeploymentSpec) -> Manifest:
    """Render the Service in front of every server."""
    labels = labels_of_service(spec)
    # GKE's Gateway speaks HTTP/1.1 to a port that does not say otherwise, and knows no `grpc`.
    grpc = "kubernetes.io/h2c" if spec.gateway == "gateway-api" else "grpc"
    return {
        **head_of("Service", "v1", spec.name, labels=labels),
        "spec": {
            "type": "ClusterIP",
            "selector": labels,
            "ports": [
                _port("http", HTTP_PORT, "http"),
                _port("grpc", GRPC_PORT, grpc),
                _port("metrics", METRICS_PORT, "http"),
            ],
        },
    }


def render_headless_service(spec: DeploymentSpec) -> Manifest:
    """Render the Service that gives a gRPC client the address of every server.

    A ClusterIP pins a gRPC connection to one server. Clients call ``dns:///<name>-grpc:8001`` with the load-balancing
    policy ``round_robin``; behind Istio's proxy this is not needed.
    """
    labels = labels_of_service(spec)
    return {
        **head_of("Service", "v1", f"{spec.name}-grpc", labels=labels),
        "spec": {"clusterIP": "None", "selector": labels, "ports": [_port("grpc", GRPC_PORT, "grpc")]},
    }


def _port(name: str, number: int, protocol: str) -> dict[str, Any]:
    return {"name": name, "port": number, "targetPort": name, "appProtocol": protocol}
