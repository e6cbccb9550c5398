"""Istio's Gateway and VirtualService."""

from collections.abc import Sequence
from typing import Any

from prep_triton.deploy.names import GRPC_PORT, HTTP_PORT, Manifest, head_of, labels_of_service
from prep_triton.deploy.network import GRPC_METHODS, HTTP_PATHS, Backend
from prep_triton.deploy.request import DeploymentSpec

_API = "networking.istio.io/v1"


def render_gateway(spec: DeploymentSpec) -> Manifest:
    """Render the Gateway: HTTP and gRPC through one port, 443 where there is a certificate, else 80."""
    plain: dict[str, Any] = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": [spec.host]}
    servers = [plain]
    if spec.tls_secret:
        plain["tls"] = {"httpsRedirect": True}
        servers.append(
            {
                "port": {"number": 443, "name": "https", "protocol": "HTTPS"},
                "hosts": [spec.host],
                "tls": {"mode": "SIMPLE", "credentialName": spec.tls_secret, "minProtocolVersion": "TLSV1_2"},
            }
        )
    return {
        **head_of("Gateway", _API, spec.name, labels=labels_of_service(spec)),
        "spec": {"selector": {"istio": "ingressgateway"}, "servers": servers},
    }


def render_virtual_service(spec: DeploymentSpec, backends: Sequence[Backend]) -> Manifest:
    """Render the VirtualService: which requests are let in, and to which port of which Service.

    Any other request gets a 404.
    """
    return {
        **head_of("VirtualService", _API, spec.name, labels=labels_of_service(spec)),
        "spec": {
            "hosts": [spec.host],
            "gateways": [spec.name],
            "http": [
                _route("grpc", GRPC_METHODS, GRPC_PORT, backends),
                _route("http", HTTP_PATHS, HTTP_PORT, backends),
            ],
        },
    }


def _route(name: str, paths: str, port: int, backends: Sequence[Backend]) -> dict[str, Any]:
    return {
        "name": name,
        "match": [{"uri": {"regex": paths}}],
        "route": [
            {
                "destination": {"host": backend.service, "port": {"number": port}},
                **({"weight": backend.weight} if len(backends) > 1 else {}),
            }
            for backend in backends
        ],
        # An inference that was begun is not retried: it may be the request that broke the server.
        "retries": {"attempts": 2, "retryOn": "connect-failure,refused-stream"},
    }
