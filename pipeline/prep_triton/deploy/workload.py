"""The servers: a Deployment and a PodDisruptionBudget for each pool of nodes."""

import math

from prep_triton.deploy.accelerators import Pool
from prep_triton.deploy.fleet import Fleet
from prep_triton.deploy.lifecycle import EXIT_TIMEOUT_S, GRACE_S, render_lifecycle, render_proxy_config
from prep_triton.deploy.measured import PREFIX, Measurement
from prep_triton.deploy.model_loading import (
    USER_ID,
    annotate_pod,
    locate_repository,
    render_models_env,
    render_models_mount,
    render_models_volume,
)
from prep_triton.deploy.names import (
    GRPC_CONNECTION_AGE_S,
    GRPC_PORT,
    HTTP_PORT,
    METRICS_PORT,
    Manifest,
    head_of,
    labels_of_pool,
    name_of_pool,
)
from prep_triton.deploy.request import DeploymentSpec, ServedRelease
from prep_triton.deploy.sizes import LAYER_GIB, SCRATCH_GIB, SMALLEST_START_S, Sizes, measure_release

PROBE_PERIOD_S = 5


def render_deployment(release: ServedRelease, spec: DeploymentSpec, fleet: Fleet, pool: Pool) -> Manifest:
    """Render a pool's Deployment. It has no `replicas`: the autoscaler decides them."""
    sizes = measure_release(release)
    labels = labels_of_pool(spec, pool)
    proxy = {"proxy.istio.io/config": render_proxy_config()} if spec.istio else {}
    annotations = {**proxy, **annotate_pod(spec, sizes)}
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
            render_models_volume(release, spec, sizes),
            {"name": "scratch", "emptyDir": {"sizeLimit": f"{SCRATCH_GIB}Gi"}},
            {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": f"{sizes.shared_memory_mib}Mi"}},
        ],
    }
    return {
        **head_of("Deployment", "apps/v1", name_of_pool(spec, pool), labels=labels, annotations=_explain(spec, sizes)),
        "spec": {
            "selector": {"matchLabels": labels},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "progressDeadlineSeconds": sizes.start_s + SMALLEST_START_S,
            "revisionHistoryLimit": 5,
            "template": {
                "metadata": {"labels": labels, **({"annotations": annotations} if annotations else {})},
                "spec": pod,
            },
        },
    }


