"""The servers: a Deployment and a PodDisruptionBudget for each pool of nodes."""

import math
from collections.abc import Sequence

from prep_triton.artifact import Record, RepositoryEntry
from prep_triton.deploy.accelerators import Pool
from prep_triton.deploy.fleet import Fleet
from prep_triton.deploy.measured import Measurement
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
from prep_triton.spec import MOST_ROWS

MODELS_DIR = "/models"
SCRATCH_GIB = 1
# Without a GPU the server is started as such; with one, by the image's entry point: see `_render_start`.
SERVER_PATH = "/opt/tritonserver/bin/tritonserver"
# The image's own user, triton-server.
USER_ID = 1000

# Endpoints still send to a pod for a while after it began to end; then requests in flight get their time.
DRAIN_S = 15
EXIT_TIMEOUT_S = 30
GRACE_S = DRAIN_S + EXIT_TIMEOUT_S + 15

PROBE_PERIOD_S = 5
SMALLEST_START_S = 600
# A slow bucket, and the loading of a plan.
START_BYTES_PER_S = 20 << 20

_VALUE_BYTES = {"FP16": 2, "FP32": 4, "INT32": 4, "INT64": 8}
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
    """Return what a server of a release takes.

    Triton copies every model's folder into MODELS_DIR; a runtime holds the weights once more while it loads them.
    Shared memory counts as memory.
    """
    size = release.size_bytes
    python = sum(entry.runtime == "python" for entry in release.entries)
    shared_mib = measure_shared_memory_mib(release.entries)
    memory = 2 * _GIB + 2 * size + shared_mib * _MIB + python * 512 * _MIB
    return Sizes(
        models_gib=math.ceil(2 * size / _GIB) + 1,
        shared_memory_mib=shared_mib,
        memory_gib=math.ceil(memory / _GIB),
        start_s=max(SMALLEST_START_S, math.ceil(size / START_BYTES_PER_S)),
    )


def measure_shared_memory_mib(entries: Sequence[RepositoryEntry]) -> int:
    """Return what a server of some entries needs of /dev/shm, MiB.

    The Python backend's parent and stubs talk through it: beside what every stub takes, a full batch of the longest
    sequence in each instance.
    """
    python = sum(entry.runtime == "python" for entry in entries)
    return 256 + 128 * python + math.ceil(sum(map(_batch_bytes, _list_python_steps(entries))) / _MIB)


def _list_python_steps(entries: Sequence[RepositoryEntry]) -> list[tuple[RepositoryEntry, RepositoryEntry]]:
    """Return each tokenizer and post-processor with the model entry that it serves."""
    by_name = {entry.name: entry for entry in entries}
    return [
        (entry, by_name[entry.serves]) for entry in entries if entry.runtime == "python" and entry.serves in by_name
    ]


def _batch_bytes(step_and_model: tuple[RepositoryEntry, RepositoryEntry]) -> int:
    """Return the bytes of a full batch of the longest length bucket, in all instances of a tokenizer or post-processor.

    A tokenizer hands on what the model takes; a post-processor takes what the model gives, and perhaps the ids.
    """
    step, model = step_and_model
    if model.onnx is None:  # of an older prep
        return 0
    instances = int((step.spec.get("text") or {}).get("instance_count", 1))
    sizes = {"batch": model.max_batch_size or MOST_ROWS, "sequence": max(model.length_buckets, default=1)}
    tensors = (*model.onnx.model_inputs, *(model.onnx.model_outputs if step.kind == "postprocessor" else ()))
    values = [(tensor.dtype, math.prod(_axis(axis, sizes) for axis in tensor.shape)) for tensor in tensors]
    return instances * sum(_VALUE_BYTES.get(dtype, 8) * count for dtype, count in values)


def _axis(axis: int | str, sizes: dict[str, int]) -> int:
    return axis if isinstance(axis, int) else sizes.get(axis, sizes["sequence"])


def render_deployment(release: ServedRelease, spec: DeploymentSpec, fleet: Fleet, pool: Pool) -> Manifest:
    """Render a pool's Deployment. It has no `replicas`: the autoscaler decides them."""
    sizes = measure_release(release)
    labels = labels_of_pool(spec, pool)
    metadata: Manifest = {"labels": labels}
    if spec.istio:
        # Triton reads the bucket as it starts, when its proxy may not answer yet.
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


