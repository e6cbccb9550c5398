"""A Grafana dashboard of Triton's metrics, as a ConfigMap that Grafana's sidecar loads by its label.

The names of the metrics are those of Triton's docs/user_guide/metrics.md; a test holds them to what a real server
exports. Its variables choose the data source, the namespace, the servers (``container``) and the models.
"""

import json
from typing import Any

from prep_triton.deploy.names import Manifest, head_of, labels_of_service
from prep_triton.deploy.request import DeploymentSpec

DASHBOARD_FILE = "triton.json"
# What the sidecar of Grafana's chart looks for.
SIDECAR_LABEL = {"grafana_dashboard": "1"}
# https://grafana.com/docs/grafana: at most 40 characters.
_MOST_UID_CHARACTERS = 40
_COLUMNS, _ROWS = 12, 8
_WINDOW = "$__rate_interval"
_SERVERS = 'namespace=~"$namespace", container=~"$container"'
_MODELS = f'{_SERVERS}, model=~"$model"'

# Title, unit of Grafana's, and queries with their legends.
_Panel = tuple[str, str, tuple[tuple[str, str], ...]]


def render_dashboard(spec: DeploymentSpec) -> Manifest:
    """Render the ConfigMap of a deployment's dashboard."""
    labels = {**labels_of_service(spec), **SIDECAR_LABEL}
    text = json.dumps(make_dashboard(spec), indent=2) + "\n"
    return {
        **head_of("ConfigMap", "v1", f"{spec.name}-dashboard", labels=labels),
        "data": {DASHBOARD_FILE: text},
    }


def make_dashboard(spec: DeploymentSpec) -> dict[str, Any]:
    """Return the dashboard as Grafana imports it."""
    return {
        "uid": f"{spec.namespace}-{spec.name}"[:_MOST_UID_CHARACTERS],
        "title": f"Triton: {spec.name} in {spec.namespace}",
        "tags": ["triton", "prep"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": _make_variables(spec)},
        "panels": [_make_panel(index, panel) for index, panel in enumerate(_PANELS)],
    }


def _per_request(metric: str) -> str:
    """Return the mean of a duration for each request, in microseconds."""
    return f"{_sum_rate(metric)} / {_sum_rate('nv_inference_request_success')}"


def _sum_rate(metric: str, labels: str = "model") -> str:
    return f"sum by ({labels}) (rate({metric}{{{_MODELS}}}[{_WINDOW}]))"


_PANELS: tuple[_Panel, ...] = (
    ("Requests answered", "reqps", ((_sum_rate("nv_inference_request_success"), "{{model}}"),)),
    (
        "Requests failed or turned away",
        "reqps",
        ((_sum_rate("nv_inference_request_failure", "model, reason"), "{{model}} {{reason}}"),),
    ),
    ("Time of a request, mean", "µs", ((_per_request("nv_inference_request_duration_us"), "{{model}}"),)),
    ("Time in the queue, mean", "µs", ((_per_request("nv_inference_queue_duration_us"), "{{model}}"),)),
    (
        "Time in the model, mean",
        "µs",
        (
            (_per_request("nv_inference_compute_input_duration_us"), "{{model}} input"),
            (_per_request("nv_inference_compute_infer_duration_us"), "{{model}} infer"),
            (_per_request("nv_inference_compute_output_duration_us"), "{{model}} output"),
        ),
    ),
    (
        "Requests that wait",
        "short",
        ((f"sum by (model) (nv_inference_pending_request_count{{{_MODELS}}})", "{{model}}"),),
    ),
    (
        "Batch that is executed, mean rows",
        "short",
        ((f"{_sum_rate('nv_inference_count')} / {_sum_rate('nv_inference_exec_count')}", "{{model}}"),),
    ),
    ("Servers that answer", "short", ((f"sum by (container) (up{{{_SERVERS}}})", "{{container}}"),)),
    ("GPU in use", "percentunit", ((f"nv_gpu_utilization{{{_SERVERS}}}", "{{pod}} {{gpu_uuid}}"),)),
    (
        "GPU memory",
        "percentunit",
        (
            (
                f"nv_gpu_memory_used_bytes{{{_SERVERS}}} / nv_gpu_memory_total_bytes{{{_SERVERS}}}",
                "{{pod}} {{gpu_uuid}}",
            ),
        ),
    ),
    ("GPU power", "watt", ((f"nv_gpu_power_usage{{{_SERVERS}}}", "{{pod}} {{gpu_uuid}}"),)),
    (
        "Pinned memory",
        "percentunit",
        (
            (
                f"nv_pinned_memory_pool_used_bytes{{{_SERVERS}}} / nv_pinned_memory_pool_total_bytes{{{_SERVERS}}}",
                "{{pod}}",
            ),
        ),
    ),
)


def _make_panel(index: int, panel: _Panel) -> dict[str, Any]:
    title, unit, queries = panel
    return {
        "id": index + 1,
        "type": "timeseries",
        "title": title,
        "datasource": _DATASOURCE,
        "gridPos": {"h": _ROWS, "w": _COLUMNS, "x": index % 2 * _COLUMNS, "y": index // 2 * _ROWS},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "table", "placement": "bottom", "calcs": ["mean", "max"]}},
        "targets": [
            {"refId": chr(ord("A") + number), "datasource": _DATASOURCE, "expr": query, "legendFormat": legend}
            for number, (query, legend) in enumerate(queries)
        ],
    }


_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


def _make_variables(spec: DeploymentSpec) -> list[dict[str, Any]]:
    metric = "nv_inference_request_success"
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        _make_variable("namespace", f"label_values({metric}, namespace)", chosen=spec.namespace),
        _make_variable("container", f'label_values({metric}{{namespace=~"$namespace"}}, container)'),
        _make_variable("model", f"label_values({metric}{{{_SERVERS}}}, model)"),
    ]


def _make_variable(name: str, query: str, *, chosen: str | None = None) -> dict[str, Any]:
    current = {"text": chosen or "All", "value": chosen or "$__all"}
    return {
        "name": name,
        "type": "query",
        "datasource": _DATASOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "current": current,
    }
