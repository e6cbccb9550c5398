"""What is deployed, and how: a release as its servers see it, and the choices of the cluster."""

import re
from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import InitErrorDetails

from prep_triton.artifact import Record, RepositoryEntry
from prep_triton.spec import GpuName, Sizes
from prep_triton.spec.base import Spec, describe_rule, refuse_all
from prep_triton.target import Target

Gateway = Literal["none", "gateway-api", "istio"]
# GKE's own classes of its Gateway: inside the VPC, on the internet from one region, and from everywhere.
GatewayClass = Literal["gke-l7-rilb", "gke-l7-regional-external-managed", "gke-l7-global-external-managed"]
# What answers the autoscaler's queries: an adapter to install, or GKE's own.
Autoscaler = Literal["stackdriver", "managed"]
# How several servers use one GPU: in turns, or at once by NVIDIA's Multi-Process Service.
GpuSharing = Literal["time-sharing", "mps"]

# RFC 1035: a Service's name begins with a letter; "-rtxpro6000-canary" still has to fit into 63 characters after it.
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")
# RFC 1123.
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_HOST = re.compile(r"(\*|(\*\.)?([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)+[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)")
_TAG = re.compile(r"[0-9]{2}\.[0-9]{2}(-trtllm)?")
# The prefix kube- is reserved: https://kubernetes.io/docs/concepts/overview/working-with-objects/namespaces. In GKE's
# own nobody may change anything.
_RESERVED_NAMESPACES = ("kube-", "gke-managed-")
_SERVICE_ACCOUNT = re.compile(r"[a-z0-9][-a-z0-9]*@[a-z0-9][-a-z0-9.]*\.gserviceaccount\.com")

Monitoring = Literal["managed", "operator", "none"]
# Of NAMESPACE-NAME-canary-POOL, a label's value too: 63 without dashes, "canary" and the longest pool, "rtxpro6000".
_LONGEST_CLASS_PARTS = 44


def _check_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(
            f"'{text}' is not a name: at most 40 lower-case letters, digits and '-', a letter first; more is "
            "added to it, and Kubernetes takes 63"
        )
    return text


def _check_label(text: str) -> str:
    if not _LABEL.fullmatch(text):
        raise ValueError(f"'{text}' is not a name in Kubernetes: at most 63 lower-case letters, digits and '-'")
    return text


def _check_namespace(text: str) -> str:
    if text.startswith(_RESERVED_NAMESPACES):
        raise ValueError(f"the namespace '{text}' belongs to the cluster, as all of kube-… and gke-managed-… do")
    return _check_label(text)


def _check_host(text: str) -> str:
    if not _HOST.fullmatch(text) or len(text) > 253:
        raise ValueError(f"'{text}' is not a host such as bert.example.com, *.example.com or * for every host")
    return text


def _check_tag(text: str) -> str:
    if not _TAG.fullmatch(text):
        raise ValueError(f"'{text}' is not a tag of NVIDIA's Triton containers, such as 25.08")
    return text


def _check_service_account(text: str) -> str:
    if not _SERVICE_ACCOUNT.fullmatch(text):
        raise ValueError(f"'{text}' is not a service account such as reader@project.iam.gserviceaccount.com")
    return text


ModelLoading = Literal["copy", "fuse"]


