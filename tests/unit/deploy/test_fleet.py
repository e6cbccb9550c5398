"""Which container and which nodes serve a release."""

import json
import logging
from pathlib import Path

import pytest
from prep_triton.containers import TABLE_VARIABLE, load_triton_releases
from prep_triton.deploy.accelerators import ACCELERATOR_BY_GPU, CPU_POOL, MOST_GPUS_BY_NODE, pool_from_gpu
from prep_triton.deploy.fleet import plan_fleet
from prep_triton.deploy.request import DeploymentSpec
from prep_triton.errors import RepositoryError, SpecError
from prep_triton.gpus import resolve_gpu

from tests.fakes.served_release import make_entry, make_plan, make_release, make_target

TABLE = """
"30.01": {triton: "3.1.0", tensorrt: "10.13.2", python: "3.12", min_compute_capability: "7.5"}
"""


def plan(release, **choices):
    return plan_fleet(release, DeploymentSpec(**choices))


def test_container_is_the_one_that_has_the_plans_tensorrt():
    fleet = plan(make_release())
    assert fleet.triton.image == "nvcr.io/nvidia/tritonserver:25.08-py3"
    assert [pool.accelerator for pool in fleet.pools] == ["nvidia-tesla-t4"]


def test_container_is_the_one_that_the_release_was_made_for():
    release = make_release(make_entry("bert", make_plan(version="10.13.3.9")), target=make_target("25.09", t4="7.5"))
    assert plan(release).triton.tag == "25.09"


def test_several_containers_of_one_tensorrt_are_a_question():
    release = make_release(make_entry("bert", make_plan(version="10.13.3.9")))
    with pytest.raises(SpecError, match=r"25\.09, 25\.10 all serve plans of TensorRT 10\.13\.3") as message:
        plan(release)
    assert message.value.hint == "choose one: --target 25.10"
    assert plan(release, triton="25.09").triton.tag == "25.09"


def test_plans_of_two_tensorrts_have_no_container():
    release = make_release(
        make_entry("bert", make_plan(version="10.13.2.6")), make_entry("minilm", make_plan(version="10.14.1.48"))
    )
    with pytest.raises(
        RepositoryError, match=r"built by TensorRT 10\.13\.2 and 10\.14\.1; .*25\.08 has 10\.13\.2"
    ) as message:
        plan(release)
    assert TABLE_VARIABLE in message.value.hint


def test_container_of_another_tensorrt_is_refused_with_both_versions():
    with pytest.raises(
        RepositoryError, match=r"TensorRT 10\.13\.2\.6, Triton 25\.11 has TensorRT 10\.14\.1"
    ) as message:
        plan(make_release(), triton="25.11")
    assert "prep build-engine" in message.value.hint


def test_unknown_container_is_refused():
    with pytest.raises(SpecError, match=r"Triton 19\.01 is not in the table"):
        plan(make_release(), triton="19.01")


def test_a_users_table_adds_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "table.yaml").write_text(TABLE)
    monkeypatch.setenv(TABLE_VARIABLE, str(tmp_path / "table.yaml"))
    assert plan(make_release(), triton="30.01").triton.tag == "30.01"


def test_version_compatible_plan_leaves_the_choice_to_the_user():
    release = make_release(make_entry("bert", make_plan(version_compatible=True)))
    with pytest.raises(SpecError, match="all serve plans"):
        plan(release)
    assert plan(release, triton="25.11").triton.tag == "25.11"


def test_release_without_plans_needs_no_gpu():
    fleet = plan(make_release(make_entry("bert-onnx"), target=make_target()))
    assert fleet.pools == (CPU_POOL,)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_release_without_plans_takes_the_newest_container_whose_runtime_is_known(
    runtime: str, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "prep_triton")
    fleet = plan(make_release(make_entry("bert-onnx", runtime=runtime)))
    known = [triton.tag for triton in load_triton_releases().values() if getattr(triton, runtime)]
    assert fleet.triton.tag == max(known)
    assert f"Triton {max(known)}, the newest whose " in caplog.text


