"""GKE's Gateway: a Google Cloud load balancer, by the Gateway API.

What it takes is less than the API has. Sources: GKE's report of conformance with v1.6.0 (kubernetes-sigs/gateway-api,
conformance/reports/v1.6/gke-gateway: no timeouts, retries, methods or names of rules in a route, and of redirects 301
and 302 alone) and Google's "GatewayClass capabilities" (paths match exactly or by prefix, not by expression; no
GRPCRoute). So every path is listed, gRPC's methods too, and time limits are policies of Google's own.
"""

from collections.abc import Sequence
from typing import Any

from prep_triton.deploy.lifecycle import EXIT_TIMEOUT_S
from prep_triton.deploy.names import GRPC_PORT, HTTP_PORT, Manifest, head_of, labels_of_service
from prep_triton.deploy.network import Backend, list_grpc_paths, list_http_paths
from prep_triton.deploy.request import DeploymentSpec, GatewayClass, ServedRelease
from prep_triton.deploy.workload import PROBE_PERIOD_S

_API = "gateway.networking.k8s.io/v1"
# Reached from the VPC alone: inference has no authentication of its own.
_INTERNAL_CLASS: GatewayClass = "gke-l7-rilb"
_GKE_API = "networking.gke.io/v1"
# The CRD of HTTPRoute takes 64 matches in a rule and 128 in a route.
_MATCHES_OF_RULE = 64
_MATCHES_OF_ROUTE = 128


def render_gateway(spec: DeploymentSpec) -> Manifest:
    """Render the Gateway: HTTP and gRPC through one port, 443 where there is a certificate, else 80."""
    host = {} if spec.host == "*" else {"hostname": spec.host}
    listeners: list[dict[str, Any]] = [{"name": "http", "protocol": "HTTP", "port": 80, **host}]
    if spec.tls_secret:
        certificate = {"kind": "Secret", "name": spec.tls_secret}
        tls = {"mode": "Terminate", "certificateRefs": [certificate]}
        listeners.append({"name": "https", "protocol": "HTTPS", "port": 443, **host, "tls": tls})
    return {
        **head_of("Gateway", _API, spec.name, labels=labels_of_service(spec)),
        "spec": {"gatewayClassName": spec.gateway_class or _INTERNAL_CLASS, "listeners": listeners},
    }


def render_routes(release: ServedRelease, spec: DeploymentSpec, backends: Sequence[Backend]) -> list[Manifest]:
    """Render the HTTPRoutes: which requests are let in, and to which port of which Service. Any other gets a 404.

    gRPC has a route of its own: what a load balancer finds wrong with it leaves the others as they are.
    """
    listener = "https" if spec.tls_secret else "http"
    groups = _split(list_http_paths(release), _MATCHES_OF_ROUTE)
    names = [spec.name, *(f"{spec.name}-{number}" for number in range(2, len(groups) + 1))]
    routes = [
        _route(spec, name, listener, _rules(paths, HTTP_PORT, backends))
        for name, paths in zip(names, groups, strict=True)
    ]
    routes.append(_route(spec, f"{spec.name}-grpc", listener, _rules(list_grpc_paths(), GRPC_PORT, backends)))
    if spec.tls_secret:
        redirect = {"type": "RequestRedirect", "requestRedirect": {"scheme": "https", "statusCode": 301}}
        routes.append(_route(spec, f"{spec.name}-redirect", "http", [{"filters": [redirect]}]))
    return routes


def render_health_check(spec: DeploymentSpec) -> Manifest:
    """Render the check by which the load balancer finds servers that answer, of HTTP for both ports.

    Without it, Google asks ``GET /`` on the port that serves: Triton's HTTP answers 404 there, and its gRPC nothing.
    """
    return {
        **head_of("HealthCheckPolicy", _GKE_API, spec.name, labels=labels_of_service(spec)),
        "spec": {
            "default": {
                "checkIntervalSec": PROBE_PERIOD_S,
                "timeoutSec": 3,
                "healthyThreshold": 1,
                "unhealthyThreshold": 2,
                "config": {
                    "type": "HTTP",
                    "httpHealthCheck": {
                        "portSpecification": "USE_FIXED_PORT",
                        "port": HTTP_PORT,
                        "requestPath": "/v2/health/ready",
                    },
                },
            },
            "targetRef": _target(spec),
        },
    }


def render_backend_policy(spec: DeploymentSpec) -> Manifest:
    """Render how long the load balancer waits for a server: as long as one that ends lets requests in flight go on."""
    return {
        **head_of("GCPBackendPolicy", _GKE_API, spec.name, labels=labels_of_service(spec)),
        "spec": {
            "default": {
                "timeoutSec": EXIT_TIMEOUT_S,
                "connectionDraining": {"drainingTimeoutSec": EXIT_TIMEOUT_S},
            },
            "targetRef": _target(spec),
        },
    }


def _route(spec: DeploymentSpec, name: str, listener: str, rules: list[dict[str, Any]]) -> Manifest:
    parent = {"kind": "Gateway", "name": spec.name, "sectionName": listener}
    return {
        **head_of("HTTPRoute", _API, name, labels=labels_of_service(spec)),
        "spec": {"parentRefs": [parent], "rules": rules},
    }


def _rules(paths: Sequence[str], port: int, backends: Sequence[Backend]) -> list[dict[str, Any]]:
    references = [
        {
            "kind": "Service",
            "name": backend.service,
            "port": port,
            **({"weight": backend.weight} if len(backends) > 1 else {}),
        }
        for backend in backends
    ]
    return [
        {"matches": [{"path": {"type": "Exact", "value": path}} for path in group], "backendRefs": references}
        for group in _split(paths, _MATCHES_OF_RULE)
    ]


def _target(spec: DeploymentSpec) -> dict[str, str]:
    return {"group": "", "kind": "Service", "name": spec.name}


def _split(paths: Sequence[str], size: int) -> list[Sequence[str]]:
    return [paths[begin : begin + size] for begin in range(0, len(paths), size)]
