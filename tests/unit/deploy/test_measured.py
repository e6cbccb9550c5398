"""What of a benchmark goes into manifests, and on which nodes it holds."""

from typing import Any

import pytest
import yaml
from prep_triton.deploy.base import Base, plan_base
from prep_triton.deploy.measured import MeasuredEntry, MeasuredServer, is_gpu
from prep_triton.deploy.request import DeploymentSpec
from prep_triton.errors import SpecError

from tests.fakes.served_release import make_entry, make_plan, make_release, make_target

CPU_RELEASE = make_release(make_entry("bert-onnx", size_mib=200), target=make_target())
POINT = MeasuredEntry(
    name="bert-onnx",
    load="120/s poisson, batch 1",
    verdict="met (99 % confidence, 1,307 requests, 5 over)",
    inferences_per_s=118.5,
    waiting_requests=2.345,
    cpu_cores=1.83,
)


def make_measured(*entries: MeasuredEntry, **changed: Any) -> MeasuredServer:
    values: dict[str, Any] = {
        "run": "run.json of 2026-11-28",
        "command": "prep bench --rate 50:400:50",
        "slo": "p99 <= 50 ms",
        "machine": "Xeon, 2 cores; Triton 2.51.0 (wheel)",
        "is_machine_known": True,
        "memory_mib": 600.0,
    }
    return MeasuredServer(entries=entries or (POINT,), **(values | changed))


def plan(measured: MeasuredServer, release=CPU_RELEASE, **choices: Any) -> Base:
    return plan_base(release, DeploymentSpec(**choices), measured)


def load(base: Base, name: str) -> dict[str, Any]:
    return yaml.safe_load(base.files[f"{name}.yaml"])


def resources_of(base: Base, pool: str = "cpu") -> dict[str, Any]:
    (container,) = load(base, f"deployment-{pool}")["spec"]["template"]["spec"]["containers"]
    return container["resources"]


def test_the_autoscaler_has_the_queue_at_the_knee_and_a_share_of_the_rate():
    waiting, rate, cpu = load(plan(make_measured()), "horizontalpodautoscaler-cpu")["spec"]["metrics"]
    assert waiting["external"]["target"] == {"type": "AverageValue", "averageValue": "2345m"}
    assert rate["external"]["target"] == {"type": "AverageValue", "averageValue": "82950m"}  # 70 % of 118.5
    assert rate["external"]["metric"]["name"] == "prometheus.googleapis.com|nv_inference_count|counter"
    assert rate["external"]["metric"]["selector"]["matchLabels"] == {
        **waiting["external"]["metric"]["selector"]["matchLabels"],
        "metric.labels.model": "bert-onnx",
    }
    assert cpu["resource"]["target"] == {"type": "Utilization", "averageUtilization": 70}


def test_a_server_takes_what_was_seen_with_a_margin():
    """1.83 cores, in tenths; 600 MiB, a quarter more, and 200 MiB of weights that loading holds twice; 256 of shm."""
    resources = resources_of(plan(make_measured()))
    assert (resources["requests"]["cpu"], "cpu" in resources["limits"]) == ("1900m", False)
    assert (resources["requests"]["memory"], resources["limits"]["memory"]) == ("950Mi", "1206Mi")
    estimate = resources_of(plan_base(CPU_RELEASE, DeploymentSpec()))
    assert resources["requests"]["ephemeral-storage"] == estimate["requests"]["ephemeral-storage"]


def test_what_the_run_does_not_know_stays_an_estimate():
    unknown = POINT.model_copy(update={"cpu_cores": None})
    base = plan(make_measured(unknown, memory_mib=None, memory_unknown="the measured server did not serve b"))
    assert resources_of(base) == resources_of(plan_base(CPU_RELEASE, DeploymentSpec()))
    annotations = load(base, "deployment-cpu")["metadata"]["annotations"]
    assert annotations["prep/cpu"] == "an estimate: the run does not have the server's CPU"
    assert annotations["prep/memory"] == "an estimate: the measured server did not serve b"


