"""Spot before on demand, and GPUs that servers share."""

from typing import Any

import pytest
import yaml
from prep_triton.deploy.base import Base, plan_base
from prep_triton.deploy.request import DeploymentSpec
from prep_triton.errors import SpecError

from tests.fakes.served_release import make_entry, make_plan, make_release, make_target

SHARED = {"gpu_sharing": "time-sharing", "gpu_clients": 4}


def plan(release=None, **choices) -> Base:
    return plan_base(release or make_release(), DeploymentSpec(**choices))


def load(base: Base, name: str) -> dict[str, Any]:
    return yaml.safe_load(base.files[f"{name}.yaml"])


def pod_of(base: Base, pool: str = "t4") -> dict[str, Any]:
    return load(base, f"deployment-{pool}")["spec"]["template"]["spec"]


def cpu_release():
    return make_release(make_entry("bert-onnx"), target=make_target())


def test_nothing_is_asked_of_nodes_unless_wanted():
    base = plan()
    assert not [name for name in base.files if name.startswith("computeclass")]
    assert set(pod_of(base)["nodeSelector"]) == {"kubernetes.io/arch", "cloud.google.com/gke-accelerator"}
    assert "hostIPC" not in pod_of(base)


def test_spot_comes_first_and_on_demand_behind_it():
    base = plan(make_release(make_entry("bert", make_plan("t4"), make_plan("l4"))), spot=True, namespace="ml")
    for pool, accelerator in (("t4", "nvidia-tesla-t4"), ("l4", "nvidia-l4")):
        manifest = load(base, f"computeclass-{pool}")
        gpu = {"type": accelerator, "count": 1, "driverVersion": "latest"}
        assert manifest["spec"]["priorities"] == [{"gpu": gpu, "spot": True}, {"gpu": gpu, "spot": False}]
        assert manifest["spec"]["whenUnsatisfiable"] == "DoNotScaleUp"
        assert pod_of(base, pool)["nodeSelector"] == {
            "kubernetes.io/arch": "amd64",
            "cloud.google.com/compute-class": manifest["metadata"]["name"],
        }
        assert manifest["metadata"]["name"] == f"ml-triton-{pool}"


def test_a_class_for_servers_without_a_gpu_has_room_for_one():
    base = plan(cpu_release(), spot=True)
    assert load(base, "computeclass-cpu")["spec"]["priorities"] == [
        {"minCores": 4, "spot": True},
        {"minCores": 4, "spot": False},
    ]
    assert float(pod_of(base, "cpu")["containers"][0]["resources"]["requests"]["cpu"]) < 4


def test_shared_gpus_are_chosen_by_labels_of_their_nodes():
    nodes = pod_of(plan(**SHARED))["nodeSelector"]
    assert nodes["cloud.google.com/gke-gpu-sharing-strategy"] == "time-sharing"
    assert nodes["cloud.google.com/gke-max-shared-clients-per-gpu"] == "4"
    assert nodes["cloud.google.com/gke-accelerator"] == "nvidia-tesla-t4"


def test_a_class_shares_its_gpus_itself():
    base = plan(spot=True, **SHARED)
    (first, second) = load(base, "computeclass-t4")["spec"]["priorities"]
    assert first["gpu"]["gpuSharing"] == {"sharingStrategy": "TIME_SHARING", "maxSharedClientsPerGPU": 4}
    assert second["gpu"] == first["gpu"]
    assert "cloud.google.com/gke-gpu-sharing-strategy" not in pod_of(base)["nodeSelector"]


def test_mps_reaches_its_daemon_and_time_sharing_has_none():
    assert pod_of(plan(gpu_sharing="mps", gpu_clients=2))["hostIPC"] is True
    assert "hostIPC" not in pod_of(plan(**SHARED))


def test_no_gpu_is_shared_that_no_server_has_or_that_is_not_enough():
    with pytest.raises(SpecError, match="no server needs a GPU that it could share"):
        plan(cpu_release(), **SHARED)
    two = make_entry("bert", make_plan(), spec={"serving": {"instance_groups": [{"kind": "gpu", "gpus": [1]}]}})
    with pytest.raises(SpecError, match="takes 2 GPUs, and GKE gives a pod one shared GPU at most"):
        plan(make_release(two), **SHARED)
