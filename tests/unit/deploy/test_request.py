"""Choices of a deployment that Kubernetes, or the person who pays, would not want."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prep_triton.deploy.request import DeploymentSpec
from prep_triton.errors import SpecError
from prep_triton.spec import build_spec


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"name": "1triton"}, "'1triton' is not a name: at most 40 lower-case letters"),
        ({"name": "t" * 41}, "is not a name"),
        ({"name": "Triton"}, "is not a name"),
        ({"name": "triton\n"}, "has the character '\\n' in it"),
        ({"namespace": "--all"}, "is not a name in Kubernetes"),
        ({"namespace": "a.b"}, "'a.b' is not a name in Kubernetes"),
        ({"namespace": "n" * 64}, "is not a name in Kubernetes: at most 63"),
        ({"namespace": ""}, "'' is not a name in Kubernetes"),
        ({"namespace": "ML"}, "'ML' is not a name in Kubernetes"),
        ({"namespace": "kube-system"}, "the namespace 'kube-system' belongs to the cluster"),
        ({"namespace": "gke-managed-system"}, "the namespace 'gke-managed-system' belongs to the cluster"),
        ({"model_loading": "mount"}, "model_loading"),
        ({"priority_class": "High!"}, "'High!' is not a name in Kubernetes"),
        ({"replicas": "3"}, "replicas must be MIN,MAX with 1 <= MIN <= MAX, got 3"),
        ({"replicas": "4,2"}, "got 4,2"),
        ({"replicas": "0,2"}, "got 0,2"),
        ({"replicas": "many"}, "'many' is not a list of sizes"),
        ({"gateway": "istio", "host": "bert"}, "'bert' is not a host such as bert.example.com"),
        ({"gateway": "istio", "host": "https://bert.example.com"}, "is not a host"),
        ({"service_account": "triton"}, "'triton' is not a service account such as reader@project.iam"),
        ({"service_account": "a@b.com"}, "is not a service account"),
        ({"gateway": "istio", "host": "a.b", "tls_secret": "A"}, "is not a name in Kubernetes"),
        ({"triton": "2.60"}, "'2.60' is not a tag of NVIDIA's Triton containers, such as 25.08"),
        ({"host": "bert.example.com"}, "host belongs to gateway: gateway-api or istio"),
        ({"tls_secret": "cert"}, "tls_secret belongs to gateway: gateway-api or istio"),
        ({"gateway": "istio"}, "there is no host for gateway: istio"),
        ({"gateway": "gateway-api"}, "there is no host for gateway: gateway-api"),
        ({"gateway": "nginx"}, "'nginx' is not a known value"),
        ({"gateway": "gateway-api", "host": "a.b", "gateway_class": "nginx"}, "'nginx' is not a known value"),
        ({"gateway_class": "gke-l7-rilb"}, "gateway_class belongs to gateway: gateway-api"),
        ({"gateway": "istio", "host": "a.b", "gateway_class": "gke-l7-rilb"}, "gateway_class belongs to gateway"),
        ({"canary": 10}, "a canary's part of the requests is split off at a gateway, and there is none"),
        ({"canary_release": "newest"}, "canary_release belongs to canary"),
        ({"gateway": "istio", "host": "a.b", "canary": 0}, "canary"),
        ({"gateway": "istio", "host": "a.b", "canary": 100}, "canary"),
        ({"gpu_sharing": "mps"}, "gpu_sharing and gpu_clients belong together"),
        ({"gpu_clients": 2}, "gpu_sharing and gpu_clients belong together"),
        ({"gpu_sharing": "mig", "gpu_clients": 2}, "'mig' is not a known value"),
        ({"gpu_sharing": "mps", "gpu_clients": 1}, "gpu_clients"),
        ({"gpu_sharing": "mps", "gpu_clients": 49}, "gpu_clients"),
        ({"spot": True, "namespace": "n" * 50}, "have 56 characters, and the ComputeClass of spot has room for 44"),
        ({"autoscaler": "keda"}, "'keda' is not a known value"),
        ({"autoscaler": "managed", "cluster": "prod"}, "cluster belongs to autoscaler: stackdriver"),
        ({"waiting_requests": 0}, "waiting_requests"),
    ],
)
def test_impossible_choice_is_refused_in_one_sentence(choices, message: str):
    with pytest.raises(SpecError) as caught:
        build_spec(DeploymentSpec, choices, where="the command line")
    assert message in caught.value.message
    assert caught.value.hint


@given(st.text(max_size=70))
def test_any_text_is_a_name_of_kubernetes_or_refused(text: str):
    try:
        spec = build_spec(DeploymentSpec, {"name": text, "namespace": text}, where="the command line")
    except SpecError:
        return
    assert spec.name.isascii()
    assert spec.name == text == spec.name.lower().strip("-")
    assert "\n" not in text
