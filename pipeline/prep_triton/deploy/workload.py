"""The servers: a Deployment and a PodDisruptionBudget for each pool of nodes."""

import math

from prep_triton.artifact import Record
from prep_triton.deploy.accelerators import Pool
from prep_triton.deploy.fleet import Fleet
from prep_triton.deploy.names import (
    GRPC_PORT,
    HTTP_PORT,
    METRICS_PORT,
    Manifest,
    head_of,
    labels_of_pool,
    name_of_pool,
)
from prep_triton.deploy.request import DeploymentSpec, ServedRelease

MODELS_DIR = "/models"
SCRATCH_GIB = 1
# Started as such: the image's entry point writes into the image, which is read-only here.
SERVER_PATH = "/opt/tritonserver/bin/tritonserver"
# The image's own user, triton-server.
USER_ID = 1000

# Endpoints stop being told of a pod a while before they forget it; then requests in flight get their time.
DRAIN_S = 15
EXIT_TIMEOUT_S = 30
GRACE_S = DRAIN_S + EXIT_TIMEOUT_S + 15

PROBE_PERIOD_S = 5
SMALLEST_START_S = 600
# What a bucket gives at the least, and a plan takes to be loaded.
START_BYTES_PER_S = 20 << 20

_MIB = 1 << 20
_GIB = 1 << 30


class Sizes(Record):
    """What one server takes, from the size of what it serves."""

    models_gib: int
    shared_memory_mib: int
    memory_gib: int
    start_s: int
    cpu: str = "3"  # of a node with four, the system takes a part of one


def measure_release(release: ServedRelease) -> Sizes:
    """Say what a server of a release takes.

    Triton copies every model's folder into MODELS_DIR; a runtime holds the weights once more while it loads them.
    The Python backend's parent and stubs talk through shared memory, which counts as memory.
    """
    size = release.size_bytes
    python = sum(entry.runtime == "python" for entry in release.entries)
    shared_mib = 256 + 128 * python
    memory = 2 * _GIB + 2 * size + shared_mib * _MIB + python * 512 * _MIB
    return Sizes(
        models_gib=math.ceil(2 * size / _GIB) + 1,
        shared_memory_mib=shared_mib,
        memory_gib=math.ceil(memory / _GIB),
        start_s=max(SMALLEST_START_S, math.ceil(size / START_BYTES_PER_S)),
    )


def render_deployment(release: ServedRelease, spec: DeploymentSpec, fleet: Fleet, pool: Pool) -> Manifest:
    """Render a pool's Deployment. It has no `replicas`: the autoscaler decides them."""
    sizes = measure_release(release)
    labels = labels_of_pool(spec, pool)
    metadata: Manifest = {"labels": labels}
    if spec.istio:
        # Triton reads the bucket as it starts, when a proxy beside it may not answer yet.
        metadata["annotations"] = {"proxy.istio.io/config": "holdApplicationUntilProxyStarts: true"}
    pod = {
        **_render_placement(spec, fleet, pool),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_render_container(release, spec, fleet, pool)],
        "volumes": [
            {"name": "models", "emptyDir": {"sizeLimit": f"{sizes.models_gib}Gi"}},
            {"name": "scratch", "emptyDir": {"sizeLimit": f"{SCRATCH_GIB}Gi"}},
            {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": f"{sizes.shared_memory_mib}Mi"}},
        ],
    }
    return {
        **head_of("Deployment", "apps/v1", name_of_pool(spec, pool), labels=labels),
        "spec": {
            "selector": {"matchLabels": labels},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "progressDeadlineSeconds": sizes.start_s + SMALLEST_START_S,
            "revisionHistoryLimit": 5,
            "template": {"metadata": metadata, "spec": pod},
        },
    }


