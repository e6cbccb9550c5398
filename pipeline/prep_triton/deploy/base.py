"""A Kustomize base: one file for each object, and the kustomization that lists them."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, assert_never

import yaml

from prep_triton.artifact import Record
from prep_triton.deploy import gateway_api, istio
from prep_triton.deploy.dashboard import BlockText, render_dashboard
from prep_triton.deploy.fleet import Fleet, plan_fleet
from prep_triton.deploy.measured import MeasuredServer, Measurement, choose_pools, measure_pool
from prep_triton.deploy.monitoring import render_rules
from prep_triton.deploy.names import Manifest, name_of_pool
from prep_triton.deploy.namespace import render_namespace
from prep_triton.deploy.network import Backend, render_headless_service, render_service, render_service_account
from prep_triton.deploy.nodes import check_sharing, place_servers, render_compute_class
from prep_triton.deploy.notes import find_notes
from prep_triton.deploy.request import DeploymentSpec, ServedRelease
from prep_triton.deploy.scaling import render_autoscaler, render_autoscaling_metric, render_pod_monitoring
from prep_triton.deploy.workload import render_deployment, render_disruption_budget, resize_deployment

KUSTOMIZATION_NAME = "kustomization.yaml"
MARK = "# Written by prep deploy, "


class Base(Record):
    """A base before it is written: its files' texts by name, and what they deploy.

    `measured` is what autoscaling and sizes are from, where a benchmark was named; `measured_pools` are the pools of
    which that holds.
    """

    release: str
    namespace: str
    fleet: Fleet
    deployments: tuple[str, ...]
    files: dict[str, str]
    measured: MeasuredServer | None = None
    measured_pools: tuple[str, ...] = ()


def plan_base(release: ServedRelease, spec: DeploymentSpec, measured: MeasuredServer | None = None) -> Base:
    """Render the Kustomize base of a release: the same text for the same release, choices and measurement.

    Raises:
        SpecError: The container or a GPU is not known, or several would do and none was named; or what was measured
            holds on none of the nodes.
        RepositoryError: No container, or no GPU of GKE's, serves all entries.
    """
    fleet = plan_fleet(release, spec)
    check_sharing(spec, fleet)
    measurements: dict[str, Measurement] = {}
    if measured:
        chosen = spec.waiting_requests if "waiting_requests" in spec.model_fields_set else None
        pools = choose_pools(measured, fleet.pools)
        measurements = {pool.label: measure_pool(measured, release.size_bytes, chosen) for pool in pools}
    objects = _render_objects(release, spec, fleet, measurements)
    # The namespace first: what is in it is made after it, also from one stream.
    names = sorted(objects, key=lambda name: (name != "namespace", name))
    files = {f"{name}.yaml": _render_file(release, spec, name, objects[name]) for name in names}
    kustomization = _render_kustomization(release, spec, fleet, list(files))
    listing = _render_file(release, spec, KUSTOMIZATION_NAME, kustomization)
    return Base(
        release=release.id,
        namespace=spec.namespace,
        fleet=fleet,
        deployments=tuple(name_of_pool(spec, pool) for pool in fleet.pools),
        files={**files, KUSTOMIZATION_NAME: listing},
        measured=measured,
        measured_pools=tuple(measurements),
    )


def digest_text(text: str) -> str:
    """Return the digest that a file's first line holds of the lines after it."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_unchanged(text: str) -> bool:
    """Return whether prep wrote a file and it was not changed since."""
    first, _, rest = text.partition("\n")
    return first.startswith(MARK) and first.endswith(f" {digest_text(rest)}")


def _render_objects(
    release: ServedRelease, spec: DeploymentSpec, fleet: Fleet, measurements: Mapping[str, Measurement]
) -> dict[str, Manifest]:
    objects = {"serviceaccount": render_service_account(spec), "service": render_service(spec)}
    if namespace := render_namespace(spec):
        objects["namespace"] = namespace
    if not spec.istio:
        objects["service-grpc"] = render_headless_service(spec)
    objects |= _render_gateway(release, spec, [Backend(service=spec.name)])
    for pool in fleet.pools:
        measurement = measurements.get(pool.label)
        deployment = render_deployment(release, spec, fleet, pool)
        if measurement:
            deployment = resize_deployment(release, deployment, measurement)
        objects[f"deployment-{pool.label}"] = place_servers(spec, pool, deployment)
        if spec.spot:
            objects[f"computeclass-{pool.label}"] = render_compute_class(spec, fleet, pool)
        objects[f"poddisruptionbudget-{pool.label}"] = render_disruption_budget(spec, pool)
        objects[f"podmonitoring-{pool.label}"] = render_pod_monitoring(spec, pool)
        if spec.autoscaler == "managed":
            objects[f"autoscalingmetric-{pool.label}"] = render_autoscaling_metric(spec, pool)
        objects[f"horizontalpodautoscaler-{pool.label}"] = render_autoscaler(spec, pool, measurement)
    if spec.monitoring != "none":
        objects["rules"] = render_rules(spec, fleet.pools, release.entries)
        objects["configmap-dashboard"] = render_dashboard(spec)
    return objects


def _render_gateway(release: ServedRelease, spec: DeploymentSpec, backends: Sequence[Backend]) -> dict[str, Manifest]:
    """Render what lets requests in; nothing where no gateway was asked for."""
    match spec.gateway:
        case "none":
            return {}
        case "istio":
            service = istio.render_virtual_service(spec, backends)
            return {"gateway": istio.render_gateway(spec), "virtualservice": service}
        case "gateway-api":
            routes = gateway_api.render_routes(release, spec, backends)
            return {
                "gateway": gateway_api.render_gateway(spec),
                **{f"httproute{route['metadata']['name'].removeprefix(spec.name)}": route for route in routes},
                "healthcheckpolicy": gateway_api.render_health_check(spec),
                "gcpbackendpolicy": gateway_api.render_backend_policy(spec),
            }
        case _:
            assert_never(spec.gateway)


def _render_kustomization(release: ServedRelease, spec: DeploymentSpec, fleet: Fleet, resources: list[str]) -> Manifest:
    image, _, tag = fleet.triton.image.rpartition(":")
    labels = {"app.kubernetes.io/version": release.id, "app.kubernetes.io/managed-by": "prep"}
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": spec.namespace,
        "resources": resources,
        # Not into selectors, which cannot be changed: the next release has another version.
        "labels": [{"pairs": labels, "includeSelectors": False, "includeTemplates": True}],
        "images": [{"name": image, "newTag": tag}],
    }


def _render_file(release: ServedRelease, spec: DeploymentSpec, name: str, manifest: Manifest) -> str:
    body = "".join(f"# {note}\n" for note in find_notes(spec, name)) + _dump(manifest)
    return f"{MARK}for {release.uri}: {digest_text(body)}\n{body}"


class _Dumper(yaml.SafeDumper):
    """Writes lists below their key's column, as Kubernetes' own files do, and no anchors."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        super().increase_indent(flow, False)  # noqa: FBT003 PyYAML's own signature

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


_Dumper.add_representer(
    BlockText, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style="|")
)


def _dump(manifest: Manifest) -> str:
    return yaml.dump(
        manifest, Dumper=_Dumper, sort_keys=False, default_flow_style=False, width=1000, allow_unicode=True
    )