def test_the_numbers_stand_beside_where_they_are_from():
    base = plan(make_measured())
    scaling = load(base, "horizontalpodautoscaler-cpu")["metadata"]["annotations"]
    sizes = load(base, "deployment-cpu")["metadata"]["annotations"]
    assert scaling["prep/bench-run"] == sizes["prep/bench-run"] == "run.json of 2026-11-28"
    assert scaling["prep/bench-points"] == (
        "bert-onnx at 120/s poisson, batch 1: 118.5 inferences/s, met (99 % confidence, 1,307 requests, 5 over)"
    )
    assert scaling["prep/service-level"] == "p99 <= 50 ms"
    assert scaling["prep/waiting-requests"].startswith("2.35 waited on average at the highest load")
    assert scaling["prep/inferences-per-second"] == "bert-onnx: 70% of the 118.5 that a server holds"
    assert sizes["prep/cpu"].startswith("1.83 cores were busy")
    assert sizes["prep/memory"].startswith("600 MiB were held at most; 25% more, and 200 MiB of models")
    # Another run must not restart servers whose size it does not change.
    assert "prep/bench-run" not in str(load(base, "deployment-cpu")["spec"])


def test_the_entry_with_the_shortest_queue_at_its_knee_decides():
    text = POINT.model_copy(update={"name": "bert-text", "waiting_requests": 1.5, "inferences_per_s": 60.0})
    metrics = load(plan(make_measured(POINT, text)), "horizontalpodautoscaler-cpu")["spec"]["metrics"]
    assert [metric["external"]["target"]["averageValue"] for metric in metrics[:3]] == ["1500m", "82950m", "42000m"]


def test_less_than_one_waiting_request_adds_no_server_and_a_chosen_number_wins():
    measured = make_measured(POINT.model_copy(update={"waiting_requests": 0.2}))
    autoscaler = load(plan(measured), "horizontalpodautoscaler-cpu")
    assert autoscaler["spec"]["metrics"][0]["external"]["target"]["averageValue"] == "1000m"
    assert "0.20 waited" in autoscaler["metadata"]["annotations"]["prep/waiting-requests"]
    chosen = load(plan(measured, waiting_requests=8), "horizontalpodautoscaler-cpu")
    assert chosen["spec"]["metrics"][0]["external"]["target"]["averageValue"] == "8000m"
    assert chosen["metadata"]["annotations"]["prep/waiting-requests"].startswith("8 was chosen; 0.20 waited")


def plan_candidate(*entries, measured: MeasuredServer, release=CPU_RELEASE) -> Base:
    candidate = make_release(*entries, target=make_target()).model_copy(update={"id": "20260201T235959Z-ba9876543210"})
    spec = DeploymentSpec(gateway="istio", host="a.b", canary=10)
    return plan_base(release, spec, measured, candidate)


def test_a_candidate_of_the_same_entries_is_sized_and_scaled_as_the_release():
    base = plan_candidate(make_entry("bert-onnx", size_mib=200), measured=make_measured())
    for name in ("deployment", "horizontalpodautoscaler"):
        own, release = load(base, f"{name}-canary-cpu"), load(base, f"{name}-cpu")
        assert own["metadata"]["annotations"] == release["metadata"]["annotations"]
    assert resources_of(base, "canary-cpu") == resources_of(base)