def test_release_without_plans_takes_the_newest_container_where_none_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "prep_triton")
    tags = {tag: {"onnxruntime": None} for tag in load_triton_releases()}
    (tmp_path / "table.yaml").write_text(json.dumps(tags))
    monkeypatch.setenv(TABLE_VARIABLE, str(tmp_path / "table.yaml"))
    fleet = plan(make_release(make_entry("bert-onnx")))
    assert f"Triton {fleet.triton.tag}, the newest in the table" in caplog.text


def test_gpu_that_nothing_would_use_is_refused():
    with pytest.raises(SpecError, match="t4 would be idle") as message:
        plan(make_release(make_entry("bert-onnx")), gpus=["t4"])
    assert "leave --gpu out" in message.value.hint


@pytest.mark.parametrize(
    "serving",
    [{"instance_kind": "gpu"}, {"instance_groups": [{"kind": "cpu"}, {"kind": "gpu"}]}],
    ids=["one", "groups"],
)
def test_onnx_entry_on_a_gpu_asks_for_one(serving):
    release = make_release(make_entry("bert-onnx", spec={"serving": serving}))
    with pytest.raises(SpecError, match="any GPU serves it"):
        plan(release)
    assert plan(release, gpus=["l4"]).pools[0].accelerator == "nvidia-l4"


def test_mixed_fleet_has_a_pool_for_each_gpu():
    fleet = plan(make_release(make_entry("bert", make_plan("l4"), make_plan("t4"))))
    assert [pool.label for pool in fleet.pools] == ["t4", "l4"]


def test_asked_gpus_are_a_subset():
    release = make_release(make_entry("bert", make_plan("l4"), make_plan("t4")))
    assert [pool.label for pool in plan(release, gpus=["nvidia-l4", "L4"]).pools] == ["l4"]


def test_asked_gpu_without_a_plan_is_refused_with_the_command_that_builds_one():
    with pytest.raises(
        RepositoryError, match=r"plans are for compute capability 7\.5, the target's l4 has 8\.9"
    ) as message:
        plan(make_release(), gpus=["l4"])
    assert "prep build-engine --fp16 --gpu l4" in message.value.hint


def test_pool_that_serves_only_some_entries_is_left_out_aloud(caplog: pytest.LogCaptureFixture):
    release = make_release(make_entry("bert", make_plan("l4"), make_plan("t4")), make_entry("minilm", make_plan("t4")))
    assert [pool.label for pool in plan(release).pools] == ["t4"]
    assert "no servers on l4: minilm" in caplog.text


def test_entries_without_a_common_gpu_are_refused():
    release = make_release(make_entry("bert", make_plan("l4")), make_entry("minilm", make_plan("t4")))
    with pytest.raises(RepositoryError, match=r"bert: its plans are for compute capability 8\.9, the target's t4"):
        plan(release)


def test_plan_of_a_workstation_is_served_by_gkes_gpu_of_its_architecture(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "prep_triton")
    assert plan(make_release(make_entry("bert", make_plan("rtx4090")))).pools[0].gpu == "l4"
    assert "built on rtx4090 is served on GKE's l4" in caplog.text


def test_plan_of_an_architecture_that_gke_has_not_is_refused():
    with pytest.raises(SpecError, match="GKE does not have one obvious GPU for plans built on a10"):
        plan(make_release(make_entry("bert", make_plan("a10"))))


def test_ampere_plus_plan_is_served_by_a_later_gpu_where_asked():
    release = make_release(make_entry("bert", make_plan("a100", hardware_compatible="ampere_plus")))
    assert [pool.label for pool in plan(release, gpus=["l4", "a100-80gb"]).pools] == ["l4", "a100-80gb"]


def test_unknown_gpu_is_refused_with_those_of_gke():
    with pytest.raises(SpecError, match="GKE has no GPU 'a10', it has t4, l4") as message:
        pool_from_gpu("a10")
    assert "--gpu" in message.value.hint


@pytest.mark.parametrize("gpu", ACCELERATOR_BY_GPU)
def test_every_gpu_of_gke_has_its_capability_and_a_most_of_one_node(gpu: str):
    assert MOST_GPUS_BY_NODE[gpu] >= 1
    pool = pool_from_gpu(gpu)
    assert pool.compute_capability == resolve_gpu(gpu.removesuffix("-80gb")).compute_capability
    assert pool_from_gpu(ACCELERATOR_BY_GPU[gpu].upper()) == pool