def _explain(spec: DeploymentSpec, sizes: Sizes) -> dict[str, str]:
    """Say what each size is the sum of; on the Deployment and not its pods, which another sentence must not restart."""
    names = ("memory", "shared-memory", *(("models",) if spec.model_loading == "copy" else ()))
    return {f"{PREFIX}/{name}": sizes.reasons[name] for name in names}


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
        limits["memory"] = f"{measurement.memory_mib + measure_release(release).shared_memory_mib}Mi"
    sized = {**container, "resources": {"requests": requests, "limits": limits}}
    template = {**deployment["spec"]["template"], "spec": {**pod, "containers": [sized]}}
    annotations = {**deployment["metadata"]["annotations"], **measurement.server_annotations}
    return {
        **deployment,
        "metadata": {**deployment["metadata"], "annotations": annotations},
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
        # Google's tokens come from the metadata server: the cluster's own API is not called.
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_S,
        **({"priorityClassName": spec.priority_class} if spec.priority_class else {}),
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


def render_server_arguments(release: ServedRelease, spec: DeploymentSpec, pool: Pool) -> list[str]:
    """Return the command line of the server.

    Source: ``tritonserver --help``. A generated config.pbtxt is complete, so nothing is left to be guessed; a
    server of which one model does not load ends, so that a rollout stops instead of serving a part.
    """
    return [
        f"--model-repository={locate_repository(release, spec)}",
        "--model-control-mode=none",
        "--disable-auto-complete-config",
        "--strict-readiness=true",
        "--exit-on-error=true",
        f"--exit-timeout-secs={EXIT_TIMEOUT_S}",
        "--allow-metrics=true",
        f"--allow-gpu-metrics={'true' if pool.gpu else 'false'}",
        *([] if spec.istio else [f"--grpc-max-connection-age={GRPC_CONNECTION_AGE_S * 1000}"]),
        *release.server_arguments,
    ]


def _render_container(release: ServedRelease, spec: DeploymentSpec, fleet: Fleet, pool: Pool) -> Manifest:
    sizes = measure_release(release)
    return {
        # The autoscaler finds a GPU's duty cycle by the name of its container.
        "name": name_of_pool(spec, pool),
        "image": fleet.triton.image,
        **_render_start(release, spec, pool),
        "env": [*render_models_env(spec), {"name": "HOME", "value": "/tmp"}],  # noqa: S108 a volume of its own
        "ports": [
            {"name": "http", "containerPort": HTTP_PORT},
            {"name": "grpc", "containerPort": GRPC_PORT},
            {"name": "metrics", "containerPort": METRICS_PORT},
        ],
        # The endpoints open when every model has loaded: until then only the start-up probe runs.
        "startupProbe": _render_probe("ready", failures=math.ceil(sizes.start_s / PROBE_PERIOD_S)),
        "readinessProbe": _render_probe("ready", failures=2),
        "livenessProbe": _render_probe("live", failures=6),
        "lifecycle": render_lifecycle(),
        "resources": _render_resources(sizes, spec, fleet.gpus_per_server if pool.gpu else 0),
        "volumeMounts": [
            render_models_mount(release, spec),
            {"name": "scratch", "mountPath": "/tmp"},  # noqa: S108 likewise
            {"name": "shared-memory", "mountPath": "/dev/shm"},  # noqa: S108 likewise
        ],
    }


def _render_start(release: ServedRelease, spec: DeploymentSpec, pool: Pool) -> Manifest:
    """Render how the server starts, by arguments alone: a `command` would replace the image's entry point.

    Without a GPU the entry point tells Triton so (server, docker/entrypoint.d/50-gpu-driver-check2.sh), and writes
    nothing but below /tmp. On a GPU whose driver is older than the image's CUDA it enables forward compatibility: bash
    reads /etc/shinit_v2, which runs ``cudaCheck`` with /usr/local/cuda/compat/lib.real (server#3382, server#3518), puts
    these libraries first in LD_LIBRARY_PATH, and keeps a marker and the link ``compat/lib`` beside them, for which the
    image's ld.so.conf has a place (server, build.py, "Extra defensive wiring for CUDA Compat lib"). So the root file
    system of such a container can be written to. A volume cannot be the place: mounted at ``compat`` it hides the
    libraries, and at ``compat/lib`` the link could not be made.
    """
    return {
        "args": ["tritonserver", *render_server_arguments(release, spec, pool)],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": not pool.gpu,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _render_resources(sizes: Sizes, spec: DeploymentSpec, gpus: int) -> Manifest:
    """Render what a server requests, and what ends it: more memory, or more disk, than that."""
    copied_gib = sizes.models_gib if spec.model_loading == "copy" else 0  # of a mount, the sidecar's
    disk = f"{copied_gib + SCRATCH_GIB + LAYER_GIB}Gi"
    return {
        "requests": {"cpu": sizes.cpu, "memory": f"{sizes.memory_gib}Gi", "ephemeral-storage": disk},
        # No limit of CPU: it would throttle a burst for which the node has time.
        "limits": {
            "memory": f"{sizes.memory_gib}Gi",
            "ephemeral-storage": disk,
            **({"nvidia.com/gpu": str(gpus)} if gpus else {}),
        },
    }


def _render_probe(state: str, *, failures: int) -> Manifest:
    return {
        "httpGet": {"path": f"/v2/health/{state}", "port": "http"},
        "periodSeconds": PROBE_PERIOD_S,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    }
