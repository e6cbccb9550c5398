"""`prep deploy` on a published release: a real GCS server, Kubernetes' own schemas, and kubectl where there is one."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from prep_triton.artifact import RepositoryEntry
from prep_triton.cli.app import app
from prep_triton.containers import TABLE_VARIABLE
from prep_triton.deploy.lifecycle import render_proxy_config
from prep_triton.manifest import load_artifact, save_manifest
from prep_triton.publish.release import publish_release
from prep_triton.publish.uri import open_store
from typer.testing import CliRunner

from tests.fakes.benched import make_judged_run
from tests.fakes.documents import parse_document
from tests.fakes.kubernetes_schemas import check_manifests
from tests.fakes.prep_command import Prep
from tests.fakes.served_release import make_plan, make_target

pytestmark = pytest.mark.integration

JOBS_DIR = Path(__file__).parents[2] / "configs" / "gke" / "nightly"


@pytest.fixture
def publish(make_repository: Callable[..., Path], gcs_bucket: str) -> Callable[..., str]:
    """Publish a release whose entry `bert` has these plans; return its URI."""

    def make(*plans: Any, target: Any = None, current: bool = True) -> str:
        repository = make_repository("bert", "bert-onnx")
        if plans:
            folder = repository / "bert"
            entry = load_artifact(folder, RepositoryEntry)
            assert entry
            capabilities = tuple(plan.compute_capability for plan in plans)
            update = {"runtime": "tensorrt", "engines": plans, "compute_capabilities": capabilities}
            save_manifest(entry.model_copy(update=update), folder)
        store = open_store(f"gs://{gcs_bucket}/models")
        return str(publish_release(repository, store, target=target, make_current=current).uri)

    return make


TABLE = """
"30.01": {triton: "3.1.0", tensorrt: "10.16.1.12", python: "3.12", min_compute_capability: "7.5"}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, in which commands run."""
    work_dir = tmp_path / "work"
    work_dir.mkdir()
    monkeypatch.chdir(work_dir)
    return work_dir


def deploy(*arguments: str, code: int = 0) -> dict[str, Any]:
    """Run `prep deploy` in this process; return its document, or the error of one that has to fail."""
    done = CliRunner().invoke(app, ["deploy", *arguments, "--json"])
    assert done.exit_code == code, done.output
    document: dict[str, Any] = parse_document(done.stdout, "error" if code else "deploy")
    return document["error"] if code else document


def load_base(folder: Path) -> list[dict[str, Any]]:
    return [yaml.safe_load(path.read_text()) for path in sorted(folder.glob("*.yaml"))]


def test_release_becomes_a_base_that_kubernetes_accepts(publish, folder: Path):
    uri = publish(make_plan("t4"), make_plan("l4"))
    message = deploy(uri, "-o", "base", "--service-account", "triton@project.iam.gserviceaccount.com")
    assert message["release"] == uri.rpartition("/")[2]
    assert message["deployments"] == ["triton-t4", "triton-l4"]
    objects = load_base(folder / "base")
    assert len(objects) == len(message["written"]) == 15
    check_manifests(objects)


def test_kubectl_accepts_the_base(publish, folder: Path):
    command = find_kustomize()
    uri = publish(make_plan("t4"))
    deploy(uri, "-o", "base", "--namespace", "ml")
    done = subprocess.run([*command, str(folder / "base")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    objects = list(yaml.safe_load_all(done.stdout))
    assert {manifest["metadata"].get("namespace", manifest["metadata"]["name"]) for manifest in objects} == {"ml"}
    assert {manifest["metadata"]["labels"]["app.kubernetes.io/version"] for manifest in objects} == {
        uri.rpartition("/")[2]
    }
    (deployment,) = (manifest for manifest in objects if manifest["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "nvcr.io/nvidia/tritonserver:25.08-py3"
    assert f"--model-repository={uri}" in container["args"]
    assert "app.kubernetes.io/version" not in deployment["spec"]["selector"]["matchLabels"]


def test_kubernetes_and_kubectl_accept_a_base_that_mounts_the_bucket(publish, folder: Path):
    uri = publish(make_plan("t4"))
    deploy(uri, "-o", "base", "--model-loading", "fuse", "--namespace", "ml", "--priority-class", "serving")
    done = subprocess.run([*find_kustomize(), str(folder / "base")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    objects = list(yaml.safe_load_all(done.stdout))
    assert [manifest["metadata"]["name"] for manifest in objects if manifest["kind"] == "Namespace"] == ["ml"]
    check_manifests(objects)
    (deployment,) = (manifest for manifest in objects if manifest["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert f"--model-repository=/models/{uri.rpartition('/')[2]}" in container["args"]


def test_overlay_of_the_docs_has_an_injected_proxy_outlive_the_server(publish, folder: Path):
    text = (Path(__file__).parents[2] / "docs" / "releases.md").read_text()
    (overlay,) = re.findall(r"```yaml\n(resources: \[\.\./gke\].*?)```", text, re.DOTALL)
    (folder / "overlay").mkdir()
    (folder / "overlay" / "kustomization.yaml").write_text(overlay)
    deploy(publish(make_plan("t4")), "-o", "gke", "--model-loading", "fuse")
    built = subprocess.run([*find_kustomize(), "overlay"], capture_output=True, text=True, check=True).stdout
    (deployment,) = (manifest for manifest in yaml.safe_load_all(built) if manifest["kind"] == "Deployment")
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert annotations["proxy.istio.io/config"] == render_proxy_config()
    assert annotations["gke-gcsfuse/volumes"] == "true"


def test_what_was_measured_becomes_targets_and_sizes_that_kubernetes_accepts(publish, folder: Path):
    uri = publish()
    (folder / "run.json").write_text(make_judged_run(name="bert", key=f"{0:016x}").model_dump_json())
    message = deploy(uri, "-o", "base", "--bench", "run.json")
    assert message["measured_pools"] == ["cpu"]
    assert message["measured"]["entries"][0]["load"] == "100/s poisson, batch 1"
    check_manifests(load_base(folder / "base"))
    autoscaler = yaml.safe_load((folder / "base" / "horizontalpodautoscaler-cpu.yaml").read_text())
    assert autoscaler["metadata"]["annotations"]["prep/bench-run"] == "run.json of 2026-01-02"
    # The run did not load bert-onnx, which the release has too.
    servers = yaml.safe_load((folder / "base" / "deployment-cpu.yaml").read_text())
    assert servers["metadata"]["annotations"]["prep/memory"].endswith("the measured server did not serve bert-onnx")
    (folder / "run.json").write_text(make_judged_run(name="bert", key="another").model_dump_json())
    error = deploy(uri, "-o", "base", "--bench", "run.json", code=2)
    assert error["message"].startswith("run.json measured another bert than the release has")


def test_kubernetes_and_kubectl_accept_the_nightly_jobs():
    check_manifests(load_base(JOBS_DIR))
    done = subprocess.run([*find_kustomize(), str(JOBS_DIR)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {manifest["metadata"]["namespace"] for manifest in yaml.safe_load_all(done.stdout)} == {"prep"}


def describe(manifest: dict[str, Any]) -> str:
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def find_kustomize() -> list[str]:
    """Return the command that renders a base, or skip."""
    if kubectl := shutil.which("kubectl"):
        return [kubectl, "kustomize"]
    if kustomize := shutil.which("kustomize"):
        return [kustomize, "build"]
    pytest.skip("neither kubectl nor kustomize is on PATH")


def test_store_means_its_current_release_and_the_target_that_it_was_made_for(publish, folder: Path):
    uri = publish(make_plan("t4", version="10.13.3.9"), target=make_target("25.09", t4="7.5"))
    message = deploy(uri.partition("/releases/")[0], "--dry-run")
    assert message["release"] == uri.rpartition("/")[2]
    assert message["fleet"]["triton"]["tag"] == "25.09"
    assert message["written"] == []
    assert list(folder.iterdir()) == []


def test_dry_run_prints_what_kubectl_takes(publish, folder: Path, gcs_bucket: str):
    publish(make_plan("t4"))
    publish(make_plan("t4"), make_plan("l4"), current=False)
    options = [f"gs://{gcs_bucket}/models", "--gateway", "istio", "--host", "bert.example.com", "--canary", "10"]
    done = Prep(folder).run("deploy", *options, "--spot", "--namespace", "ml", "--dry-run")
    assert list(folder.iterdir()) == []
    streamed = {describe(manifest): manifest for manifest in yaml.safe_load_all(done.stdout)}
    assert next(iter(streamed)) == "Namespace/ml"
    assert {"Deployment/triton-canary-l4", "Gateway/triton"} <= streamed.keys()
    deploy(*options, "--spot", "--namespace", "ml", "-o", "base")
    built = subprocess.run([*find_kustomize(), "base"], capture_output=True, text=True, check=True).stdout
    expected = {describe(manifest): manifest for manifest in yaml.safe_load_all(built)}
    for name, manifest in expected.items():
        if name.startswith("ComputeClass/"):  # the cluster's: Kustomize does not know that
            del manifest["metadata"]["namespace"]
    assert streamed == expected


def test_older_flag_of_the_gateway_is_named(publish, folder: Path, gcs_bucket: str):
    publish()
    older = Prep(folder).run("deploy", f"gs://{gcs_bucket}/models", "--no-istio", "--dry-run")
    assert "--no-istio is an older name of --gateway none, the default" in older.stderr
    assert "Gateway" not in [manifest["kind"] for manifest in yaml.safe_load_all(older.stdout)]
    assert list(folder.iterdir()) == []


def test_candidate_gets_its_part_until_it_is_promoted(publish, folder: Path):
    current = publish(make_plan("t4"))
    candidate = publish(make_plan("t4"), make_plan("l4"), current=False)
    store, _, candidate_id = candidate.rpartition("/releases/")
    options = [store, "-o", "base", "--gateway", "gateway-api", "--host", "bert.example.com"]
    message = deploy(*options, "--canary", "10")
    assert message["release"] == current.rpartition("/")[2]
    assert message["canary"]["release"] == candidate_id
    check_manifests(load_base(folder / "base"))
    done = subprocess.run([*find_kustomize(), str(folder / "base")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    labels = [manifest["metadata"]["labels"] for manifest in yaml.safe_load_all(done.stdout)]
    beside = [entry for entry in labels if entry.get("app.kubernetes.io/instance") == message["canary"]["instance"]]
    assert {entry["app.kubernetes.io/version"] for entry in beside} == {candidate_id}
    assert {entry["app.kubernetes.io/managed-by"] for entry in labels} == {"prep"}
    promoted = CliRunner().invoke(app, ["rollback", store, candidate_id])
    assert promoted.exit_code == 0, promoted.output
    error = deploy(*options, "--canary", "10", code=2)
    assert f"the candidate {candidate_id} is the release that is served" in error["message"]
    assert deploy(*options)["release"] == candidate_id
    assert not list((folder / "base").glob("*canary*"))


def test_second_release_changes_what_it_must_and_no_selector(publish, folder: Path):
    deploy(publish(make_plan("t4"), make_plan("l4")), "-o", "base")
    first = {manifest["kind"]: manifest for manifest in load_base(folder / "base")}
    deploy(publish(make_plan("t4")), "-o", "base")
    assert not (folder / "base" / "deployment-l4.yaml").exists()
    second = {manifest["kind"]: manifest for manifest in load_base(folder / "base")}
    assert first["Service"]["spec"] == second["Service"]["spec"]
    assert first["Deployment"]["spec"]["selector"] == second["Deployment"]["spec"]["selector"]
    assert first["Deployment"]["spec"]["template"] != second["Deployment"]["spec"]["template"]


@pytest.mark.parametrize(
    ("arguments", "code", "message", "hint"),
    [
        (["./releases"], 2, "'./releases' is not on GCS", "prep publish"),
        (["gs://{bucket}/models/releases/nothing"], 2, "'nothing' is not the id of a release", "prep releases"),
        (["gs://{bucket}/models/releases/20200101T000000Z-0123456789ab"], 2, "has no release 2020", "prep releases"),
        (["gs://{bucket}/models"], 2, "there is no release under", "prep publish"),
        (["gs://{bucket}/models", "--replicas", "9"], 2, "replicas must be MIN,MAX", ""),
        (["gs://{bucket}/models", "--name", "t" * 41], 2, "is not a name: at most 40", ""),
        (["gs://{bucket}/models", "--namespace", "kube-system"], 2, "'kube-system' belongs to the cluster", ""),
        (["gs://{bucket}/models", "--namespace", "-"], 2, "'-' is not a name in Kubernetes", ""),
        (["gs://{bucket}/models", "--model-loading", "mount"], 2, "--model-loading", "copy"),
        (["gs://{bucket}/models", "--host", "a.b"], 2, "host belongs to --gateway gateway-api or istio", "--gateway"),
    ],
)
def test_wrong_request_is_one_sentence_and_writes_nothing(
    arguments: list[str], code: int, message: str, hint: str, folder: Path, gcs_bucket: str
):
    error = deploy(*(argument.format(bucket=gcs_bucket) for argument in arguments), code=code)
    assert message in error["message"]
    assert hint in error["hint"]
    assert list(folder.iterdir()) == []


def test_release_that_the_servers_would_not_load_is_one_sentence(
    publish, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    (folder / "table.yaml").write_text(TABLE)
    monkeypatch.setenv(TABLE_VARIABLE, str(folder / "table.yaml"))
    uri = publish(make_plan("t4", version="10.16.1.11"))
    error = deploy(uri, "--target", "30.01", code=1)
    assert "was built by TensorRT 10.16.1.11, Triton 30.01 has TensorRT 10.16.1.12" in error["message"]
    assert "'tensorrt==10.16.1.12'" in error["hint"]
    error = deploy(uri, "--target", "30.02", code=2)
    assert "Triton 30.02 is not in the table of releases" in error["message"]
    assert TABLE_VARIABLE in error["hint"]
    error = deploy(uri, "--target", "26.05-trtllm", code=1)
    assert error["hint"].endswith("--target 26.05")
    assert [path.name for path in folder.iterdir()] == ["table.yaml"]


def test_servers_get_the_gpus_that_instances_name_or_the_release_is_refused(
    make_repository, gcs_bucket: str, folder: Path
):
    repository = make_repository("bert", "bert-onnx")
    groups = [{"count": 1, "kind": "gpu", "gpus": [0, 4]}]
    entry = load_artifact(repository / "bert", RepositoryEntry)
    assert entry
    spec = {**entry.spec, "serving": {**entry.spec.get("serving", {}), "instance_groups": groups}}
    save_manifest(entry.model_copy(update={"spec": spec}), repository / "bert")
    uri = str(publish_release(repository, open_store(f"gs://{gcs_bucket}/models"), target=None).uri)
    error = deploy(uri, "--gpu", "t4", code=1)
    assert error["message"] == ("bert has instances on GPU 4, and no node with t4 has more than 4 GPUs (0 to 3)")
    done = Prep(folder).run("deploy", uri, "--gpu", "l4", "-o", "base")
    assert "bert-onnx: served by the CPU of nodes with l4" in done.stderr
    (container,) = yaml.safe_load((folder / "base" / "deployment-l4.yaml").read_text())["spec"]["template"]["spec"][
        "containers"
    ]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "5"


def test_file_of_the_users_is_not_overwritten(publish, folder: Path):
    base = folder / "base"
    base.mkdir()
    (base / "kustomization.yaml").write_text("resources: []\n")
    uri = publish(make_plan("t4"))
    error = deploy(uri, "-o", "base", code=2)
    assert "was not written by prep" in error["message"]
    assert [path.name for path in base.iterdir()] == ["kustomization.yaml"]
    deploy(uri, "-o", "base", "--force")
    assert "deployment-t4.yaml" in {path.name for path in base.iterdir()}
