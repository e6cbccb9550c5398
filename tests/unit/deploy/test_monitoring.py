"""Alert rules and the dashboard: which entries they are of, and that nothing in them is left undefined."""

import json
import re
from typing import Any

import pytest
import yaml
from prep_triton.deploy.base import Base, plan_base
from prep_triton.deploy.dashboard import make_dashboard
from prep_triton.deploy.monitoring import queue_limit_ms
from prep_triton.deploy.request import DeploymentSpec
from prep_triton.errors import SpecError
from prep_triton.spec.base import build_spec

from tests.fakes.promql import list_labels
from tests.fakes.served_release import make_entry, make_plan, make_release, make_target

# What both Prometheus of GKE's and its operator give a pod's series, and Triton's own.
LABELS = {"namespace", "container", "model", "reason", "pod"}


def entry(name: str, **serving: Any):
    return make_entry(name, make_plan("t4"), make_plan("l4"), spec={"serving": serving} if serving else {})


def plan(*entries: Any, **choices: Any) -> Base:
    return plan_base(make_release(*(entries or (entry("bert"),))), DeploymentSpec(**choices))


def load_rules(base: Base) -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(base.files["rules.yaml"])["spec"]["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def find(base: Base, alert: str) -> list[dict[str, Any]]:
    return [rule for rule in load_rules(base) if rule["alert"] == alert]


@pytest.mark.parametrize(
    ("choice", "kind", "version"),
    [("managed", "Rules", "monitoring.googleapis.com/v1"), ("operator", "PrometheusRule", "monitoring.coreos.com/v1")],
)
def test_rules_are_of_the_kind_that_the_cluster_has(choice: str, kind: str, version: str):
    base = plan(monitoring=choice)
    rules = yaml.safe_load(base.files["rules.yaml"])
    assert (rules["kind"], rules["apiVersion"]) == (kind, version)
    # Managed Prometheus narrows queries to the namespace by itself, wherever Kustomize puts them.
    assert all(('namespace="triton"' in rule["expr"]) is (choice == "operator") for rule in load_rules(base))


def test_prometheus_operator_scrapes_what_its_rules_ask_for():
    base = plan(monitoring="operator")
    monitor = yaml.safe_load(base.files["podmonitor-t4.yaml"])["spec"]
    pod = yaml.safe_load(base.files["deployment-t4.yaml"])["spec"]["template"]
    assert monitor["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    ports = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
    assert {endpoint["port"] for endpoint in monitor["podMetricsEndpoints"]} <= ports
    # The Stackdriver adapter reads what managed Prometheus scrapes; GKE's own asks the pods.
    assert "podmonitoring-t4.yaml" in base.files
    assert "podmonitoring-t4.yaml" not in plan(monitoring="operator", autoscaler="managed").files
    assert "podmonitor-t4.yaml" not in plan().files


def test_without_monitoring_there_is_neither():
    assert {"rules.yaml", "configmap-dashboard.yaml"} & set(plan(monitoring="none").files) == set()


def test_an_unknown_monitoring_is_refused():
    with pytest.raises(SpecError, match="monitoring"):
        build_spec(DeploymentSpec, {"monitoring": "datadog"}, where="the command line")


@pytest.mark.parametrize(
    ("serving", "limit_ms"),
    [
        ({"tier": 1}, 50),
        ({}, 200),
        ({"tier": 2}, 2000),
        ({"tier": 1, "dynamic_batching": {"max_queue_delay_us": 20_000}}, 200),
        ({"dynamic_batching": None}, 200),
    ],
)
def test_a_queue_may_be_as_long_as_the_tier_and_the_delay_allow(serving: dict[str, Any], limit_ms: int):
    assert queue_limit_ms(entry("bert", **serving)) == limit_ms


def test_each_tier_has_its_limit_and_who_is_woken_by_it():
    helper = make_entry("first-tokenizer", serves="first", runtime="python")
    base = plan(entry("first", tier=1), entry("second.one", tier=2), helper)
    rules = {re.findall(r'model=~"([^"]*)"', rule["expr"])[0]: rule for rule in find(base, "TritonQueueLong")}
    assert {models: rule["labels"]["severity"] for models, rule in rules.items()} == {
        "first": "page",
        "second[.]one": "ticket",
    }
    assert rules["first"]["expr"].endswith("/ 1000 > 50")
    assert rules["second[.]one"]["expr"].endswith("/ 1000 > 2000")


def test_rules_follow_the_replicas_and_the_pools():
    one = plan(replicas=(1, 1))
    assert len(find(one, "TritonNoServer")) == 2
    assert find(one, "TritonFewServers") == find(one, "TritonAtMostServers") == []
    many = plan(replicas=(2, 6))
    assert [rule["expr"] for rule in find(many, "TritonFewServers")] == [
        f'count(up{{container="triton-{pool}"}} == 1) < 2' for pool in ("t4", "l4")
    ]
    assert all(rule["expr"].endswith(">= 6") for rule in find(many, "TritonAtMostServers"))


def test_more_requests_wait_than_those_that_add_a_server():
    (rule,) = find(plan(waiting_requests=3), "TritonRequestsPending")
    assert rule["expr"].endswith("> 12")


def test_a_cpu_has_no_memory_of_a_gpu():
    base = plan_base(make_release(make_entry("bert-onnx"), target=make_target()), DeploymentSpec())
    assert find(base, "TritonGpuMemory") == []
    assert find(plan(), "TritonGpuMemory")


def test_labels_are_those_that_every_prometheus_gives():
    expressions = [rule["expr"] for rule in load_rules(plan(monitoring="operator"))]
    assert set().union(*map(list_labels, expressions)) <= LABELS
    assert set().union(*map(list_labels, list_queries())) <= LABELS


def list_queries() -> list[str]:
    return [target["expr"] for panel in make_dashboard(DeploymentSpec())["panels"] for target in panel["targets"]]


def test_the_dashboard_comes_as_grafanas_sidecar_and_an_import_take_it():
    configmap = yaml.safe_load(plan(name="bert").files["configmap-dashboard.yaml"])
    assert configmap["metadata"]["labels"]["grafana_dashboard"] == "1"
    (text,) = configmap["data"].values()
    assert json.loads(text) == make_dashboard(DeploymentSpec(name="bert"))
    assert len(json.loads(text)["uid"]) <= 40


def test_every_variable_of_the_dashboard_is_defined():
    dashboard = make_dashboard(DeploymentSpec())
    text = json.dumps(dashboard)
    variables = {variable["name"]: variable["type"] for variable in dashboard["templating"]["list"]}
    named = {name for pair in re.findall(r"\$(\w+)|\$\{(\w+)\}", text) for name in pair if name}
    assert {name for name in named if not name.startswith("__")} == set(variables)
    assert variables["datasource"] == "datasource"
    sources = [part["datasource"]["uid"] for panel in dashboard["panels"] for part in (panel, *panel["targets"])]
    sources += [
        variable["datasource"]["uid"] for variable in dashboard["templating"]["list"] if "datasource" in variable
    ]
    assert set(sources) == {"${datasource}"}


def test_panels_lie_beside_each_other():
    panels = make_dashboard(DeploymentSpec())["panels"]
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len({panel["id"] for panel in panels}) == len(panels) == 12
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)