def test_of_a_candidate_what_is_another_entry_keeps_estimates_and_is_said(caplog: pytest.LogCaptureFixture):
    changed = make_entry("bert-onnx", key="another")
    base = plan_candidate(changed, measured=make_measured())
    assert resources_of(base, "canary-cpu")["requests"]["cpu"] == "3"
    assert len(load(base, "horizontalpodautoscaler-canary-cpu")["spec"]["metrics"]) == 2  # no rate among them
    assert "has another bert-onnx than run.json of 2026-11-28 measured: its servers keep prep's own" in caplog.text

    text = POINT.model_copy(update={"name": "bert-text"})
    release = make_release(make_entry("bert-onnx"), make_entry("bert-text"), target=make_target())
    both = plan_candidate(changed, make_entry("bert-text"), measured=make_measured(POINT, text), release=release)
    rates = load(both, "horizontalpodautoscaler-canary-cpu")["spec"]["metrics"][1:-1]
    assert [rate["external"]["metric"]["selector"]["matchLabels"]["metric.labels.model"] for rate in rates] == [
        "bert-text"
    ]
    assert resources_of(both, "canary-cpu")["requests"]["cpu"] == "1900m"
    memory = load(both, "deployment-canary-cpu")["metadata"]["annotations"]["prep/memory"]
    assert memory == "an estimate: the candidate 20260201T235959Z-ba9876543210 has other entries than were measured"
    assert "its servers scale by bert-text" in caplog.text


def test_a_cpu_run_says_nothing_of_servers_with_a_gpu():
    release = make_release(make_entry("bert", make_plan("t4")))
    with pytest.raises(SpecError) as caught:
        plan(make_measured(), release)
    assert caught.value.message.startswith(
        "run.json of 2026-11-28 was measured without a GPU, and the release is served on t4: neither its rate"
    )
    assert "on a machine with t4" in caught.value.hint


def test_a_run_on_one_gpu_is_for_that_pool_alone(caplog: pytest.LogCaptureFixture):
    release = make_release(make_entry("bert", make_plan("t4"), make_plan("l4")))
    base = plan(make_measured(gpu="Tesla T4"), release)
    assert base.measured_pools == ("t4",)
    assert resources_of(base, "t4")["requests"]["memory"].endswith("Mi")
    annotations = load(base, "deployment-l4")["metadata"]["annotations"]
    assert annotations["prep/memory"].startswith("an estimate, MiB: 2,048 the server")
    assert not {"prep/bench-run", "prep/cpu"} & annotations.keys()
    assert len(load(base, "horizontalpodautoscaler-l4")["spec"]["metrics"]) == 2
    assert "measured on Tesla T4: servers on l4 keep prep's own numbers" in caplog.text


def test_of_a_server_elsewhere_the_rate_is_taken(caplog: pytest.LogCaptureFixture):
    release = make_release(make_entry("bert", make_plan("t4")))
    point = POINT.model_copy(update={"cpu_cores": None})
    base = plan(make_measured(point, is_machine_known=False, memory_mib=None, memory_unknown="not known"), release)
    assert base.measured_pools == ("t4",)
    assert "measured a server on another machine" in caplog.text


@pytest.mark.parametrize(
    ("name", "gpu", "is_it"),
    [
        ("Tesla T4", "t4", True),
        ("NVIDIA L4", "l4", True),
        ("NVIDIA L40S", "l4", False),
        ("NVIDIA A100-SXM4-40GB", "a100", True),
        ("NVIDIA A100-SXM4-80GB", "a100-80gb", True),
        ("NVIDIA A100-SXM4-40GB", "a100-80gb", False),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "rtxpro6000", True),
        (None, "t4", False),
    ],
)
def test_gpus_are_known_by_either_name(name: str | None, gpu: str, *, is_it: bool):
    assert is_gpu(name, gpu) is is_it


def test_the_managed_autoscaler_takes_the_queue_alone_since_rates_are_of_counters():
    base = plan(make_measured(), autoscaler="managed")
    autoscaler = load(base, "horizontalpodautoscaler-cpu")
    waiting, cpu = autoscaler["spec"]["metrics"]
    assert waiting["pods"]["target"] == {"type": "AverageValue", "averageValue": "2345m"}
    assert cpu["type"] == "Resource"
    assert "prep/waiting-requests" in autoscaler["metadata"]["annotations"]
    assert "prep/inferences-per-second" not in autoscaler["metadata"]["annotations"]