class DeploymentSpec(Spec):
    """How a release is served on GKE.

    `replicas` is the smallest and the largest number of servers of each GPU type. `gpus` empty means those that
    the release was built for. `service_account` is Google's, and reads the release. `gateway` is what lets requests
    in from outside the cluster, and chooses a server for each of them: GKE's own (of `gateway_class`, by default one
    inside the VPC), or Istio's. `host` is what it answers for, ``*`` for every host; `tls_secret` the Secret of its
    certificate. `triton` names the container, such as ``25.08``, where the plans leave a choice. `model_loading` is
    Triton's own copy of the release, or a bucket mounted by Cloud Storage FUSE; `priority_class` names a PriorityClass
    of the cluster. `autoscaler` is the adapter that answers the autoscaler; `cluster` narrows the query of
    ``stackdriver`` where one project has several clusters. `spot` asks for Spot nodes, and for others where there are
    none; `gpu_sharing` and `gpu_clients` for GPUs that so many servers share. `waiting_requests` is how many requests
    may wait, on average, at one server before there is another.
    `canary` is the percentage of requests that a candidate gets beside the release: `canary_release`, by default the
    newest one. `monitoring` is who evaluates alert rules: GKE's managed Prometheus, Prometheus' operator, or nobody.
    """

    name: Annotated[str, AfterValidator(_check_name)] = "triton"
    namespace: Annotated[str, AfterValidator(_check_namespace)] = "triton"
    replicas: Sizes = (1, 4)
    gpus: tuple[GpuName, ...] = ()
    service_account: Annotated[str, AfterValidator(_check_service_account)] | None = None
    gateway: Gateway = "none"
    gateway_class: GatewayClass | None = None
    host: Annotated[str, AfterValidator(_check_host)] | None = None
    tls_secret: Annotated[str, AfterValidator(_check_label)] | None = None
    triton: Annotated[str, AfterValidator(_check_tag)] | None = None
    model_loading: ModelLoading = "copy"
    priority_class: Annotated[str, AfterValidator(_check_label)] | None = None
    canary: Annotated[int, Field(ge=1, le=99)] | None = None
    canary_release: str | None = None
    spot: bool = False
    gpu_sharing: GpuSharing | None = None
    gpu_clients: Annotated[int, Field(ge=2, le=48)] | None = None
    autoscaler: Autoscaler = "stackdriver"
    cluster: Annotated[str, AfterValidator(_check_label)] | None = None
    waiting_requests: int = Field(default=8, ge=1)
    monitoring: Monitoring = "managed"

    @model_validator(mode="after")
    def check_replicas(self) -> Self:
        """Check the two numbers, between which an autoscaler stays."""
        if len(self.replicas) != 2 or not 1 <= self.replicas[0] <= self.replicas[1]:
            message = ",".join(map(str, self.replicas))
            raise ValueError(f"replicas must be MIN,MAX with 1 <= MIN <= MAX, got {message or 'nothing'}")
        return self

    @model_validator(mode="after")
    def check_forms(self) -> Self:
        """Refuse choices that belong to another gateway or autoscaler, and a gateway for hosts that nobody named."""
        refuse_all([*self._find_gateway_faults(), *self._find_canary_faults(), *self._find_node_faults()])
        return self

    def _find_gateway_faults(self) -> Iterator[InitErrorDetails]:
        for key in ("host", "tls_secret"):
            if self.gateway == "none" and getattr(self, key) is not None:
                hint = f"add --gateway gateway-api or --gateway istio, or remove {key}"
                yield describe_rule(f"{key} belongs to gateway: gateway-api or istio", hint)
        if self.gateway != "none" and self.host is None:
            hint = "add --host bert.example.com, or --host '*' for every host"
            yield describe_rule(f"there is no host for gateway: {self.gateway}", hint)
        if self.gateway != "gateway-api" and self.gateway_class:
            hint = "add --gateway gateway-api, or remove gateway_class"
            yield describe_rule("gateway_class belongs to gateway: gateway-api", hint)

    def _find_canary_faults(self) -> Iterator[InitErrorDetails]:
        if self.canary is not None and self.gateway == "none":
            hint = "add --gateway gateway-api or --gateway istio, and --host"
            yield describe_rule("a canary's part of the requests is split off at a gateway, and there is none", hint)
        if self.canary is None and self.canary_release is not None:
            yield describe_rule("canary_release belongs to canary", "add --canary 10, or remove canary_release")

    def _find_node_faults(self) -> Iterator[InitErrorDetails]:
        if self.autoscaler == "managed" and self.cluster is not None:
            hint = "leave --cluster out: GKE's own adapter asks the pods"
            yield describe_rule("cluster belongs to autoscaler: stackdriver", hint)
        if (self.gpu_sharing is None) != (self.gpu_clients is None):
            hint = "add for example --gpu-sharing time-sharing --gpu-clients 4"
            message = "gpu_sharing and gpu_clients belong together: how GPUs are shared, and by how many servers"
            yield describe_rule(message, hint)
        length = len(self.namespace) + len(self.name)
        if self.spot and length > _LONGEST_CLASS_PARTS:
            message = (
                f"namespace and name have {length} characters, and the ComputeClass of spot has room for "
                f"{_LONGEST_CLASS_PARTS} of them"
            )
            yield describe_rule(message, "shorten --namespace or --name")

    @property
    def istio(self) -> bool:
        """Whether the servers have Istio's proxy beside them."""
        return self.gateway == "istio"


class ServedRelease(Record):
    """What a deployment needs to know of a release.

    `uri` is the folder that Triton loads, ``gs://bucket/prefix/releases/<id>``; `server_arguments` the union of
    what its entries need; `target` the server that it was made for, where the release says so.
    """

    id: str
    uri: str
    entries: tuple[RepositoryEntry, ...]
    server_arguments: tuple[str, ...] = ()
    target: Target | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes of all entries' files: what every server copies from the bucket."""
        return sum(file.size for entry in self.entries for file in entry.files.values())
