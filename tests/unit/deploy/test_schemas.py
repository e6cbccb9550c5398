"""Every form of a base against the schemas of its kinds, and that those schemas refuse what is wrong."""

from typing import Any

import pytest
import yaml
from prep_triton.deploy.base import plan_base
from prep_triton.deploy.request import DeploymentSpec

from tests.fakes.kubernetes_schemas import SPECS, check_manifests
from tests.fakes.served_release import ID, make_entry, make_plan, make_release, make_target

GATEWAY_API = {"gateway": "gateway-api", "host": "bert.example.com", "tls_secret": "cert"}
ISTIO = {"gateway": "istio", "host": "bert.example.com", "tls_secret": "cert"}
FORMS: dict[str, dict[str, Any]] = {
    "default": {},
    "gateway-api": {**GATEWAY_API, "autoscaler": "managed", "spot": True, "gpu_sharing": "mps", "gpu_clients": 2},
    "istio": {**ISTIO, "canary": 10, "monitoring": "operator"},
    "canary": {**GATEWAY_API, "canary": 10, "autoscaler": "managed", "spot": True},
}


def render(*, cpu: bool = False, **choices: Any) -> list[dict[str, Any]]:
    gpus = make_entry("bert", make_plan("t4"), make_plan("l4"))
    release = make_release(make_entry("bert-onnx"), target=make_target()) if cpu else make_release(gpus)
    newer = "20260201T235959Z-ba9876543210"
    candidate = release.model_copy(update={"id": newer, "uri": release.uri.replace(ID, newer)})
    spec = DeploymentSpec(**choices)
    base = plan_base(release, spec, None, candidate if spec.canary else None)
    return [yaml.safe_load(text) for text in base.files.values()]


@pytest.mark.parametrize("form", FORMS)
def test_every_object_of_a_form_is_as_its_kind_says(form: str):
    manifests = render(**FORMS[form])
    assert sum(check_manifests(manifests).values()) == len(manifests) - 1


def test_the_forms_have_every_custom_kind():
    kinds = {f"{entry['apiVersion']}/{entry['kind']}" for form in FORMS.values() for entry in render(**form)}
    assert kinds >= SPECS.keys()


@pytest.mark.parametrize("form", ["default", "gateway-api", "canary"])
def test_servers_without_a_gpu_are_as_their_kinds_say(form: str):
    choices = {key: value for key, value in FORMS[form].items() if not key.startswith("gpu_")}
    check_manifests(render(cpu=True, **choices))


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("HTTPRoute", lambda spec: spec["rules"][0].update(timeouts={"request": "30s"})),
        ("HTTPRoute", lambda spec: spec["rules"][0]["matches"][0]["path"].update(type="RegularExpression")),
        ("HTTPRoute", lambda spec: spec["rules"][0]["matches"].extend(spec["rules"][0]["matches"] * 10)),
        ("HealthCheckPolicy", lambda spec: spec["default"].update(timeoutSec=0)),
        ("GCPBackendPolicy", lambda spec: spec["default"].update(timeoutSec="30s")),
        ("ComputeClass", lambda spec: spec["priorities"][0].update(Spot=True)),
        ("AutoscalingMetric", lambda spec: spec["metrics"][0]["pod"].pop("selector")),
        ("Gateway", lambda spec: spec["listeners"][0].update(hostname="*")),
        ("Deployment", lambda spec: spec["template"]["spec"].update(nodeSelectors={})),
    ],
)
def test_what_a_kind_does_not_take_is_found(kind: str, change):
    manifest = next(entry for entry in render(**FORMS["gateway-api"]) if entry["kind"] == kind)
    check_manifests([manifest])
    change(manifest["spec"])
    with pytest.raises(AssertionError, match=kind):
        check_manifests([manifest])
