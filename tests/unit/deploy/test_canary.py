"""A candidate beside the release: servers of their own, a part of the requests, and nothing of the release changed."""

from typing import Any

import pytest
import yaml
from prep_triton.deploy.base import Base, plan_base
from prep_triton.deploy.request import DeploymentSpec, ServedRelease
from prep_triton.errors import SpecError

from tests.fakes.served_release import ID, make_entry, make_plan, make_release, make_target

CANDIDATE_ID = "20260201T235959Z-ba9876543210"


def make_candidate(*entries, release_id: str = CANDIDATE_ID, **fields) -> ServedRelease:
    release = make_release(*entries, **fields)
    return release.model_copy(update={"id": release_id, "uri": release.uri.replace(ID, release_id)})


def plan(candidate: ServedRelease | None = None, release: ServedRelease | None = None, **choices) -> Base:
    choices = {"gateway": "gateway-api", "host": "a.b", "canary": 10} | choices
    return plan_base(release or make_release(), DeploymentSpec(**choices), None, candidate or make_candidate())


def load(base: Base, name: str) -> dict[str, Any]:
    return yaml.safe_load(base.files[f"{name}.yaml"])


def without_canary(**choices) -> Base:
    return plan_base(make_release(), DeploymentSpec(gateway="gateway-api", host="a.b", **choices))


def test_servers_of_the_release_are_as_without_a_candidate():
    base, alone = plan(), without_canary()
    changed = {name for name, text in alone.files.items() if base.files[name] != text}
    assert changed == {"kustomization.yaml", "httproute.yaml", "httproute-grpc.yaml"}
    assert {name for name in base.files if name not in alone.files} == {
        f"{name}.yaml"
        for name in (
            "service-canary",
            "healthcheckpolicy-canary",
            "gcpbackendpolicy-canary",
            "deployment-canary-t4",
            "poddisruptionbudget-canary-t4",
            "podmonitoring-canary-t4",
            "horizontalpodautoscaler-canary-t4",
            "rules-canary",
        )
    }


def test_a_candidate_has_alerts_of_its_own_servers():
    (group,) = load(plan(), "rules-canary")["spec"]["groups"]
    expressions = [rule["expr"] for rule in group["rules"]]
    assert len(expressions) > 4
    assert all('container="triton-canary-t4"' in expression for expression in expressions)
    assert "triton-canary" not in plan().files["rules.yaml"]
    assert "rules-canary.yaml" not in plan(monitoring="none").files


def test_requests_are_split_for_http_and_for_grpc():
    for name in ("httproute", "httproute-grpc"):
        for rule in load(plan(), name)["spec"]["rules"]:
            weights = {backend["name"]: backend["weight"] for backend in rule["backendRefs"]}
            assert weights == {"triton": 90, "triton-canary": 10}
    for route in load(plan(gateway="istio", canary=25), "virtualservice")["spec"]["http"]:
        weights = {backend["destination"]["host"]: backend["weight"] for backend in route["route"]}
        assert weights == {"triton": 75, "triton-canary": 25}


def test_candidate_has_its_release_its_pods_and_the_account_of_the_release():
    base = plan()
    deployment = load(base, "deployment-canary-t4")
    pod = deployment["spec"]["template"]
    assert deployment["metadata"]["name"] == "triton-canary-t4"
    assert pod["metadata"]["labels"]["app.kubernetes.io/version"] == CANDIDATE_ID
    assert load(base, "deployment-t4")["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/version"] == ID
    assert any(CANDIDATE_ID in argument for argument in pod["spec"]["containers"][0]["args"])
    assert pod["spec"]["serviceAccountName"] == "triton"
    own, other = (load(base, name)["spec"]["selector"].items() for name in ("service-canary", "service"))
    assert own <= pod["metadata"]["labels"].items()
    assert not other <= pod["metadata"]["labels"].items()
    assert load(base, "healthcheckpolicy-canary")["spec"]["targetRef"]["name"] == "triton-canary"


@pytest.mark.parametrize(("replicas", "percent", "most"), [("1,4", 10, 1), ("2,40", 10, 4), ("1,10", 25, 3)])
def test_candidate_has_as_many_servers_as_its_part_needs(replicas: str, percent: int, most: int):
    spec = load(plan(replicas=replicas, canary=percent), "horizontalpodautoscaler-canary-t4")["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (1, most)
    assert spec["scaleTargetRef"]["name"] == "triton-canary-t4"


def test_candidate_of_another_container_keeps_it():
    newer = make_candidate(
        make_entry("bert-trt-fp16", make_plan(version="10.13.3.9")), target=make_target("25.09", t4="7.5")
    )
    base = plan(newer)
    (container,) = load(base, "deployment-canary-t4")["spec"]["template"]["spec"]["containers"]
    assert base.canary
    assert container["image"].endswith(f":{base.canary.triton}-py3")
    assert base.canary.triton != base.fleet.triton.tag
    assert "images" not in load(base, "kustomization")
    assert "images" in load(plan(), "kustomization")


def test_what_removes_a_candidate_is_known():
    base = plan()
    assert base.canary
    assert base.canary.store == "gs://bucket/models"
    beside = [load(base, name.removesuffix(".yaml")) for name in base.files if "-canary" in name]
    assert {manifest["kind"].lower() for manifest in beside} == set(base.canary.kinds)
    labels = [manifest["metadata"]["labels"]["app.kubernetes.io/instance"] for manifest in beside]
    assert set(labels) == {base.canary.instance}


def test_what_is_no_candidate_is_refused():
    with pytest.raises(SpecError, match=f"the candidate {ID} is the release that is served"):
        plan(make_release())
    with pytest.raises(SpecError, match=f"{CANDIDATE_ID} does not have bert-trt-fp16, which {ID} serves"):
        plan(make_candidate(make_entry("other", make_plan())))
