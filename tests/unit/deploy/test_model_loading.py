"""How a server gets its models, as its Deployment says it."""

from typing import Any

import pytest
import yaml
from prep_triton.deploy.base import Base, plan_base
from prep_triton.deploy.request import DeploymentSpec
from prep_triton.errors import SpecError

from tests.fakes.served_release import ID, URI, make_entry, make_release, make_target

CPU = make_release(make_entry("bert-onnx"), target=make_target())


def plan(release=CPU, **choices) -> Base:
    return plan_base(release, DeploymentSpec(**choices))


def template_of(base: Base) -> dict[str, Any]:
    return yaml.safe_load(base.files["deployment-cpu.yaml"])["spec"]["template"]


def parts_of(base: Base) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The container, its mount of the models, and their volume."""
    pod = template_of(base)["spec"]
    (container,) = pod["containers"]
    (mount,) = (mount for mount in container["volumeMounts"] if mount["name"] == "models")
    (volume,) = (volume for volume in pod["volumes"] if volume["name"] == "models")
    return container, mount, volume


def test_triton_copies_the_release_into_a_volume_of_the_pod():
    container, mount, volume = parts_of(plan())
    assert f"--model-repository={URI}" in container["args"]
    assert {"name": "TRITON_GCS_MOUNT_DIRECTORY", "value": "/models"} in container["env"]
    assert (mount["mountPath"], volume["emptyDir"]) == ("/models", {"sizeLimit": "2Gi"})
    assert "annotations" not in template_of(plan())["metadata"]


def test_a_mounted_release_is_read_only_and_nothing_is_copied():
    base = plan(model_loading="fuse")
    container, mount, volume = parts_of(base)
    assert f"--model-repository=/models/{ID}" in container["args"]
    assert [variable["name"] for variable in container["env"]] == ["HOME"]
    assert mount == {"name": "models", "mountPath": f"/models/{ID}", "readOnly": True}
    assert (volume["csi"]["driver"], volume["csi"]["readOnly"]) == ("gcsfuse.csi.storage.gke.io", True)
    assert volume["csi"]["volumeAttributes"]["bucketName"] == "bucket"
    options = volume["csi"]["volumeAttributes"]["mountOptions"].split(",")
    assert {"implicit-dirs", f"only-dir=models/releases/{ID}", "uid=1000", "gid=1000"} <= set(options)
    assert "file-cache:enable-parallel-downloads:true" in options
    assert "prep/models" not in yaml.safe_load(base.files["deployment-cpu.yaml"])["metadata"]["annotations"]


def test_the_cache_of_a_mount_holds_the_release_and_is_the_sidecars():
    release = make_release(make_entry("bert-onnx", size_mib=2500), target=make_target())
    base = plan(release, model_loading="fuse")
    assert template_of(base)["metadata"]["annotations"] == {
        "gke-gcsfuse/volumes": "true",
        "gke-gcsfuse/ephemeral-storage-limit": "4Gi",
    }
    container, *_ = parts_of(base)
    assert container["resources"]["limits"]["ephemeral-storage"] == "2Gi"  # /tmp, and the container's own layer


def test_the_sidecar_of_a_mount_gets_its_token_past_the_proxy():
    annotations = template_of(plan(model_loading="fuse", gateway="istio", host="a.b"))["metadata"]["annotations"]
    assert annotations["traffic.sidecar.istio.io/excludeOutboundIPRanges"] == "169.254.169.254/32"
    assert yaml.safe_load(annotations["proxy.istio.io/config"])["holdApplicationUntilProxyStarts"] is True


def test_a_place_that_would_end_an_option_of_the_mount_is_refused():
    release = CPU.model_copy(update={"uri": f"gs://bucket/a,b/releases/{ID}"})
    with pytest.raises(SpecError, match="has a comma in it") as caught:
        plan(release, model_loading="fuse")
    assert "--model-loading copy" in caught.value.hint
    assert plan(release).files