def test_what_is_in_doubt_is_deployed_and_said(caplog: pytest.LogCaptureFixture):
    target = make_target("25.08", t4="7.5").model_copy(update={"driver": "550.54"})
    fitting = make_release(target=target)
    assert plan(fitting).triton.tag == "25.08"
    assert "the driver 550.54 is older than R580" in caplog.text


def make_gpu_entry(*gpus: int, name: str = "bert-onnx", plans=()):
    groups = [{"kind": "gpu", "gpus": [gpu]} for gpu in gpus]
    return make_entry(name, *plans, spec={"serving": {"instance_groups": groups}})


def test_a_server_needs_all_gpus_up_to_the_largest_that_an_instance_names():
    assert plan(make_release()).gpus_per_server == 1
    assert plan(make_release(make_gpu_entry(0, 2)), gpus=["l4"]).gpus_per_server == 3
    assert plan(make_release(make_gpu_entry(1, plans=[make_plan("t4")]))).gpus_per_server == 2
    assert plan(make_release(make_entry("bert-onnx"))).gpus_per_server == 0


def test_more_gpus_than_a_node_has_are_refused_with_the_nodes_that_have_them():
    release = make_release(make_gpu_entry(0, 4))
    with pytest.raises(
        RepositoryError, match="bert-onnx has instances on GPU 4, and no node with t4 has more than 4 GPUs"
    ) as message:
        plan(release, gpus=["l4", "t4"])
    assert "name GPUs up to 3 in its instance_groups" in message.value.hint
    assert "nodes with l4, a100, " in message.value.hint
    assert plan(release, gpus=["l4"]).gpus_per_server == 5
    with pytest.raises(RepositoryError, match="on GPU 99, and no node with l4 has more than 8 GPUs") as message:
        plan(make_release(make_gpu_entry(99)), gpus=["l4"])
    assert "nodes with" not in message.value.hint


def test_entries_for_a_cpu_are_served_beside_those_for_a_gpu_and_said(caplog: pytest.LogCaptureFixture):
    tokenizer = make_entry("bert-tokenizer", runtime="python", kind="tokenizer", serves="bert")
    release = make_release(
        make_entry("bert", make_plan("t4")), make_entry("minilm-openvino", runtime="openvino"), tokenizer
    )
    fleet = plan(release)
    assert [pool.label for pool in fleet.pools] == ["t4"]
    assert "minilm-openvino: served by the CPU of nodes with t4" in caplog.text
    assert "bert-tokenizer" not in caplog.text


@pytest.mark.parametrize("tag", ["27.01", "26.11"])
def test_container_newer_than_the_table_is_refused_with_how_to_add_it(tag: str):
    with pytest.raises(SpecError, match=f"Triton {tag} is not in the table of releases") as message:
        plan(make_release(), triton=tag)
    assert TABLE_VARIABLE in message.value.hint


def test_image_with_tensorrt_llm_is_refused_for_what_it_does_not_have():
    with pytest.raises(RepositoryError, match="has the backends tensorrtllm and python alone") as message:
        plan(make_release(make_entry("bert-onnx")), triton="26.05-trtllm")
    assert message.value.hint.endswith("--target 26.05")


@pytest.mark.parametrize(("built", "served"), [("10.16.1.11", "10.16.1.12"), ("10.16.1.12", "10.16.1.11")])
def test_plan_of_another_build_of_tensorrt_is_refused(
    built: str, served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """TensorRT loads what the same four numbers built."""
    (tmp_path / "table.yaml").write_text(TABLE.replace("10.13.2", served))
    monkeypatch.setenv(TABLE_VARIABLE, str(tmp_path / "table.yaml"))
    release = make_release(make_entry("bert", make_plan(version=built)))
    with pytest.raises(RepositoryError, match=f"built by TensorRT {built}, Triton 30.01 has TensorRT {served}"):
        plan(release, triton="30.01")