def resize_deployment(release: ServedRelease, deployment: Manifest, measurement: Measurement) -> Manifest:
    """Return a pool's Deployment with what was measured in place of estimates, and where that is from.

    The limit of memory has room for a full /dev/shm, which counts there: a server that fills it is not to be ended.
    The annotations are the Deployment's and not its pods': another measurement of the same size restarts none.
    """
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    requests, limits = dict(container["resources"]["requests"]), dict(container["resources"]["limits"])
    if measurement.cpu_millicores is not None:
        requests["cpu"] = f"{measurement.cpu_millicores}m"
    if measurement.memory_mib is not None:
        requests["memory"] = f"{measurement.memory_mib}Mi"
        limits["memory"] = f"{measurement.memory_mib + measure_shared_memory_mib(release.entries)}Mi"
    sized = {**container, "resources": {"requests": requests, "limits": limits}}
    template = {**deployment["spec"]["template"], "spec": {**pod, "containers": [sized]}}
    return {
        **deployment,
        "metadata": {**deployment["metadata"], "annotations": measurement.server_annotations},
        "spec": {**deployment["spec"], "template": template},
    }


def _render_placement(spec: DeploymentSpec, fleet: Fleet, pool: Pool) -> Manifest:
    """Render the account of a server, how it ends, and where it may run."""
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
    """Render a pool's PodDisruptionBudget: one server at a time may be evicted, a broken one always."""
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
        **_render_start(release, pool),
        "env": [{"name": "TRITON_GCS_MOUNT_DIRECTORY", "value": MODELS_DIR}, {"name": "HOME", "value": "/tmp"}],  # noqa: S108 a volume of its own
        "ports": [
            {"name": "http", "containerPort": HTTP_PORT},
            {"name": "grpc", "containerPort": GRPC_PORT},
            {"name": "metrics", "containerPort": METRICS_PORT},
        ],
        # The endpoints open when every model has loaded: until then only the start-up probe runs.
        "startupProbe": _render_probe("ready", failures=math.ceil(measure_release(release).start_s / PROBE_PERIOD_S)),
        "readinessProbe": _render_probe("ready", failures=2),
        "livenessProbe": _render_probe("live", failures=6),
        "lifecycle": {"preStop": {"exec": {"command": ["/bin/sleep", str(DRAIN_S)]}}},
        "resources": _render_resources(measure_release(release), pool),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": not pool.gpu,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "models", "mountPath": MODELS_DIR},
            {"name": "scratch", "mountPath": "/tmp"},  # noqa: S108 likewise
            {"name": "shared-memory", "mountPath": "/dev/shm"},  # noqa: S108 likewise
        ],
    }


def _render_start(release: ServedRelease, pool: Pool) -> Manifest:
    """Render how the server starts.

    On a GPU the image's own entry point runs first: where the node's driver is older than the image's CUDA it puts
    the forward-compatibility libraries in front (and writes a link for them into the image, so the root file system
    of that container is not read-only). To name a `command` would skip it.
    """
    arguments = render_server_arguments(release, pool)
    if pool.gpu:
        return {"args": ["tritonserver", *arguments]}
    return {"command": [SERVER_PATH], "args": arguments}


def _render_resources(sizes: Sizes, pool: Pool) -> Manifest:
    disk_gib = sizes.models_gib + SCRATCH_GIB
    return {
        "requests": {"cpu": sizes.cpu, "memory": f"{sizes.memory_gib}Gi", "ephemeral-storage": f"{disk_gib}Gi"},
        # No limit of CPU: it would throttle a burst for which the node has time.
        "limits": {"memory": f"{sizes.memory_gib}Gi", **({"nvidia.com/gpu": "1"} if pool.gpu else {})},
    }


def _render_probe(state: str, *, failures: int) -> Manifest:
    return {
        "httpGet": {"path": f"/v2/health/{state}", "port": "http"},
        "periodSeconds": PROBE_PERIOD_S,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    }
