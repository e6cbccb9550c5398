"""How a server gets its models: by Triton's own copy, or from a bucket that Cloud Storage FUSE mounts.

Copy: Triton reads ``gs://`` itself, one object after another through one stream each (core,
src/filesystem/implementations/gcs.h, `LocalizePath`), onto a volume of the pod.

FUSE: GKE's driver mounts the release's folder, read-only, through a sidecar that it injects; with a file cache a large
file is downloaded in parts at once, also when it is read for the first time. Sources:

- https://cloud.google.com/kubernetes-engine/docs/how-to/cloud-storage-fuse-csi-driver-ephemeral: volume, annotation
- https://cloud.google.com/kubernetes-engine/docs/how-to/cloud-storage-fuse-csi-driver-perf: the mount's options, and
  that a container which is not root's needs `uid` and `gid`
- https://cloud.google.com/storage/docs/gcsfuse-file-cache; gcs-fuse-csi-driver, docs/istio.md
"""

from typing import Any

from prep_triton.deploy.request import DeploymentSpec, ServedRelease
from prep_triton.deploy.sizes import Sizes
from prep_triton.errors import SpecError

MODELS_DIR = "/models"
# The image's own user, triton-server.
USER_ID = 1000

_DRIVER = "gcsfuse.csi.storage.gke.io"
_METADATA_SERVER = "169.254.169.254/32"


def locate_repository(release: ServedRelease, spec: DeploymentSpec) -> str:
    """Return what the server is given as its model repository."""
    return f"{MODELS_DIR}/{release.id}" if spec.model_loading == "fuse" else release.uri


def render_models_volume(release: ServedRelease, spec: DeploymentSpec, sizes: Sizes) -> dict[str, Any]:
    """Render the volume of the models.

    Raises:
        SpecError: The release is mounted, and its place has a comma, which separates the options of a mount.
    """
    if spec.model_loading == "copy":
        return {"name": "models", "emptyDir": {"sizeLimit": f"{sizes.models_gib}Gi"}}
    bucket, _, folder = release.uri.removeprefix("gs://").partition("/")
    if "," in folder:
        raise SpecError(
            f"'{folder}' has a comma in it, which a mount of Cloud Storage FUSE takes for the end of an option",
            hint="let Triton copy the models: --model-loading copy",
        )
    options = (
        # GCS has no objects for folders.
        "implicit-dirs",
        f"only-dir={folder}",
        f"uid={USER_ID}",
        f"gid={USER_ID}",
        "file-mode=444",
        "dir-mode=555",
        # Nothing below a release ever changes.
        "metadata-cache:ttl-secs:-1",
        # All of the cache's volume: its size is the sidecar's, see `annotate_pod`.
        "file-cache:max-size-mb:-1",
        "file-cache:cache-file-for-range-read:true",
        "file-cache:enable-parallel-downloads:true",
    )
    attributes = {"bucketName": bucket, "mountOptions": ",".join(options)}
    return {"name": "models", "csi": {"driver": _DRIVER, "readOnly": True, "volumeAttributes": attributes}}


def render_models_mount(release: ServedRelease, spec: DeploymentSpec) -> dict[str, Any]:
    """Render where a container has the models."""
    if spec.model_loading == "copy":
        return {"name": "models", "mountPath": MODELS_DIR}
    return {"name": "models", "mountPath": locate_repository(release, spec), "readOnly": True}


def render_models_env(spec: DeploymentSpec) -> list[dict[str, str]]:
    """Render the variable that says where Triton copies to."""
    return [{"name": "TRITON_GCS_MOUNT_DIRECTORY", "value": MODELS_DIR}] if spec.model_loading == "copy" else []


def annotate_pod(spec: DeploymentSpec, sizes: Sizes) -> dict[str, str]:
    """Return the annotations by which a sidecar mounts the bucket.

    Its cache holds the whole release; CPU and memory are GKE's own choice. Behind Istio the sidecar asks the metadata
    server for its token, and not the proxy, which may not answer yet.
    """
    if spec.model_loading == "copy":
        return {}
    annotations = {"gke-gcsfuse/volumes": "true", "gke-gcsfuse/ephemeral-storage-limit": f"{sizes.cache_gib}Gi"}
    past_proxy = {"traffic.sidecar.istio.io/excludeOutboundIPRanges": _METADATA_SERVER} if spec.istio else {}
    return {**annotations, **past_proxy}
