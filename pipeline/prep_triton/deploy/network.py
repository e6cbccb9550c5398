"""How requests arrive: a Service over all pools, and Istio's Gateway and VirtualService before it."""

from typing import Any

from prep_triton.deploy.names import (
    GRPC_PORT,
    HTTP_PORT,
    METRICS_PORT,
    Manifest,
    head_of,
    labels_of_service,
)
from prep_triton.deploy.request import DeploymentSpec

ISTIO_API = "networking.istio.io/v1"

# Inference, health and metadata. Not among them: loading models, registering shared memory, logging and tracing,
# which Triton offers to everybody who reaches its port. Source: the KServe v2 protocol and Triton's extensions of it,
# grpc_service.proto (triton-inference-server/common).
HTTP_PATHS = (
    r"/v2(/health/(live|ready)|/models/stats"
    r"|/models/[^/]+(/versions/[^/]+)?(/(ready|config|stats|infer|generate|generate_stream))?)?"
)
GRPC_METHODS = (
    r"/inference\.GRPCInferenceService/"
    r"(Server(Live|Ready|Metadata)|Model(Ready|Metadata|Config|Statistics|Infer|StreamInfer))"
    r"|/grpc\.health\.v1\.Health/(Check|Watch)"
)


def render_service_account(spec: DeploymentSpec) -> Manifest:
    """Render the servers' ServiceAccount, which acts as Google's by workload identity."""
    annotations = {"iam.gke.io/gcp-service-account": spec.service_account} if spec.service_account else {}
    metadata = {"labels": labels_of_service(spec), **({"annotations": annotations} if annotations else {})}
    return {**head_of("ServiceAccount", "v1", spec.name, **metadata), "automountServiceAccountToken": False}


def render_service(spec: DeploymentSpec) -> Manifest:
    """Render the Service in front of every server."""
    labels = labels_of_service(spec)
    return {
        **head_of("Service", "v1", spec.name, labels=labels),
        "spec": {
            "type": "ClusterIP",
            "selector": labels,
            "ports": [
                _port("http", HTTP_PORT, "http"),
                _port("grpc", GRPC_PORT, "grpc"),
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


def render_gateway(spec: DeploymentSpec) -> Manifest:
    """Render the Gateway: HTTP and gRPC through one port, 443 where there is a certificate, else 80."""
    hosts = [spec.host or "*"]
    plain: dict[str, Any] = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": hosts}
    servers = [plain]
    if spec.tls_secret:
        plain["tls"] = {"httpsRedirect": True}
        servers.append(
            {
                "port": {"number": 443, "name": "https", "protocol": "HTTPS"},
                "hosts": hosts,
                "tls": {"mode": "SIMPLE", "credentialName": spec.tls_secret, "minProtocolVersion": "TLSV1_2"},
            }
        )
    return {
        **head_of("Gateway", ISTIO_API, spec.name, labels=labels_of_service(spec)),
        "spec": {"selector": {"istio": "ingressgateway"}, "servers": servers},
    }


def render_virtual_service(spec: DeploymentSpec) -> Manifest:
    """Render the VirtualService: which requests are let in, and to which port. Any other gets a 404."""
    return {
        **head_of("VirtualService", ISTIO_API, spec.name, labels=labels_of_service(spec)),
        "spec": {
            "hosts": [spec.host or "*"],
            "gateways": [spec.name],
            "http": [
                _route(spec, "grpc", GRPC_METHODS, GRPC_PORT),
                _route(spec, "http", HTTP_PATHS, HTTP_PORT),
            ],
        },
    }


def _port(name: str, number: int, protocol: str) -> dict[str, Any]:
    return {"name": name, "port": number, "targetPort": name, "appProtocol": protocol}


def _route(spec: DeploymentSpec, name: str, paths: str, port: int) -> dict[str, Any]:
    return {
        "name": name,
        "match": [{"uri": {"regex": paths}}],
        "route": [{"destination": {"host": spec.name, "port": {"number": port}}}],
        # An inference that was begun is not retried: it may be the request that broke the server.
        "retries": {"attempts": 2, "retryOn": "connect-failure,refused-stream"},
    }
