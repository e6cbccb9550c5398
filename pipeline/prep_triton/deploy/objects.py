"""The objects of a base: those of the release, and those of a candidate beside it."""

from collections.abc import Mapping, Sequence
from typing import assert_never

from prep_triton.deploy import gateway_api, istio
from prep_triton.deploy.canary import Candidate, spec_of_canary
from prep_triton.deploy.dashboard import render_dashboard
from prep_triton.deploy.fleet import Fleet
from prep_triton.deploy.measured import Measurement
from prep_triton.deploy.monitoring import render_rules
from prep_triton.deploy.names import Manifest
from prep_triton.deploy.namespace import render_namespace
from prep_triton.deploy.network import Backend, render_headless_service, render_service, render_service_account
from prep_triton.deploy.nodes import place_servers, render_compute_class
from prep_triton.deploy.request import DeploymentSpec, ServedRelease
from prep_triton.deploy.scaling import (
    render_autoscaler,
    render_autoscaling_metric,
    render_pod_monitor,
    render_pod_monitoring,
)
from prep_triton.deploy.workload import render_deployment, render_disruption_budget, resize_deployment

_VERSION_LABEL = "app.kubernetes.io/version"


def render_release(
    release: ServedRelease, spec: DeploymentSpec, fleet: Fleet, measurements: Mapping[str, Measurement]
) -> dict[str, Manifest]:
    """Render what serves a release, by the names of the files, with the release as a label of each."""
    objects = {"serviceaccount": render_service_account(spec)}
    if namespace := render_namespace(spec):
        objects["namespace"] = namespace
    if not spec.istio:
        objects["service-grpc"] = render_headless_service(spec)
    objects |= _render_gateway(release, spec, split_requests(spec))
    objects |= _render_servers(release, spec, fleet, measurements)
    if spec.monitoring != "none":
        objects["rules"] = render_rules(spec, fleet.pools, release.entries)
        objects["configmap-dashboard"] = render_dashboard(spec)
    return _label_all(release, objects)


def render_canary(
    candidate: Candidate, spec: DeploymentSpec, measurements: Mapping[str, Measurement]
) -> dict[str, Manifest]:
    """Render the candidate's servers beside those of the release: under another name, with the same account."""
    own = spec_of_canary(spec)
    objects = _render_servers(candidate.release, own, candidate.fleet, measurements)
    if spec.monitoring != "none":
        objects["rules"] = render_rules(own, candidate.fleet.pools, candidate.release.entries)
    for manifest in objects.values():
        if manifest["kind"] == "Deployment":
            manifest["spec"]["template"]["spec"]["serviceAccountName"] = spec.name
    return _label_all(candidate.release, {_name_beside(name): manifest for name, manifest in objects.items()})


def _name_beside(name: str) -> str:
    """Return the name of a candidate's file: ``deployment-canary-t4`` of ``deployment-t4``."""
    kind, _, pool = name.partition("-")
    return "-".join(filter(None, (kind, "canary", pool)))


def split_requests(spec: DeploymentSpec) -> list[Backend]:
    """Return the Services behind the gateway, with their parts of the requests."""
    if spec.canary is None:
        return [Backend(service=spec.name)]
    return [
        Backend(service=spec.name, weight=100 - spec.canary),
        Backend(service=spec_of_canary(spec).name, weight=spec.canary),
    ]


def _render_servers(
    release: ServedRelease, spec: DeploymentSpec, fleet: Fleet, measurements: Mapping[str, Measurement]
) -> dict[str, Manifest]:
    objects = {"service": render_service(spec)}
    if spec.gateway == "gateway-api":
        objects["healthcheckpolicy"] = gateway_api.render_health_check(spec)
        objects["gcpbackendpolicy"] = gateway_api.render_backend_policy(spec)
    for pool in fleet.pools:
        measurement = measurements.get(pool.label)
        deployment = render_deployment(release, spec, fleet, pool)
        if measurement:
            deployment = resize_deployment(release, deployment, measurement)
        objects[f"deployment-{pool.label}"] = place_servers(spec, pool, deployment)
        if spec.spot:
            objects[f"computeclass-{pool.label}"] = render_compute_class(spec, fleet, pool)
        objects[f"poddisruptionbudget-{pool.label}"] = render_disruption_budget(spec, pool)
        if spec.monitoring == "operator":
            objects[f"podmonitor-{pool.label}"] = render_pod_monitor(spec, pool)
        if spec.monitoring != "operator" or spec.autoscaler == "stackdriver":
            objects[f"podmonitoring-{pool.label}"] = render_pod_monitoring(spec, pool)
        if spec.autoscaler == "managed":
            objects[f"autoscalingmetric-{pool.label}"] = render_autoscaling_metric(spec, pool)
        autoscaler = render_autoscaler(spec, pool, measurement, max(1, fleet.gpus_per_server))
        objects[f"horizontalpodautoscaler-{pool.label}"] = autoscaler
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
            }
        case _:
            assert_never(spec.gateway)


def _label_all(release: ServedRelease, objects: Mapping[str, Manifest]) -> dict[str, Manifest]:
    """Return objects with the release as a label, of pods too; not of selectors, which cannot be changed."""
    return {name: _label(release, manifest) for name, manifest in objects.items()}


def _label(release: ServedRelease, manifest: Manifest) -> Manifest:
    metadata = manifest["metadata"]
    labelled = {**manifest, "metadata": {**metadata, "labels": {**metadata.get("labels", {}), **_version(release)}}}
    if manifest["kind"] == "Deployment":
        template = _label(release, {**manifest["spec"]["template"], "kind": "Pod"})
        del template["kind"]
        labelled["spec"] = {**manifest["spec"], "template": template}
    return labelled


def _version(release: ServedRelease) -> dict[str, str]:
    return {_VERSION_LABEL: release.id}
