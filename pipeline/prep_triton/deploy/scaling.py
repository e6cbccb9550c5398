"""How many servers: which figures are scraped, and when they add or remove one.

The signal is the gauge of waiting requests, as Google advises: it grows before latency does, and where a GPU is busy
without harm it stays small. Two adapters answer the autoscaler's queries:

- ``stackdriver``: Managed Prometheus scrapes the servers (PodMonitoring), Cloud Monitoring keeps the series under
  ``prometheus.googleapis.com/<metric>/<type>``, and the Custom Metrics Stackdriver Adapter answers. In its queries
  ``|`` stands for ``/``, a selector's key is a field of Monitoring's filter language, and a counter is its rate.
- ``managed``: GKE's own (AutoscalingMetric) asks the pods themselves, for gauges alone. Source:
  https://cloud.google.com/kubernetes-engine/docs/how-to/expose-custom-metrics-autoscaling

How busy a GPU is counts where a server has it alone. Of a shared one GKE has no figure by container, only by node
(https://cloud.google.com/kubernetes-engine/docs/how-to/timesharing-gpus, "Monitor"), and a metric that is missing keeps
every server; Triton's own is of the whole GPU, with its neighbours.
"""

from typing import Any

from prep_triton.deploy.accelerators import Pool
from prep_triton.deploy.measured import INFERENCES_ANNOTATION, Measurement
from prep_triton.deploy.names import METRICS_PORT, Manifest, head_of, labels_of_pool, name_of_pool
from prep_triton.deploy.request import DeploymentSpec

PENDING_METRIC = "nv_inference_pending_request_count"
# Of all GPUs of a server, 0 to 1.
UTILIZATION_METRIC = "nv_gpu_utilization"
# What they are called within an AutoscalingMetric.
_PENDING_NAME = "pending-requests"
_UTILIZATION_NAME = "gpu-utilization"

INFERENCE_METRIC = "prometheus.googleapis.com|nv_inference_count|counter"
DUTY_CYCLE_METRIC = "kubernetes.io|container|accelerator|duty_cycle"
SCRAPE_INTERVAL_S = 15
# Percent of time in which a kernel runs. Beyond this a queue is near.
DUTY_CYCLE_TARGET = 80
CPU_TARGET = 70
# A gauge is a moment: a burst that the next scrape does not see adds no server, which takes minutes to start.
_ADD_AFTER_S = 2 * SCRAPE_INTERVAL_S
_REMOVE_AFTER_S = 600


def _has_own_gpu(spec: DeploymentSpec, pool: Pool) -> bool:
    return bool(pool.gpu) and spec.gpu_sharing is None


def render_pod_monitoring(spec: DeploymentSpec, pool: Pool) -> Manifest:
    """Render what has a pool's servers scraped; its name becomes the label `job` of their series."""
    labels = labels_of_pool(spec, pool)
    return {
        **head_of("PodMonitoring", "monitoring.googleapis.com/v1", name_of_pool(spec, pool), labels=labels),
        "spec": {
            "selector": {"matchLabels": labels},
            "endpoints": [{"port": "metrics", "path": "/metrics", "interval": f"{SCRAPE_INTERVAL_S}s"}],
            "targetLabels": {"metadata": ["pod", "container"]},
        },
    }


def render_pod_monitor(spec: DeploymentSpec, pool: Pool) -> Manifest:
    """Render what has Prometheus' operator scrape a pool's servers; it gives series the pod and container by itself."""
    labels = labels_of_pool(spec, pool)
    return {
        **head_of("PodMonitor", "monitoring.coreos.com/v1", name_of_pool(spec, pool), labels=labels),
        "spec": {
            "selector": {"matchLabels": labels},
            "podMetricsEndpoints": [{"port": "metrics", "path": "/metrics", "interval": f"{SCRAPE_INTERVAL_S}s"}],
        },
    }


def render_autoscaling_metric(spec: DeploymentSpec, pool: Pool) -> Manifest:
    """Render what has GKE's own adapter ask a pool's servers for their gauges."""
    gauges = {
        _PENDING_NAME: PENDING_METRIC,
        **({_UTILIZATION_NAME: UTILIZATION_METRIC} if _has_own_gpu(spec, pool) else {}),
    }
    labels = labels_of_pool(spec, pool)
    container = {
        "endpoint": {"port": METRICS_PORT, "path": "/metrics"},
        "metrics": [{"gauge": {"name": name, "prometheusMetricName": metric}} for name, metric in gauges.items()],
    }
    return {
        **head_of("AutoscalingMetric", "autoscaling.gke.io/v1beta1", name_of_pool(spec, pool), labels=labels),
        "spec": {"metrics": [{"pod": {"selector": {"matchLabels": labels}, "containers": [container]}}]},
    }


