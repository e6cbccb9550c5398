"""Alert rules on Triton's metrics, from what the release says of its entries: their tiers, and how long they may wait.

GKE's managed Prometheus evaluates the kind `Rules`, whose queries it narrows to the namespace by itself; Prometheus'
operator has `PrometheusRule` with the same groups, whose queries name the namespace. Servers are told apart by the
label `container`, which both give every series of a pod: it is the pool's name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prep_triton.artifact import RepositoryEntry
from prep_triton.deploy.accelerators import Pool
from prep_triton.deploy.names import Manifest, head_of, labels_of_service, name_of_pool
from prep_triton.deploy.request import DeploymentSpec
from prep_triton.spec import ServingSpec, Tier

# How long requests may wait on average, by the entry's tier: tier 2 gets what tier 1 leaves, in its bursts too.
QUEUE_LIMIT_MS: dict[Tier | None, int] = {1: 50, None: 200, 2: 2000}
# A queue waits for more requests on purpose, up to its delay: no limit is near it.
QUEUE_LIMIT_DELAYS = 10
FAILED_SHARE = 0.01
REJECTED_SHARE = 0.05
# Of the waiting requests that add a server: so many more wait where the added ones do not come or do not help.
PENDING_FACTOR = 4
GPU_MEMORY_SHARE = 0.95
INTERVAL_S = 30
_RATE_WINDOW = "5m"
# What turns a request away by a rule of its queue, or because its client left, is no failure of a model.
_NOT_FAILED = "REJECTED|CANCELED"


@dataclass(frozen=True)
class _Alert:
    """One rule: `page` somebody, or leave a ticket."""

    name: str
    expression: str
    minutes: int
    is_page: bool
    summary: str
    description: str

    def render(self) -> dict[str, Any]:
        """Return the rule as Prometheus has it."""
        return {
            "alert": self.name,
            "expr": self.expression,
            "for": f"{self.minutes}m",
            "labels": {"severity": "page" if self.is_page else "ticket"},
            "annotations": {"summary": self.summary, "description": self.description},
        }


def render_rules(spec: DeploymentSpec, pools: Sequence[Pool], entries: Sequence[RepositoryEntry]) -> Manifest:
    """Render the alert rules of a deployment, in the kind that `spec.monitoring` says."""
    alerts = [
        *_alerts_of_servers(spec, pools),
        *_alerts_of_requests(spec, pools),
        *_alerts_of_queues(spec, pools, entries),
    ]
    kind, version = ("Rules", "monitoring.googleapis.com/v1")
    if spec.monitoring == "operator":
        kind, version = ("PrometheusRule", "monitoring.coreos.com/v1")
    rules = [alert.render() for alert in alerts]
    return {
        **head_of(kind, version, spec.name, labels=labels_of_service(spec)),
        "spec": {"groups": [{"name": spec.name, "interval": f"{INTERVAL_S}s", "rules": rules}]},
    }


def queue_limit_ms(entry: RepositoryEntry) -> int:
    """Return how long the requests of an entry may wait on average."""
    serving = ServingSpec.model_validate(entry.spec.get("serving") or {})
    delay_us = serving.dynamic_batching.max_queue_delay_us if serving.dynamic_batching else 0
    return max(QUEUE_LIMIT_MS[serving.tier], QUEUE_LIMIT_DELAYS * delay_us // 1000)


def _alerts_of_servers(spec: DeploymentSpec, pools: Sequence[Pool]) -> list[_Alert]:
    alerts = []
    least, most = spec.replicas
    for pool in pools:
        name = name_of_pool(spec, pool)
        up = f"up{_select(spec, [pool])} == 1"
        alerts.append(
            _Alert(
                "TritonNoServer",
                f"absent({up})",
                5,
                is_page=True,
                summary=f"no server of {name} answers",
                description="Nothing is served from this pool. Look at the pods' events and their last log.",
            )
        )
        if least > 1:
            alerts.append(
                _Alert(
                    "TritonFewServers",
                    f"count({up}) < {least}",
                    15,
                    is_page=False,
                    summary=f"fewer than {least} servers of {name} answer",
                    description="Nodes may be missing: look for pods that are pending, and at the quota of the GPU.",
                )
            )
        if most > least:
            alerts.append(
                _Alert(
                    "TritonAtMostServers",
                    f"count({up}) >= {most}",
                    30,
                    is_page=False,
                    summary=f"{name} has run its {most} servers for half an hour",
                    description="It cannot grow any further: raise --replicas, or the limit of the node pool.",
                )
            )
    return alerts


def _alerts_of_requests(spec: DeploymentSpec, pools: Sequence[Pool]) -> list[_Alert]:
    failure, success = "nv_inference_request_failure", "nv_inference_request_success"
    total = f"({_rate(success, _select(spec, pools))} + {_rate(failure, _select(spec, pools))})"
    failed = _rate(failure, _select(spec, pools, f'reason!~"{_NOT_FAILED}"'))
    rejected = _rate(failure, _select(spec, pools, 'reason="REJECTED"'))
    limit = PENDING_FACTOR * spec.waiting_requests
    pending = f"sum by (container) (nv_inference_pending_request_count{_select(spec, pools)})"
    alerts = [
        _Alert(
            "TritonRequestsFail",
            f"{failed} / {total} > {FAILED_SHARE:g}",
            5,
            is_page=True,
            summary=f"more than {FAILED_SHARE:.0%} of the requests of {{{{ $labels.model }}}} fail",
            description="Roll back if this began with a release; else the server's log names the error.",
        ),
        _Alert(
            "TritonRequestsRejected",
            f"{rejected} / {total} > {REJECTED_SHARE:g}",
            10,
            is_page=False,
            summary=f"more than {REJECTED_SHARE:.0%} of the requests of {{{{ $labels.model }}}} are turned away",
            description="Its queue is full, or they waited longer than its policy allows.",
        ),
        _Alert(
            "TritonRequestsPending",
            f"{pending} / count by (container) (up{_select(spec, pools)} == 1) > {limit}",
            10,
            is_page=True,
            summary=f"more than {limit} requests wait at each server of {{{{ $labels.container }}}}",
            description=f"{spec.waiting_requests} add a server: the autoscaler is at its end, or no node comes.",
        ),
    ]
    if gpu_pools := [pool for pool in pools if pool.gpu]:
        on_gpus = _select(spec, gpu_pools)
        alerts.append(
            _Alert(
                "TritonGpuMemory",
                f"nv_gpu_memory_used_bytes{on_gpus} / nv_gpu_memory_total_bytes{on_gpus} > {GPU_MEMORY_SHARE:g}",
                10,
                is_page=False,
                summary=f"the GPU of {{{{ $labels.pod }}}} is more than {GPU_MEMORY_SHARE:.0%} full",
                description="A longer batch or another model will not fit: fewer instances, or a smaller batch.",
            )
        )
    return alerts


def _alerts_of_queues(spec: DeploymentSpec, pools: Sequence[Pool], entries: Sequence[RepositoryEntry]) -> list[_Alert]:
    """Return a rule for each limit that entries have; those of tokenizers and ensembles are in their models'."""
    names: dict[int, list[RepositoryEntry]] = {}
    for entry in entries:
        if entry.serves is None:
            names.setdefault(queue_limit_ms(entry), []).append(entry)
    alerts = []
    for limit_ms, waiting in sorted(names.items()):
        models = "|".join(sorted(entry.name.replace(".", "[.]") for entry in waiting))
        selector = _select(spec, pools, f'model=~"{models}"')
        queued = _rate("nv_inference_queue_duration_us", selector)
        tiers = {ServingSpec.model_validate(entry.spec.get("serving") or {}).tier for entry in waiting}
        alerts.append(
            _Alert(
                "TritonQueueLong",
                f"{queued} / {_rate('nv_inference_request_success', selector)} / 1000 > {limit_ms}",
                5,
                is_page=tiers != {2},
                summary=f"requests of {{{{ $labels.model }}}} wait for more than {limit_ms} ms on average",
                description="More load than the servers hold: see pending requests, and the autoscaler.",
            )
        )
    return alerts


def _select(spec: DeploymentSpec, pools: Sequence[Pool], *more: str) -> str:
    """Return the selector of the series of pools' servers."""
    names = "|".join(name_of_pool(spec, pool) for pool in pools)
    own = [f'container=~"{names}"' if len(pools) > 1 else f'container="{names}"']
    if spec.monitoring == "operator":
        own.insert(0, f'namespace="{spec.namespace}"')
    return f"{{{', '.join([*own, *more])}}}"


def _rate(metric: str, selector: str) -> str:
    return f"sum by (model) (rate({metric}{selector}[{_RATE_WINDOW}]))"
