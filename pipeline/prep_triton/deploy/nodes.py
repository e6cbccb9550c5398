"""Which nodes GKE makes for the servers, where that is asked for: Spot before on demand, and GPUs that servers share.

Sources: https://cloud.google.com/kubernetes-engine/docs/reference/crds/computeclass,
/docs/how-to/timesharing-gpus and /docs/how-to/nvidia-mps-gpus.
"""

from typing import Any

from prep_triton.deploy.accelerators import Pool
from prep_triton.deploy.fleet import Fleet
from prep_triton.deploy.names import Manifest, head_of, labels_of_pool, name_of_pool
from prep_triton.deploy.request import DeploymentSpec, GpuSharing
from prep_triton.errors import SpecError

_CLASS_LABEL = "cloud.google.com/compute-class"
_ACCELERATOR_LABEL = "cloud.google.com/gke-accelerator"
_SHARING_LABEL = "cloud.google.com/gke-gpu-sharing-strategy"
_CLIENTS_LABEL = "cloud.google.com/gke-max-shared-clients-per-gpu"
_STRATEGIES: dict[GpuSharing, str] = {"time-sharing": "TIME_SHARING", "mps": "MPS"}
# A server requests three cores: see `sizes`.
_LEAST_CORES = 4
# The family that GKE makes by default has no ARM.
_ARM_FAMILY = {"machineFamily": "c4a"}


def check_sharing(spec: DeploymentSpec, fleet: Fleet) -> None:
    """Check that there is a GPU to share, and that a server needs no more than one: GKE gives a client no more.

    Raises:
        SpecError: There is not, or it needs more.
    """
    if spec.gpu_sharing is None:
        return
    if not fleet.gpus_per_server:
        raise SpecError("no server needs a GPU that it could share", hint="leave --gpu-sharing out")
    if fleet.gpus_per_server > 1:
        raise SpecError(
            f"a server of this release takes {fleet.gpus_per_server} GPUs, and GKE gives a pod one shared GPU at most",
            hint="leave --gpu-sharing out, or publish entries whose instances all run on GPU 0",
        )


def name_compute_class(spec: DeploymentSpec, pool: Pool) -> str:
    """Return the name of a pool's ComputeClass, which is the cluster's and not the namespace's."""
    return f"{spec.namespace}-{name_of_pool(spec, pool)}"


def render_compute_class(spec: DeploymentSpec, fleet: Fleet, pool: Pool) -> Manifest:
    """Render the ComputeClass of a pool: nodes of Spot first, and on demand where there are none."""
    kind: dict[str, Any] = {"minCores": _LEAST_CORES, **(_ARM_FAMILY if fleet.platform == "linux/arm64" else {})}
    if pool.accelerator:
        # The newest driver: containers with CUDA 13 need R580.
        gpu: dict[str, Any] = {"type": pool.accelerator, "count": fleet.gpus_per_server, "driverVersion": "latest"}
        if spec.gpu_sharing:
            clients = {"maxSharedClientsPerGPU": spec.gpu_clients}
            gpu["gpuSharing"] = {"sharingStrategy": _STRATEGIES[spec.gpu_sharing], **clients}
        kind = {"gpu": gpu}
    name = name_compute_class(spec, pool)
    return {
        **head_of("ComputeClass", "cloud.google.com/v1", name, labels=labels_of_pool(spec, pool)),
        "spec": {
            "priorities": [{**kind, "spot": True}, {**kind, "spot": False}],
            # Back to Spot when there is some again: a server at a time, by the disruption budget.
            "activeMigration": {"optimizeRulePriority": True},
            "nodePoolAutoCreation": {"enabled": True},
            "whenUnsatisfiable": "DoNotScaleUp",
        },
    }


def place_servers(spec: DeploymentSpec, pool: Pool, deployment: Manifest) -> Manifest:
    """Return a pool's Deployment on the nodes of its ComputeClass, or on those whose GPUs are shared."""
    pod = dict(deployment["spec"]["template"]["spec"])
    nodes = dict(pod["nodeSelector"])
    if spec.spot:
        # The class says which GPU: GKE refuses pods whose selectors and class contradict each other.
        nodes.pop(_ACCELERATOR_LABEL, None)
        nodes[_CLASS_LABEL] = name_compute_class(spec, pool)
    elif spec.gpu_sharing and pool.gpu:
        nodes |= {_SHARING_LABEL: spec.gpu_sharing, _CLIENTS_LABEL: str(spec.gpu_clients)}
    if spec.gpu_sharing == "mps" and pool.gpu:
        pod["hostIPC"] = True  # the way to the node's MPS daemon
    template = {**deployment["spec"]["template"], "spec": {**pod, "nodeSelector": nodes}}
    return {**deployment, "spec": {**deployment["spec"], "template": template}}
