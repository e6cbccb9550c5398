"""How many servers: which figures are scraped, and when they add or remove one.

Managed Prometheus scrapes the servers (PodMonitoring); Cloud Monitoring (Stackdriver) keeps the series under
``prometheus.googleapis.com/<metric>/<type>``; the Custom Metrics Stackdriver Adapter answers the autoscaler's
queries, in which ``|`` stands for ``/`` and a selector's key is a field of Monitoring's filter language.
"""

from typing import Any

from prep_triton.deploy.accelerators import Pool
from prep_triton.deploy.measured import Measurement
from prep_triton.deploy.names import Manifest, head_of, labels_of_pool, name_of_pool
from prep_triton.deploy.request import DeploymentSpec

QUEUE_METRIC = "prometheus.googleapis.com|nv_inference_queue_duration_us|counter"
INFERENCE_METRIC = "prometheus.googleapis.com|nv_inference_count|counter"
DUTY_CYCLE_METRIC = "kubernetes.io|container|accelerator|duty_cycle"
SCRAPE_INTERVAL_S = 15
# Percent of time in which a kernel runs. Beyond this a queue is near.
DUTY_CYCLE_TARGET = 80
CPU_TARGET = 70


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


def render_autoscaler(spec: DeploymentSpec, pool: Pool, measurement: Measurement | None = None) -> Manifest:
    """Render a pool's HorizontalPodAutoscaler; the metric that asks for the most servers decides.

    The adapter turns a counter into its rate a second. The rate of the microseconds that requests spent in
    queues is, by Little's law, the mean number of requests waiting, times a million. With a measurement, the rate of
    each measured entry's inferences is a metric too: it grows before a queue does.
    """
    least, most = spec.replicas
    waiting = f"{spec.waiting_requests}M"
    if measurement:
        waiting = f"{round(measurement.waiting_requests * 1000)}k"
    metrics = [_external(QUEUE_METRIC, _select_scraped(spec, pool), waiting)]
    for entry, rate in measurement.inferences_per_s.items() if measurement else ():
        labels = {**_select_scraped(spec, pool), "metric.labels.model": entry}
        metrics.append(_external(INFERENCE_METRIC, labels, f"{max(1, round(rate * 1000))}m"))
    if pool.gpu:
        metrics.append(_external(DUTY_CYCLE_METRIC, _select_container(spec, pool), str(DUTY_CYCLE_TARGET)))
    else:
        target = {"type": "Utilization", "averageUtilization": CPU_TARGET}
        metrics.append({"type": "Resource", "resource": {"name": "cpu", "target": target}})
    name = name_of_pool(spec, pool)
    about = {"annotations": measurement.scaling_annotations} if measurement else {}
    return {
        **head_of("HorizontalPodAutoscaler", "autoscaling/v2", name, labels=labels_of_pool(spec, pool), **about),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": least,
            "maxReplicas": most,
            "metrics": metrics,
            # A server takes minutes to start: one quiet moment does not remove it.
            "behavior": {
                "scaleUp": {"stabilizationWindowSeconds": 0, "policies": [_policy("Percent", 100, 60)]},
                "scaleDown": {"stabilizationWindowSeconds": 600, "policies": [_policy("Pods", 1, 120)]},
            },
        },
    }


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