def _render_placement(spec: DeploymentSpec, fleet: Fleet, pool: Pool) -> Manifest:
    """Render whose name a server runs under, how it ends, and where it may run."""
    nodes = {"kubernetes.io/arch": fleet.platform.partition("/")[2]}
    tolerations = []
    if pool.accelerator:
        nodes["cloud.google.com/gke-accelerator"] = pool.accelerator
        tolerations = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    return {
        "serviceAccountName": spec.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_S,
        "nodeSelector": nodes,
        **({"tolerations": tolerations} if tolerations else {}),
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": key,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": labels_of_pool(spec, pool)},
            }
            for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
        ],
    }


def render_disruption_budget(spec: DeploymentSpec, pool: Pool) -> Manifest:
    """Render a pool's PodDisruptionBudget: one server at a time may be taken away, a broken one always."""
    labels = labels_of_pool(spec, pool)
    return {
        **head_of("PodDisruptionBudget", "policy/v1", name_of_pool(spec, pool), labels=labels),
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": labels},
        },
    }


def render_server_arguments(release: ServedRelease, pool: Pool) -> list[str]:
    """Return the command line of the server.

    Source: ``tritonserver --help``. A generated config.pbtxt is complete, so nothing is left to be guessed; a
    server of which one model does not load ends, so that a rollout stops instead of serving a part.
    """
    return [
        f"--model-repository={release.uri}",
        "--model-control-mode=none",
        "--disable-auto-complete-config",
        "--strict-readiness=true",
        "--exit-on-error=true",
        f"--exit-timeout-secs={EXIT_TIMEOUT_S}",
        "--allow-metrics=true",
        f"--allow-gpu-metrics={'true' if pool.gpu else 'false'}",
        *release.server_arguments,
    ]


def _render_container(release: ServedRelease, spec: DeploymentSpec, fleet: Fleet, pool: Pool) -> Manifest:
    return {
        # The autoscaler finds a GPU's duty cycle by the name of its container.
        "name": name_of_pool(spec, pool),
        "image": fleet.triton.image,
        "command": [SERVER_PATH],
        "args": render_server_arguments(release, pool),
        "env": [{"name": "TRITON_GCS_MOUNT_DIRECTORY", "value": MODELS_DIR}, {"name": "HOME", "value": "/tmp"}],  # noqa: S108 a volume of its own
        "ports": [
            {"name": "http", "containerPort": HTTP_PORT},
            {"name": "grpc", "containerPort": GRPC_PORT},
            {"name": "metrics", "containerPort": METRICS_PORT},
        ],
        # The endpoints open when every model has loaded: until then the start-up probe alone is asked.
        "startupProbe": _render_probe("ready", failures=math.ceil(measure_release(release).start_s / PROBE_PERIOD_S)),
        "readinessProbe": _render_probe("ready", failures=2),
        "livenessProbe": _render_probe("live", failures=6),
        "lifecycle": {"preStop": {"exec": {"command": ["/bin/sleep", str(DRAIN_S)]}}},
        "resources": _render_resources(measure_release(release), pool),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "models", "mountPath": MODELS_DIR},
            {"name": "scratch", "mountPath": "/tmp"},  # noqa: S108 likewise
            {"name": "shared-memory", "mountPath": "/dev/shm"},  # noqa: S108 likewise
        ],
    }


def _render_resources(sizes: Sizes, pool: Pool) -> Manifest:
    disk_gib = sizes.models_gib + SCRATCH_GIB
    return {
        "requests": {"cpu": sizes.cpu, "memory": f"{sizes.memory_gib}Gi", "ephemeral-storage": f"{disk_gib}Gi"},
        # No limit of CPU: it would throttle a burst that the node has the time for.
        "limits": {"memory": f"{sizes.memory_gib}Gi", **({"nvidia.com/gpu": "1"} if pool.gpu else {})},
    }


def _render_probe(state: str, *, failures: int) -> Manifest:
    return {
        "httpGet": {"path": f"/v2/health/{state}", "port": "http"},
        "periodSeconds": PROBE_PERIOD_S,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    }
