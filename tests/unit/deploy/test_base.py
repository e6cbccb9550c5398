"""What a base holds: structure, and the choices in it."""

import re
from typing import Any

import pytest
import yaml
from prep_triton.deploy.accelerators import ACCELERATOR_BY_GPU
from prep_triton.deploy.base import Base, is_unchanged, plan_base
from prep_triton.deploy.network import GRPC_METHODS, HTTP_PATHS, list_grpc_paths, list_http_paths
from prep_triton.deploy.request import DeploymentSpec

from tests.fakes.served_release import ID, URI, make_entry, make_plan, make_release, make_target


def plan(release=None, **choices) -> Base:
    return plan_base(release or make_release(), DeploymentSpec(**choices))


def load(base: Base, name: str) -> dict[str, Any]:
    return yaml.safe_load(base.files[f"{name}.yaml"])


def container_of(base: Base, pool: str = "t4") -> dict[str, Any]:
    (container,) = load(base, f"deployment-{pool}")["spec"]["template"]["spec"]["containers"]
    return container


def test_base_names_every_file_of_its_own():
    base = plan()
    listed = load(base, "kustomization")["resources"]
    assert sorted([*listed, "kustomization.yaml"]) == sorted(base.files)


def test_base_is_the_same_every_time():
    release = make_release(make_entry("bert", make_plan("t4"), make_plan("l4")))
    assert plan(release).files == plan(release).files


def test_every_file_is_recognised_as_preps_own():
    assert all(is_unchanged(text) for text in plan().files.values())


def test_changed_file_is_no_longer_preps_own():
    text = plan().files["service.yaml"]
    assert not is_unchanged(text.replace("8000", "9000"))


def test_server_is_given_the_release_and_its_arguments():
    args = container_of(plan(make_release(server_arguments=("--rate-limit=execution_count",))))["args"]
    assert args[:2] == ["tritonserver", f"--model-repository={URI}"]
    assert args[-1] == "--rate-limit=execution_count"
    assert {"--strict-readiness=true", "--exit-on-error=true", "--allow-gpu-metrics=true"} <= set(args)


def test_entry_point_of_the_image_runs():
    """NVIDIA's entry point enables CUDA forward compatibility, and says where there is no GPU."""
    on_cpu = container_of(plan(make_release(make_entry("bert-onnx"), target=make_target())), "cpu")
    for container in (container_of(plan()), on_cpu):
        assert "command" not in container
        assert container["args"][0] == "tritonserver"


def test_the_entry_point_can_write_where_it_enables_forward_compatibility():
    """It is kept beside the libraries in the image, where no volume can be mounted without hiding them."""
    assert container_of(plan())["securityContext"]["readOnlyRootFilesystem"] is False


def test_gpu_server_asks_for_its_gpu():
    pod = load(plan(), "deployment-t4")["spec"]["template"]["spec"]
    assert pod["nodeSelector"]["cloud.google.com/gke-accelerator"] == "nvidia-tesla-t4"
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_cpu_server_asks_for_none():
    base = plan(make_release(make_entry("bert-onnx"), target=make_target()))
    pod = load(base, "deployment-cpu")["spec"]["template"]["spec"]
    assert "tolerations" not in pod
    assert list(pod["nodeSelector"]) == ["kubernetes.io/arch"]
    assert "nvidia.com/gpu" not in container_of(base, "cpu")["resources"]["limits"]
    assert "--allow-gpu-metrics=false" in container_of(base, "cpu")["args"]


