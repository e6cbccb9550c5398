"""The nightly's files: each GPU builds what the whole file wants, nothing has a key, and nobody runs as root."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prep_triton.cli.app import app
from prep_triton.deploy.accelerators import ACCELERATOR_BY_GPU
from prep_triton.run.plan_gpus import list_plan_gpus
from prep_triton.spec import load_run_spec
from typer.testing import CliRunner

ROOT = Path(__file__).parents[3]
WORKFLOW = ROOT / ".github" / "workflows" / "nightly.yml"
JOBS_DIR = ROOT / "configs" / "gke" / "nightly"
NIGHTLY = ROOT / "configs" / "nightly.yaml"


def load_workflow() -> dict[str, Any]:
    return yaml.safe_load(WORKFLOW.read_text())


def list_scripts() -> list[str]:
    """Every shell script of the workflow and of the Jobs."""
    steps = [step["run"] for job in load_workflow()["jobs"].values() for step in job["steps"] if "run" in step]
    pods = [load_pod(path) for path in list_jobs()]
    return steps + [
        container["args"][0] for pod in pods for container in [*pod.get("initContainers", ()), *pod["containers"]]
    ]


def test_workflow_may_read_and_its_last_job_alone_may_prove_who_it_is():
    workflow = load_workflow()
    assert workflow["permissions"] == {"contents": "read"}
    allowed = {name: job.get("permissions") for name, job in workflow["jobs"].items()}
    assert allowed == {"plan": None, "engines": None, "gather": {"contents": "read", "id-token": "write"}}
    assert "secrets." not in WORKFLOW.read_text()
    assert workflow["concurrency"] == {"group": "nightly", "cancel-in-progress": False}


def test_workflow_has_a_job_for_each_gpu_of_the_file():
    engines = load_workflow()["jobs"]["engines"]
    assert engines["strategy"]["matrix"]["gpu"] == "${{ fromJSON(needs.plan.outputs.gpus) }}"
    assert engines["runs-on"][-1] == "gpu-${{ matrix.gpu }}"


def test_actions_are_pinned_by_commit():
    """A tag can be moved to other code, which would run with the job's identity."""
    used = re.findall(r"uses: (\S+)", WORKFLOW.read_text())
    assert used
    assert [action for action in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action)] == []


def test_no_expression_is_pasted_into_a_script():
    assert not [script for script in list_scripts() if "${{" in script]


def test_every_flag_that_the_nightly_gives_prep_exists():
    message = CliRunner().invoke(app, ["run", "--help"], env={"NO_COLOR": "1", "COLUMNS": "200"}).output
    lines = [
        line for script in list_scripts() for line in script.replace("\\\n", " ").splitlines() if "prep run" in line
    ]
    assert lines
    for flag in re.findall(r"(--[a-z-]+)", "\n".join(lines)):
        assert re.search(rf"{flag}\b", message), flag


def list_jobs() -> list[Path]:
    return [*sorted(JOBS_DIR.glob("engines-*.yaml")), JOBS_DIR / "gather.yaml"]


def load_pod(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())["spec"]["jobTemplate"]["spec"]["template"]["spec"]


@pytest.mark.parametrize("path", list_jobs(), ids=lambda path: path.stem)
def test_job_has_no_right_that_it_does_not_need(path: Path):
    pod = load_pod(path)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in [*pod.get("initContainers", ()), *pod["containers"]]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@pytest.mark.parametrize("path", sorted(JOBS_DIR.glob("engines-*.yaml")), ids=lambda path: path.stem)
def test_job_of_a_gpu_runs_on_that_gpu_for_that_gpu(path: Path):
    gpu, pod = path.stem.removeprefix("engines-"), load_pod(path)
    assert pod["nodeSelector"] == {"cloud.google.com/gke-accelerator": ACCELERATOR_BY_GPU[gpu]}
    assert f'prep run "$CONFIG" --only-gpu {gpu} ' in pod["containers"][0]["args"][0]


