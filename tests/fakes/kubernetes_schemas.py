"""What Kubernetes, and the controllers of the custom kinds that `prep deploy` writes, take.

Kubernetes' own kinds are held against the schemas that kubernetes-validate carries. Those of custom kinds are written
here by hand, from the references named beside each: of all that a kind has, only the fields that prep writes, closed,
with the bounds and choices of the reference. So a field that is misspelt, misplaced or of another type is found; the
whole schemas find the rest: `PREP_CRD_SCHEMAS` names a checkout of github.com/datreeio/CRDs-catalog, whose files are
then read too (``<group>/<kind>_<version>.json``).
"""

import json
import os
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

# What GKE's channels run, from the oldest to the newest that the schemas know.
KUBERNETES = ("1.31", "1.35", "1.37")
CATALOG_VARIABLE = "PREP_CRD_SCHEMAS"

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string", "minLength": 1}
_LABELS: Schema = {"type": "object", "minProperties": 1, "additionalProperties": _TEXT}
_PORT: Schema = {"type": "integer", "minimum": 1, "maximum": 65535}


def closed(needed: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    """An object of these fields alone."""
    properties = {**needed, **(optional or {})}
    return {"type": "object", "properties": properties, "required": list(needed), "additionalProperties": False}


def some(items: Schema, most: int | None = None) -> Schema:
    """A list of one or more."""
    return {"type": "array", "items": items, "minItems": 1, **({"maxItems": most} if most else {})}


def words(*choices: Any) -> Schema:
    """One of some values."""
    return {"enum": list(choices)}


def whole(least: int, most: int) -> Schema:
    """A whole number within bounds."""
    return {"type": "integer", "minimum": least, "maximum": most}


# gateway-api.sigs.k8s.io/reference/spec, v1; the bounds are those of the standard channel's CRDs.
_HOSTNAME: Schema = {"type": "string", "maxLength": 253, "pattern": r"^(\*\.)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"}
_CERTIFICATE = closed({"name": _TEXT}, {"kind": words("Secret")})
_LISTENER = closed(
    {"name": _TEXT, "port": _PORT, "protocol": words("HTTP", "HTTPS")},
    {
        "hostname": _HOSTNAME,
        "tls": closed({"mode": words("Terminate"), "certificateRefs": some(_CERTIFICATE, 64)}),
    },
)
_PATH = closed({"type": words("Exact"), "value": {"type": "string", "pattern": "^/", "maxLength": 1024}})
_BACKEND = closed({"name": _TEXT, "port": _PORT}, {"kind": words("Service"), "weight": whole(0, 1_000_000)})
_REDIRECT = closed({"scheme": words("http", "https"), "statusCode": words(301, 302)})
_RULE = closed(
    {},
    {
        "matches": some(closed({"path": _PATH}), 64),
        "backendRefs": some(_BACKEND, 16),
        "filters": some(closed({"type": words("RequestRedirect"), "requestRedirect": _REDIRECT}), 16),
    },
)
_PARENT = closed({"name": _TEXT}, {"kind": words("Gateway"), "sectionName": _TEXT})

# googlecloudplatform.github.io/gke-gateway-api: networking.gke.io/v1.
_TARGET = closed({"group": words(""), "kind": words("Service"), "name": _TEXT})
_HTTP_CHECK = closed({"portSpecification": words("USE_FIXED_PORT"), "port": _PORT, "requestPath": _TEXT})
_SECONDS = whole(1, 300)
_HEALTH = closed(
    {
        "checkIntervalSec": _SECONDS,
        "timeoutSec": _SECONDS,
        "healthyThreshold": whole(1, 10),
        "unhealthyThreshold": whole(1, 10),
        "config": closed({"type": words("HTTP"), "httpHealthCheck": _HTTP_CHECK}),
    }
)
_BACKEND_POLICY = closed(
    {"timeoutSec": whole(1, 2**31 - 1), "connectionDraining": closed({"drainingTimeoutSec": whole(0, 3600)})}
)

# cloud.google.com/kubernetes-engine/docs/how-to/expose-custom-metrics-autoscaling: there is no published schema.
_GAUGE = closed({"gauge": closed({"name": _TEXT, "prometheusMetricName": _TEXT})})
_SCRAPED = closed({"endpoint": closed({"port": _PORT, "path": _TEXT}), "metrics": some(_GAUGE)})
_METRIC = closed({"pod": closed({"selector": closed({"matchLabels": _LABELS}), "containers": some(_SCRAPED)})})

# cloud.google.com/kubernetes-engine/docs/reference/crds/computeclass.
_SHARING = closed({"sharingStrategy": words("TIME_SHARING", "MPS"), "maxSharedClientsPerGPU": whole(2, 48)})
_GPU = closed(
    {"type": _TEXT, "count": whole(1, 16)}, {"driverVersion": words("default", "latest"), "gpuSharing": _SHARING}
)
_PRIORITY = closed({"spot": {"type": "boolean"}}, {"gpu": _GPU, "minCores": whole(1, 1000), "machineFamily": _TEXT})

# github.com/GoogleCloudPlatform/prometheus-engine/blob/main/doc/api.md, and prometheus-operator.dev/docs/api-reference.
_DURATION: Schema = {"type": "string", "pattern": "^([0-9]+(ms|s|m|h))+$"}
_SCRAPE = closed({"port": words("metrics"), "interval": _DURATION}, {"path": _TEXT})
_ALERT = closed({"alert": _TEXT, "expr": _TEXT}, {"for": _DURATION, "labels": _LABELS, "annotations": _LABELS})
_GROUP = closed({"name": _TEXT, "rules": some(_ALERT)}, {"interval": _DURATION})

# istio.io/latest/docs/reference/config/networking: v1.
_ISTIO_SERVER = closed(
    {
        "port": closed({"number": _PORT, "name": _TEXT, "protocol": words("HTTP", "HTTPS")}),
        "hosts": some(_TEXT),
    },
    {
        "tls": closed(
            {},
            {
                "httpsRedirect": {"type": "boolean"},
                "mode": words("SIMPLE"),
                "credentialName": _TEXT,
                "minProtocolVersion": words("TLSV1_2", "TLSV1_3"),
            },
        )
    },
)
_DESTINATION = closed(
    {"destination": closed({"host": _TEXT, "port": closed({"number": _PORT})})}, {"weight": whole(0, 100)}
)
_ISTIO_ROUTE = closed(
    {
        "match": some(closed({"uri": closed({"regex": _TEXT})})),
        "route": some(_DESTINATION),
        "retries": closed({"attempts": whole(0, 10), "retryOn": _TEXT}),
    },
    {"name": _TEXT},
)

SPECS: dict[str, Schema] = {
    "gateway.networking.k8s.io/v1/Gateway": closed({"gatewayClassName": _TEXT, "listeners": some(_LISTENER, 64)}),
    "gateway.networking.k8s.io/v1/HTTPRoute": closed({"parentRefs": some(_PARENT, 32), "rules": some(_RULE, 16)}),
    "networking.gke.io/v1/HealthCheckPolicy": closed({"default": _HEALTH, "targetRef": _TARGET}),
    "networking.gke.io/v1/GCPBackendPolicy": closed({"default": _BACKEND_POLICY, "targetRef": _TARGET}),
    "autoscaling.gke.io/v1beta1/AutoscalingMetric": closed({"metrics": some(_METRIC)}),
    "cloud.google.com/v1/ComputeClass": closed(
        {
            "priorities": some(_PRIORITY),
            "activeMigration": closed({"optimizeRulePriority": {"type": "boolean"}}),
            "nodePoolAutoCreation": closed({"enabled": {"type": "boolean"}}),
            "whenUnsatisfiable": words("ScaleUpAnyway", "DoNotScaleUp"),
        }
    ),
    "monitoring.googleapis.com/v1/PodMonitoring": closed(
        {
            "selector": closed({"matchLabels": _LABELS}),
            "endpoints": some(_SCRAPE),
            "targetLabels": closed({"metadata": some(words("pod", "container", "node"))}),
        }
    ),
    "monitoring.googleapis.com/v1/Rules": closed({"groups": some(_GROUP)}),
    "monitoring.coreos.com/v1/PodMonitor": closed(
        {"selector": closed({"matchLabels": _LABELS}), "podMetricsEndpoints": some(_SCRAPE)}
    ),
    "monitoring.coreos.com/v1/PrometheusRule": closed({"groups": some(_GROUP)}),
    "networking.istio.io/v1/Gateway": closed({"selector": _LABELS, "servers": some(_ISTIO_SERVER)}),
    "networking.istio.io/v1/VirtualService": closed(
        {"hosts": some(_TEXT), "gateways": some(_TEXT), "http": some(_ISTIO_ROUTE)}
    ),
}


def check_manifests(manifests: Iterable[dict[str, Any]]) -> dict[str, int]:
    """Hold manifests against the schemas of their kinds; return how many there were of each API version and kind.

    A kustomization is no object of a cluster: kubectl reads it.
    """
    counts: dict[str, int] = {}
    for manifest in manifests:
        kind = f"{manifest['apiVersion']}/{manifest['kind']}"
        if manifest["kind"] == "Kustomization":
            continue
        if kind in SPECS:
            _check_custom(kind, manifest)
        else:
            _check_own(manifest)
        counts[kind] = counts.get(kind, 0) + 1
    return counts


def _check_own(manifest: dict[str, Any]) -> None:
    library = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    for version in KUBERNETES:
        try:
            library.validate(manifest, version, strict=True)
        except library.ValidationError as err:
            raise AssertionError(f"{manifest['kind']}, Kubernetes {version}: {err.message}") from err


def _check_custom(kind: str, manifest: dict[str, Any]) -> None:
    assert manifest.keys() == {"apiVersion", "kind", "metadata", "spec"}, kind
    for where, schema, value in (("written here", SPECS[kind], manifest["spec"]), ("catalog", _load(kind), manifest)):
        errors = [f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(value)]
        assert errors == [], f"{kind} {manifest['metadata']['name']}, schema {where}"


@cache
def _load(kind: str) -> Schema:
    """Return the whole schema of a kind; one that takes everything where there is no catalog, or none in it."""
    group, version, name = kind.split("/")
    catalog = os.environ.get(CATALOG_VARIABLE)
    path = Path(catalog or ".") / group / f"{name.lower()}_{version}.json"
    if catalog is None or not path.is_file():
        return {}
    schema: Schema = json.loads(path.read_text())
    return schema