def test_server_has_no_right_that_it_does_not_need():
    release = make_release(make_entry("bert-onnx"), target=make_target())
    pod = load(plan(release), "deployment-cpu")["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_every_place_that_the_server_writes_to_is_a_volume():
    pod = load(plan(), "deployment-t4")["spec"]["template"]["spec"]
    mounts = {mount["mountPath"]: mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    volumes = {volume["name"]: volume["emptyDir"] for volume in pod["volumes"]}
    assert set(mounts) == {"/models", "/tmp", "/dev/shm"}
    assert volumes[mounts["/dev/shm"]]["medium"] == "Memory"
    assert {"name": "TRITON_GCS_MOUNT_DIRECTORY", "value": "/models"} in pod["containers"][0]["env"]


def test_probes_ask_tritons_health_and_allow_a_slow_start():
    container = container_of(plan())
    assert container["readinessProbe"]["httpGet"] == {"path": "/v2/health/ready", "port": "http"}
    assert container["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"
    start = container["startupProbe"]
    assert start["periodSeconds"] * start["failureThreshold"] >= 600


def test_pod_outlives_its_drain_and_the_servers_own_end():
    pod = load(plan(), "deployment-t4")["spec"]["template"]["spec"]
    drain_s = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][-1])
    exit_s = next(int(arg.partition("=")[2]) for arg in container_of(plan())["args"] if "exit-timeout" in arg)
    assert pod["terminationGracePeriodSeconds"] > drain_s + exit_s


def test_a_classic_proxy_lives_as_long_as_triton_answers_and_no_longer_than_the_pod():
    """A native one does not wait for the duration: it ends after Triton, drained by its own preStop."""
    template = load(plan(gateway="istio", host="a.b"), "deployment-t4")["spec"]["template"]
    proxy = yaml.safe_load(template["metadata"]["annotations"]["proxy.istio.io/config"])
    assert proxy["holdApplicationUntilProxyStarts"] is True
    drained_s = int(proxy["terminationDrainDuration"].removesuffix("s"))
    drain_s = int(template["spec"]["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][-1])
    exit_s = next(int(arg.partition("=")[2]) for arg in container_of(plan())["args"] if "exit-timeout" in arg)
    assert drain_s + exit_s <= drained_s < template["spec"]["terminationGracePeriodSeconds"]


def test_namespace_is_made_before_what_is_in_it():
    base = plan(namespace="ml")
    namespace = load(base, "namespace")
    assert (namespace["kind"], namespace["metadata"]["name"]) == ("Namespace", "ml")
    assert next(iter(base.files)) == "namespace.yaml"
    assert load(base, "kustomization")["resources"][0] == "namespace.yaml"
    assert "namespace.yaml" not in plan(namespace="default").files


def test_priority_class_is_named_where_one_was_asked_for():
    assert "priorityClassName" not in load(plan(), "deployment-t4")["spec"]["template"]["spec"]
    pod = load(plan(priority_class="serving"), "deployment-t4")["spec"]["template"]["spec"]
    assert pod["priorityClassName"] == "serving"


@pytest.mark.parametrize("gpu", ACCELERATOR_BY_GPU)
def test_the_longest_name_fits_into_kubernetes_with_all_that_is_added_to_it(gpu: str):
    release = make_release(make_entry("m", spec={"serving": {"instance_kind": "gpu"}}))
    base = plan(release, name="t" * 40, namespace="n" * 63, gpus=[gpu], triton="25.08")
    for text in base.files.values():
        manifest = yaml.safe_load(text)
        names = [manifest.get("metadata", {}).get("name", "")]
        if manifest["kind"] == "Deployment":
            names += [container["name"] for container in manifest["spec"]["template"]["spec"]["containers"]]
            names += manifest["spec"]["selector"]["matchLabels"].values()
        assert all(len(name) <= 63 for name in names), names


def test_grpc_without_a_mesh_reaches_every_server():
    service = load(plan(), "service-grpc")
    assert service["spec"]["clusterIP"] == "None"
    assert [port["port"] for port in service["spec"]["ports"]] == [8001]
    assert "round_robin" in plan().files["service-grpc.yaml"]
    # Else a client that connected before the autoscaler added a server would never call it.
    assert "--grpc-max-connection-age=300000" in container_of(plan())["args"]
    behind_proxies = plan(gateway="istio", host="a.b")
    assert "service-grpc.yaml" not in behind_proxies.files
    assert not any("connection-age" in argument for argument in container_of(behind_proxies)["args"])


def test_autoscaler_queries_the_series_of_its_own_pool():
    base = plan(make_release(make_entry("bert", make_plan("t4"), make_plan("l4"))), namespace="ml", cluster="prod")
    for pool in ("t4", "l4"):
        queue, duty = load(base, f"horizontalpodautoscaler-{pool}")["spec"]["metrics"]
        assert queue["external"]["metric"] == {
            "name": "prometheus.googleapis.com|nv_inference_pending_request_count|gauge",
            "selector": {
                "matchLabels": {
                    "resource.type": "prometheus_target",
                    "resource.labels.cluster": "prod",
                    "resource.labels.namespace": "ml",
                    "resource.labels.job": load(base, f"podmonitoring-{pool}")["metadata"]["name"],
                }
            },
        }
        assert duty["external"]["metric"]["name"] == "kubernetes.io|container|accelerator|duty_cycle"
        assert duty["external"]["metric"]["selector"]["matchLabels"] == {
            "resource.type": "k8s_container",
            "resource.labels.cluster_name": "prod",
            "resource.labels.namespace_name": "ml",
            "resource.labels.container_name": container_of(base, pool)["name"],
        }


def test_autoscaler_has_the_asked_replicas_and_target():
    spec = load(plan(replicas="2,9", waiting_requests=3), "horizontalpodautoscaler-t4")["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 9)
    assert spec["metrics"][0]["external"]["target"] == {"type": "AverageValue", "averageValue": "3"}
    assert "replicas" not in load(plan(), "deployment-t4")["spec"]


def test_managed_autoscaler_asks_the_pods_for_their_gauges():
    base = plan(autoscaler="managed", waiting_requests=3)
    (metric,) = load(base, "autoscalingmetric-t4")["spec"]["metrics"]
    assert metric["pod"]["selector"] == load(base, "deployment-t4")["spec"]["selector"]
    (container,) = metric["pod"]["containers"]
    assert container["endpoint"] == {"port": 8002, "path": "/metrics"}
    names = {entry["gauge"]["name"]: entry["gauge"]["prometheusMetricName"] for entry in container["metrics"]}
    assert names == {
        "pending-requests": "nv_inference_pending_request_count",
        "gpu-utilization": "nv_gpu_utilization",
    }
    asked = {
        entry["pods"]["metric"]["name"]: entry["pods"]["target"]["averageValue"]
        for entry in load(base, "horizontalpodautoscaler-t4")["spec"]["metrics"]
    }
    assert asked == {
        "autoscaling.gke.io|triton-t4|pending-requests": "3",
        "autoscaling.gke.io|triton-t4|gpu-utilization": "800m",
    }
    assert "Stackdriver" not in base.files["horizontalpodautoscaler-t4.yaml"]
    assert "autoscalingmetric-t4.yaml" not in plan().files


def test_managed_autoscaler_of_cpu_servers_looks_at_the_cpu_and_no_gpu():
    base = plan(make_release(make_entry("bert-onnx"), target=make_target()), autoscaler="managed")
    kinds = [entry["type"] for entry in load(base, "horizontalpodautoscaler-cpu")["spec"]["metrics"]]
    assert kinds == ["Pods", "Resource"]
    assert "nv_gpu_utilization" not in base.files["autoscalingmetric-cpu.yaml"]


def test_gpu_that_others_use_too_adds_no_server():
    """GKE has no duty cycle of a shared GPU by container, and a missing metric would keep every server."""
    choices = {"gpu_sharing": "time-sharing", "gpu_clients": 2}
    (waiting,) = load(plan(**choices), "horizontalpodautoscaler-t4")["spec"]["metrics"]
    assert waiting["external"]["metric"]["name"] == "prometheus.googleapis.com|nv_inference_pending_request_count|gauge"
    managed = plan(**choices, autoscaler="managed")
    (waiting,) = load(managed, "horizontalpodautoscaler-t4")["spec"]["metrics"]
    assert waiting["pods"]["metric"]["name"].endswith("pending-requests")
    assert "nv_gpu_utilization" not in managed.files["autoscalingmetric-t4.yaml"]


def test_each_gpu_of_a_server_has_a_duty_cycle_and_the_autoscaler_adds_them_up():
    serving = {"instance_groups": [{"kind": "gpu", "gpus": [0, 1]}]}
    entry = make_entry("bert-trt-fp16", make_plan("t4"), spec={"serving": serving})
    (_, busy) = load(plan(make_release(entry)), "horizontalpodautoscaler-t4")["spec"]["metrics"]
    assert busy["external"]["target"]["averageValue"] == "160"


def test_autoscaler_waits_for_two_scrapes_before_it_adds_and_ten_minutes_before_it_removes():
    behavior = load(plan(), "horizontalpodautoscaler-t4")["spec"]["behavior"]
    interval = load(plan(), "podmonitoring-t4")["spec"]["endpoints"][0]["interval"]
    assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 2 * int(interval.removesuffix("s"))
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] == 600


def test_autoscaler_of_cpu_servers_looks_at_the_cpu():
    base = plan(make_release(make_entry("bert-onnx"), target=make_target()))
    assert load(base, "horizontalpodautoscaler-cpu")["spec"]["metrics"][1]["resource"]["name"] == "cpu"


def test_selectors_find_the_pods_of_their_pool_alone():
    base = plan(make_release(make_entry("bert", make_plan("t4"), make_plan("l4"))))
    labels = {pool: load(base, f"deployment-{pool}")["spec"]["template"]["metadata"]["labels"] for pool in ("t4", "l4")}
    for pool, other in (("t4", "l4"), ("l4", "t4")):
        for kind in ("deployment", "poddisruptionbudget", "podmonitoring"):
            selected = load(base, f"{kind}-{pool}")["spec"]["selector"]["matchLabels"].items()
            assert selected <= labels[pool].items()
            assert not selected <= labels[other].items()
    assert load(base, "service")["spec"]["selector"].items() <= labels["t4"].items() & labels["l4"].items()


def test_release_is_a_label_but_in_no_selector():
    base = plan(gateway="gateway-api", host="a.b", spot=True, autoscaler="managed")
    for name in base.files.keys() - {"kustomization.yaml"}:
        assert yaml.safe_load(base.files[name])["metadata"]["labels"]["app.kubernetes.io/version"] == ID, name
    deployment = load(base, "deployment-t4")["spec"]
    assert deployment["template"]["metadata"]["labels"]["app.kubernetes.io/version"] == ID
    selectors = [deployment["selector"]["matchLabels"], load(base, "service")["spec"]["selector"]]
    assert not any("app.kubernetes.io/version" in selector for selector in selectors)


def test_service_account_acts_as_googles():
    email = "triton@project.iam.gserviceaccount.com"
    metadata = load(plan(service_account=email), "serviceaccount")["metadata"]
    assert metadata["annotations"] == {"iam.gke.io/gcp-service-account": email}
    assert "annotations" not in load(plan(), "serviceaccount")["metadata"]


def test_gateway_answers_for_its_host_in_plain_http():
    base = plan(gateway="istio", host="bert.example.com")
    (server,) = load(base, "gateway")["spec"]["servers"]
    assert server == {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["bert.example.com"]}
    service = load(base, "virtualservice")["spec"]
    assert service["gateways"] == [load(base, "gateway")["metadata"]["name"]]
    assert service["hosts"] == ["bert.example.com"]
    assert {route["route"][0]["destination"]["port"]["number"] for route in service["http"]} == {8000, 8001}


def test_gateway_with_a_certificate_redirects_to_https():
    plain, secure = load(plan(gateway="istio", host="*", tls_secret="cert"), "gateway")["spec"]["servers"]
    assert plain["tls"] == {"httpsRedirect": True}
    assert secure["tls"]["credentialName"] == "cert"
    assert secure["port"]["number"] == 443


def test_nothing_is_let_in_unless_asked_for():
    files = plan().files
    assert "istio" not in "".join(files.values())
    assert not [name for name in files if name.startswith(("gateway", "httproute", "virtualservice"))]


def gke_gateway(release=None, **choices) -> Base:
    return plan(release, gateway="gateway-api", **({"host": "bert.example.com"} | choices))


def paths_of(route: dict[str, Any]) -> list[str]:
    return [match["path"]["value"] for rule in route["spec"]["rules"] for match in rule["matches"]]


def test_gateway_of_gke_is_internal_unless_asked_otherwise():
    base = gke_gateway()
    assert load(base, "gateway")["spec"] == {
        "gatewayClassName": "gke-l7-rilb",
        "listeners": [{"name": "http", "protocol": "HTTP", "port": 80, "hostname": "bert.example.com"}],
    }
    assert "hostname" not in load(gke_gateway(host="*"), "gateway")["spec"]["listeners"][0]
    external = gke_gateway(gateway_class="gke-l7-regional-external-managed")
    assert load(external, "gateway")["spec"]["gatewayClassName"] == "gke-l7-regional-external-managed"


def test_routes_of_gke_lead_to_the_ports_of_the_service():
    base = gke_gateway()
    ports = {port["port"]: port["appProtocol"] for port in load(base, "service")["spec"]["ports"]}
    for name, port, protocol in (("httproute", 8000, "http"), ("httproute-grpc", 8001, "kubernetes.io/h2c")):
        route = load(base, name)["spec"]
        assert route["parentRefs"] == [{"kind": "Gateway", "name": "triton", "sectionName": "http"}]
        assert [rule["backendRefs"] for rule in route["rules"]] == [
            [{"kind": "Service", "name": "triton", "port": port}] for _ in route["rules"]
        ]
        assert ports[port] == protocol


def test_gateway_of_gke_with_a_certificate_redirects_to_https():
    base = gke_gateway(tls_secret="cert")
    secure = load(base, "gateway")["spec"]["listeners"][1]
    assert (secure["port"], secure["tls"]["certificateRefs"]) == (443, [{"kind": "Secret", "name": "cert"}])
    assert {load(base, name)["spec"]["parentRefs"][0]["sectionName"] for name in ("httproute", "httproute-grpc")} == {
        "https"
    }
    redirect = load(base, "httproute-redirect")["spec"]
    assert redirect["parentRefs"][0]["sectionName"] == "http"
    assert redirect["rules"][0]["filters"][0]["requestRedirect"] == {"scheme": "https", "statusCode": 301}


def test_load_balancer_checks_and_waits_as_the_servers_do():
    base = gke_gateway()
    check = load(base, "healthcheckpolicy")["spec"]
    assert check["default"]["config"]["httpHealthCheck"]["requestPath"] == "/v2/health/ready"
    assert check["default"]["config"]["httpHealthCheck"]["port"] == 8000
    policy = load(base, "gcpbackendpolicy")["spec"]
    assert check["targetRef"] == policy["targetRef"] == {"group": "", "kind": "Service", "name": "triton"}
    exit_s = next(int(arg.partition("=")[2]) for arg in container_of(base)["args"] if "exit-timeout" in arg)
    assert policy["default"]["timeoutSec"] == policy["default"]["connectionDraining"]["drainingTimeoutSec"] == exit_s


def test_many_entries_take_as_many_routes_as_the_api_has_room_for():
    release = make_release(*(make_entry(f"bert-{number}", make_plan()) for number in range(30)))
    base = gke_gateway(release)
    routes = [load(base, name) for name in ("httproute", "httproute-2", "httproute-3", "httproute-4")]
    assert [path for route in routes for path in paths_of(route)] == list_http_paths(release)
    for route in routes:
        assert len(paths_of(route)) <= 128
        assert all(len(rule["matches"]) <= 64 for rule in route["spec"]["rules"])


def test_listed_paths_are_those_that_istio_lets_in():
    release = make_release()
    assert "/v2/models/bert-trt-fp16/versions/1/infer" in list_http_paths(release)
    assert all(re.fullmatch(HTTP_PATHS, path) for path in list_http_paths(release))
    assert all(re.fullmatch(GRPC_METHODS, path) for path in list_grpc_paths())
    assert len(set(list_grpc_paths())) == 11


@pytest.mark.parametrize(
    "path",
    ["/v2", "/v2/health/ready", "/v2/models/bert/infer", "/v2/models/bert/versions/1/infer", "/v2/models/bert/config"],
)
def test_inference_passes_the_gateway(path: str):
    assert re.fullmatch(HTTP_PATHS, path)


@pytest.mark.parametrize(
    "path",
    [
        "/v2/repository/models/bert/unload",
        "/v2/systemsharedmemory/region/x/register",
        "/v2/cudasharedmemory/status",
        "/v2/logging",
        "/v2/trace/setting",
        "/v2/models/bert/trace/setting",
        "/metrics",
        "/v2/models/../repository/index",
    ],
)
def test_control_does_not_pass_the_gateway(path: str):
    assert not re.fullmatch(HTTP_PATHS, path)


def test_grpc_passes_the_gateway_as_http_does():
    for method in ("ModelInfer", "ModelStreamInfer", "ServerReady", "ModelStatistics"):
        assert re.fullmatch(GRPC_METHODS, f"/inference.GRPCInferenceService/{method}")
    for method in ("RepositoryModelLoad", "SystemSharedMemoryRegister", "TraceSetting", "LogSettings"):
        assert not re.fullmatch(GRPC_METHODS, f"/inference.GRPCInferenceService/{method}")
    assert re.fullmatch(GRPC_METHODS, "/grpc.health.v1.Health/Check")