def run_script(script: str, room: Path, *, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs a script in `room`, with a prep that writes a summary and exits with `code`, and a sleep that fails."""
    for folder in ("bin", ".venv/bin", "shared", "tmp"):
        (room / folder).mkdir(parents=True, exist_ok=True)
    stubs = {
        "prep": f'if [ "$3" = --list-gpus ]; then printf "l4\\nt4\\n"; exit; fi; '
        f'while [ "$1" != --summary ]; do shift; done; echo summary >"$2"; ls -R "{room}/shared"; exit {code}',
        "sleep": "exit 9",
    }
    for path, stub in ((f"{folder}/{name}", stub) for folder in ("bin", ".venv/bin") for name, stub in stubs.items()):
        (room / path).write_text(f"#!/bin/bash\n{stub}\n")
        (room / path).chmod(0o755)
    placed = re.sub(r"/(shared|tmp)/", rf"{room}/\1/", script)
    env |= {"PATH": f"{room / 'bin'}:/usr/bin:/bin", "CONFIG": "nightly.yaml", "RUNNER_TEMP": str(room / "tmp")}
    env |= {"GITHUB_STEP_SUMMARY": str(room / "tmp" / "summary.md")}
    command = ["bash", "-euo", "pipefail", "-c", placed]
    return subprocess.run(command, cwd=room, env=env, capture_output=True, text=True, check=False)


def load_engine_script(gpu: str) -> str:
    return load_pod(JOBS_DIR / f"engines-{gpu}.yaml")["containers"][0]["args"][0]


def load_wait_script() -> str:
    return load_pod(JOBS_DIR / "gather.yaml")["initContainers"][0]["args"][0]


@pytest.mark.parametrize("code", [0, 1, 3])
@pytest.mark.parametrize("gpu", ["l4", "t4"])
def test_job_of_a_gpu_hands_over_what_it_made_and_ends_as_prep_did(tmp_path: Path, gpu: str, code: int):
    done = run_script(load_engine_script(gpu), tmp_path, code=code, JOB_NAME=f"prep-engines-{gpu}-29000000")
    assert done.returncode == code, done.stderr
    assert done.stdout.endswith("summary\n")
    assert [path.name for path in (tmp_path / "shared" / "nights" / "29000000").iterdir()] == [gpu]


def test_another_try_of_a_gpu_takes_its_mark_back_while_it_builds(tmp_path: Path):
    mark = tmp_path / "shared" / "nights" / "29000000" / "l4"
    mark.parent.mkdir(parents=True)
    mark.touch()
    done = run_script(load_engine_script("l4"), tmp_path, JOB_NAME="prep-engines-l4-29000000")
    assert "l4" not in done.stdout.split()
    assert mark.exists()


def test_gather_waits_until_every_gpu_of_its_own_night_is_done(tmp_path: Path):
    for gpu in ("l4", "t4"):
        run_script(load_engine_script(gpu), tmp_path, code=3, JOB_NAME=f"prep-engines-{gpu}-29000000")
    assert run_script(load_wait_script(), tmp_path, JOB_NAME="prep-gather-29000000").returncode == 0
    again = run_script(load_wait_script(), tmp_path, JOB_NAME="prep-gather-again")
    assert (again.returncode, again.stdout) == (9, "waiting for the engines of l4\n")
    (tmp_path / "shared" / "nights" / "29000000" / "t4").unlink()
    late = run_script(load_wait_script(), tmp_path, JOB_NAME="prep-gather-29000000")
    assert (late.returncode, late.stdout) == (9, "waiting for the engines of t4\n")


def test_gather_goes_on_without_a_gpu_whose_job_can_no_longer_run(tmp_path: Path):
    done = run_script(load_wait_script(), tmp_path, JOB_NAME="prep-gather-29000000", SECONDS="9000")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [f"going on without the engines of {gpu}" for gpu in ("l4", "t4")]
    for gpu in ("l4", "t4"):
        cron = yaml.safe_load((JOBS_DIR / f"engines-{gpu}.yaml").read_text())["spec"]
        assert cron["startingDeadlineSeconds"] + cron["jobTemplate"]["spec"]["activeDeadlineSeconds"] == 9000


def test_jobs_of_a_night_are_scheduled_together_and_know_their_names():
    label = {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/job-name']"}}
    crons = [yaml.safe_load(path.read_text()) for path in list_jobs()]
    assert len({(cron["spec"]["schedule"], cron["spec"]["timeZone"]) for cron in crons}) == 1
    for cron, pod in zip(crons, map(load_pod, list_jobs()), strict=True):
        container = [*pod.get("initContainers", ()), *pod["containers"]][0]
        assert {"name": "JOB_NAME", "valueFrom": label} in container["env"]
        assert f"night=${{JOB_NAME#{cron['metadata']['name']}-}}" in container["args"][0]


@pytest.mark.parametrize(("code", "ends"), [(0, 0), (1, 1), (2, 2), (3, 0)])
def test_workflow_hands_over_the_engines_when_only_some_models_failed(tmp_path: Path, code: int, ends: int):
    steps = load_workflow()["jobs"]["engines"]["steps"]
    (script,) = [step["run"] for step in steps if step.get("name") == "Build the engines"]
    done = run_script(script, tmp_path, code=code, GPU="l4")
    assert done.returncode == ends, done.stderr
    assert ("::warning::some models failed on l4" in done.stdout) == (code == 3)


@pytest.mark.parametrize("gpus", [(), ("t4",), ("l4", "t4")], ids=["none", "one", "two"])
def test_workflow_merges_the_workspaces_of_however_many_gpus(tmp_path: Path, gpus: tuple[str, ...]):
    """A single artifact is unpacked into the path itself: download-artifact.ts, `artifacts.length === 1`, since v5."""
    steps = load_workflow()["jobs"]["gather"]["steps"]
    (script,) = [step["run"] for step in steps if step.get("name") == "Merge the workspaces"]
    for gpu in gpus:
        engine = tmp_path / "parts" / (f"workspace-{gpu}" if len(gpus) > 1 else "") / "engine" / f"tiny-{gpu}" / "key"
        engine.mkdir(parents=True)
        (engine / "manifest.json").touch()
    done = run_script(script, tmp_path)
    assert done.returncode == 0, done.stderr
    merged = sorted(path.relative_to(tmp_path / "build").as_posix() for path in tmp_path.rglob("build/**/*.json"))
    assert merged == [f"engine/tiny-{gpu}/key/manifest.json" for gpu in gpus]


def test_workflow_gathers_whatever_became_of_the_engines():
    gather = load_workflow()["jobs"]["gather"]
    assert gather["needs"] == ["plan", "engines"]
    assert gather["if"] == "${{ !cancelled() && needs.plan.result == 'success' }}"


def test_jobs_build_for_every_gpu_of_the_nightly_file():
    resources = yaml.safe_load((JOBS_DIR / "kustomization.yaml").read_text())["resources"]
    gpus = list_plan_gpus(load_run_spec(NIGHTLY))
    assert {f"engines-{gpu}.yaml" for gpu in gpus} == {name for name in resources if name.startswith("engines")}
    assert load_run_spec(NIGHTLY).publish is None


def test_an_outcome_that_another_try_does_not_mend_is_not_tried_again():
    job = yaml.safe_load((JOBS_DIR / "gather.yaml").read_text())["spec"]["jobTemplate"]["spec"]
    assert job["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [2, 3, 4]
    assert load_pod(JOBS_DIR / "gather.yaml")["restartPolicy"] == "Never"


def patch_json(document: Any, patch: list[dict[str, Any]]) -> None:
    """Apply the few operations of RFC 6902 that the kustomization uses; a path that leads nowhere is an error."""
    for step in patch:
        *parents, last = (int(part) if part.isdigit() else part for part in step["path"].split("/")[1:])
        place = document
        for part in parents:
            place = place[part]
        if step["op"] == "add" and last == "-":
            place.append(step["value"])
            continue
        _ = place[last]
        if step["op"] == "remove":
            del place[last]
        else:
            place[last] = step["value"]


def load_jobs_with_cache() -> dict[str, Any]:
    """The Jobs as configs/gke/nightly-cache makes them of those of configs/gke/nightly."""
    folder = JOBS_DIR.with_name("nightly-cache")
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert [(folder / resource).resolve() for resource in kustomization["resources"]] == [JOBS_DIR.resolve()]
    jobs = {(document := yaml.safe_load(path.read_text()))["metadata"]["name"]: document for path in list_jobs()}
    deleted, *patches = kustomization["patches"]
    claim = yaml.safe_load(deleted["patch"])
    assert (claim["kind"], claim["$patch"]) == ("PersistentVolumeClaim", "delete")
    assert claim["metadata"]["name"] == yaml.safe_load((JOBS_DIR / "workspace.yaml").read_text())["metadata"]["name"]
    for patch in patches:
        for name, job in jobs.items():
            if patch["target"].get("name", name) == name:
                patch_json(job, yaml.safe_load(patch["patch"]))
    return jobs


def test_jobs_with_a_cache_need_no_shared_volume():
    jobs = load_jobs_with_cache()
    assert len(jobs) == 3
    for job in jobs.values():
        pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        assert "persistentVolumeClaim" not in str(pod)
        assert "initContainers" not in pod
        (container,) = pod["containers"]
        environment = {variable["name"]: variable.get("value") for variable in container["env"]}
        assert environment["PREP_REMOTE_CACHE"] == "gs://BUCKET/cache"
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert environment["PREP_WORKSPACE"].startswith(mounts["workspace"])
        assert {volume["name"] for volume in pod["volumes"]} == set(mounts)


def test_the_one_that_gathers_begins_when_no_gpu_can_be_at_work():
    jobs = load_jobs_with_cache()
    begins = {name: [int(part) for part in job["spec"]["schedule"].split()[1::-1]] for name, job in jobs.items()}
    hour, minute = begins.pop("prep-gather")
    for name, (gpu_hour, gpu_minute) in begins.items():
        spec = jobs[name]["spec"]
        longest_s = spec["startingDeadlineSeconds"] + spec["jobTemplate"]["spec"]["activeDeadlineSeconds"]
        assert (hour - gpu_hour) * 3600 + (minute - gpu_minute) * 60 >= longest_s


KUEUE_DIR = JOBS_DIR.with_name("nightly-kueue")
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"


def load_queues() -> dict[str, dict[str, Any]]:
    documents = yaml.safe_load_all((KUEUE_DIR / "queues.yaml").read_text())
    return {f"{document['kind']} {document['metadata']['name']}": document for document in documents}


def test_kueue_has_the_jobs_of_the_gpus_wait_and_not_the_one_that_waits_for_them():
    kustomization = yaml.safe_load((KUEUE_DIR / "kustomization.yaml").read_text())
    assert [Path(resource).name for resource in kustomization["resources"]] == [JOBS_DIR.name, "queues.yaml"]
    (patch,) = kustomization["patches"]
    names = {yaml.safe_load(path.read_text())["metadata"]["name"] for path in list_jobs()}
    queued = {name for name in names if re.fullmatch(patch["target"]["name"], name)}
    assert queued == names - {"prep-gather"}
    labels = yaml.safe_load(patch["patch"])["spec"]["jobTemplate"]["metadata"]["labels"]
    assert f"LocalQueue {labels[QUEUE_LABEL]}" in load_queues()
    # With Kueue and without the queue a Job would wait for ever: the label is where the queue is.
    assert not any(QUEUE_LABEL in path.read_text() for path in JOBS_DIR.glob("*.yaml"))


def test_kueues_quota_has_room_for_a_job_of_each_gpu():
    queues = load_queues()
    local = queues["LocalQueue prep-nightly"]
    (group,) = queues[f"ClusterQueue {local['spec']['clusterQueue']}"]["spec"]["resourceGroups"]
    flavors = {flavor["name"]: flavor["resources"] for flavor in group["flavors"]}
    nodes = {name: queues[f"ResourceFlavor {name}"]["spec"]["nodeLabels"] for name in flavors}
    for path in JOBS_DIR.glob("engines-*.yaml"):
        pod = load_pod(path)
        (name,) = [name for name, labels in nodes.items() if labels == pod["nodeSelector"]]
        resources = pod["containers"][0]["resources"]
        # A limit without a request is one.
        requested = {**resources["limits"], **resources["requests"]}
        quota = {resource["name"]: resource["nominalQuota"] for resource in flavors[name]}
        assert quota == requested
        assert set(group["coveredResources"]) == set(requested)
