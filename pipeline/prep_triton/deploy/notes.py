"""What a file of the base says in comments: what the cluster needs for it, and why it is there."""

from prep_triton.deploy.names import GRPC_CONNECTION_AGE_S
from prep_triton.deploy.request import DeploymentSpec

_ROUTE = (
    "Every path is listed: GKE matches whole paths or their beginnings, and what is not listed stays inside,",
    "such as loading models, registering shared memory, logging and tracing.",
)
_MISSING = "While a metric is missing no server is removed: kubectl describe hpa says which one is."
_NOTES = {
    "autoscalingmetric": (
        "The cluster needs GKE 1.35.1-gke.1396000 or later, and takes 20 metrics of this kind in all.",
        "A server has a series of the gauge for each entry, and Google does not say how it puts several together:",
        "--autoscaler stackdriver adds them up.",
    ),
    "computeclass": (
        "A class is the cluster's: making one takes rights there, and the API server ignores the namespace that",
        "Kustomize gives it. It makes node pools of its own, which takes GKE 1.30.3-gke.1451000 or later.",
        "A Spot node that is taken back gives pods about 15 s, less than the servers': clients have to try again.",
    ),
    "configmap-dashboard": ("A dashboard for Grafana: its sidecar loads it by the label, or import the JSON below.",),
    "horizontalpodautoscaler": (
        "The cluster needs the Custom Metrics Stackdriver Adapter, and its account roles/monitoring.viewer.",
        "The queries name the namespace: Kustomize does not change it there. A counter is read as its rate.",
        _MISSING,
    ),
    "namespace": ("To remove the base removes it too, with all that is in it: kubectl delete -k asks nothing.",),
    "podmonitor": (
        "Prometheus takes it, and the rules, where its podMonitorSelector and ruleSelector choose them: those of",
        "kube-prometheus-stack choose by default the label 'release' of the chart, which an overlay adds.",
    ),
    "podmonitoring": ("Its name is the label 'job' of the series, by which queries find them.",),
    "rules": (
        "Managed Prometheus' OperatorConfig says whom alerts reach. A PrometheusRule's queries name the namespace:",
        "Kustomize does not change it there.",
    ),
    "service-grpc": (
        "For gRPC inside the cluster: a ClusterIP keeps a connection, with all its requests, on one server.",
        "Clients call dns:///<this name>:8001 with the load-balancing policy round_robin. They find servers that were",
        f"added when a connection ends, as the servers have each do after {GRPC_CONNECTION_AGE_S // 60} minutes.",
    ),
    "serviceaccount": (
        "Google's account needs roles/storage.objectViewer and roles/storage.legacyBucketReader on the bucket,",
        "and roles/iam.workloadIdentityUser for this one.",
    ),
}
_NOTES_OF_MANAGED_AUTOSCALER = {
    "horizontalpodautoscaler": ("The cluster needs the performance profile of horizontal Pod autoscaling.", _MISSING),
}
_NOTES_OF_GKE_GATEWAY = {
    "gateway": (
        "The cluster needs the Gateway API (--gateway-api=standard), and its region, for a regional class such as",
        "gke-l7-rilb, a proxy-only subnet.",
    ),
    "httproute": _ROUTE,
    "httproute-grpc": (
        "GKE has no GRPCRoute. Its balancers pass gRPC to a port whose appProtocol is kubernetes.io/h2c, though GKE's",
        "report of conformance does not list it: try it before clients rely on it. Over the internet it needs TLS.",
    ),
    "httproute-redirect": ("Plain HTTP is sent to HTTPS.",),
    "healthcheckpolicy": ("By default Google asks GET / on the port that serves, which Triton does not answer.",),
    "gcpbackendpolicy": ("A stream of gRPC ends after timeoutSec too: raise it for longer ones.",),
}


def find_notes(spec: DeploymentSpec, name: str) -> tuple[str, ...]:
    """Return the comments of a file, by its name without suffix, such as ``podmonitoring-t4``."""
    notes = {
        **_NOTES,
        **(_NOTES_OF_MANAGED_AUTOSCALER if spec.autoscaler == "managed" else {}),
        **(_NOTES_OF_GKE_GATEWAY if spec.gateway == "gateway-api" else {}),
    }
    keys = [key for key in notes if name == key or name.startswith(f"{key}-")]
    return notes[max(keys, key=len)] if keys else ()