def render_autoscaler(
    spec: DeploymentSpec, pool: Pool, measurement: Measurement | None = None, gpus: int = 1
) -> Manifest:
    """Render a pool's HorizontalPodAutoscaler; the metric that asks for the most servers decides.

    Args:
        spec: The choices of the cluster.
        pool: Whose servers it adds and removes.
        measurement: What its targets are from, where they were measured.
        gpus: How many a server has, on a pool with GPUs.
    """
    least, most = spec.replicas
    waiting = str(spec.waiting_requests) if measurement is None else _in_thousandths(measurement.waiting_requests)
    if spec.autoscaler == "managed":
        metrics = _list_managed(spec, pool, waiting)
    else:
        metrics = _list_stackdriver(spec, pool, waiting, measurement)
        if _has_own_gpu(spec, pool):
            # The autoscaler adds up all series, and each GPU of a server has one.
            busy = str(DUTY_CYCLE_TARGET * gpus)
            metrics.append(_external(DUTY_CYCLE_METRIC, _select_container(spec, pool), busy))
    if not pool.gpu:
        target = {"type": "Utilization", "averageUtilization": CPU_TARGET}
        metrics.append({"type": "Resource", "resource": {"name": "cpu", "target": target}})
    name = name_of_pool(spec, pool)
    return {
        **head_of(
            "HorizontalPodAutoscaler",
            "autoscaling/v2",
            name,
            labels=labels_of_pool(spec, pool),
            **_annotate(spec, measurement),
        ),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": least,
            "maxReplicas": most,
            "metrics": metrics,
            # A server takes minutes to start: one quiet moment does not remove it.
            "behavior": {
                "scaleUp": {"stabilizationWindowSeconds": _ADD_AFTER_S, "policies": [_policy("Percent", 100, 60)]},
                "scaleDown": {"stabilizationWindowSeconds": _REMOVE_AFTER_S, "policies": [_policy("Pods", 1, 120)]},
            },
        },
    }


def _list_stackdriver(
    spec: DeploymentSpec, pool: Pool, waiting: str, measurement: Measurement | None
) -> list[dict[str, Any]]:
    """Return what the Stackdriver adapter is asked.

    With a measurement, the rate of each measured entry's inferences too: it grows before a queue does.
    """
    series = _select_scraped(spec, pool)
    metrics = [_external(f"prometheus.googleapis.com|{PENDING_METRIC}|gauge", series, waiting)]
    for entry, rate in measurement.inferences_per_s.items() if measurement else ():
        labels = {**series, "metric.labels.model": entry}
        metrics.append(_external(INFERENCE_METRIC, labels, _in_thousandths(rate)))
    return metrics


def _list_managed(spec: DeploymentSpec, pool: Pool, waiting: str) -> list[dict[str, Any]]:
    """Return what GKE's adapter is asked: no rates, which are of counters."""
    targets = {_PENDING_NAME: waiting}
    if _has_own_gpu(spec, pool):
        targets[_UTILIZATION_NAME] = f"{DUTY_CYCLE_TARGET * 10}m"
    return [
        {
            "type": "Pods",
            "pods": {
                "metric": {"name": f"autoscaling.gke.io|{name_of_pool(spec, pool)}|{name}"},
                "target": {"type": "AverageValue", "averageValue": target},
            },
        }
        for name, target in targets.items()
    ]


def _annotate(spec: DeploymentSpec, measurement: Measurement | None) -> dict[str, dict[str, str]]:
    """Say where the targets are from, without those that the adapter does not take."""
    if measurement is None:
        return {}
    left_out = {INFERENCES_ANNOTATION} if spec.autoscaler == "managed" else set()
    annotations = measurement.scaling_annotations
    return {"annotations": {key: text for key, text in annotations.items() if key not in left_out}}


def _in_thousandths(amount: float) -> str:
    return f"{max(1, round(amount * 1000))}m"


def _external(metric: str, labels: dict[str, str], average: str) -> dict[str, Any]:
    return {
        "type": "External",
        "external": {
            "metric": {"name": metric, "selector": {"matchLabels": labels}},
            "target": {"type": "AverageValue", "averageValue": average},
        },
    }


def _select_scraped(spec: DeploymentSpec, pool: Pool) -> dict[str, str]:
    """Select the series of a pool: of the resource ``prometheus_target``."""
    cluster = {"resource.labels.cluster": spec.cluster} if spec.cluster else {}
    return {
        "resource.type": "prometheus_target",
        **cluster,
        "resource.labels.namespace": spec.namespace,
        "resource.labels.job": name_of_pool(spec, pool),
    }


def _select_container(spec: DeploymentSpec, pool: Pool) -> dict[str, str]:
    """Select the series of a pool: of the resource ``k8s_container``."""
    cluster = {"resource.labels.cluster_name": spec.cluster} if spec.cluster else {}
    return {
        "resource.type": "k8s_container",
        **cluster,
        "resource.labels.namespace_name": spec.namespace,
        "resource.labels.container_name": name_of_pool(spec, pool),
    }


def _policy(kind: str, value: int, period_s: int) -> dict[str, Any]:
    return {"type": kind, "value": value, "periodSeconds": period_s}
