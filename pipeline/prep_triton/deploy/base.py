"""A Kustomize base: one file for each object, and the kustomization that lists them."""

import hashlib
from collections.abc import Collection, Mapping
from typing import Any

import yaml

from prep_triton.artifact import Record
from prep_triton.deploy.canary import Canary, Candidate, describe_canary, find_measured_part, plan_candidate
from prep_triton.deploy.fleet import Fleet, plan_fleet
from prep_triton.deploy.measured import MeasuredServer, Measurement, choose_pools, measure_pool
from prep_triton.deploy.names import Manifest, name_of_pool
from prep_triton.deploy.nodes import check_sharing
from prep_triton.deploy.notes import find_notes
from prep_triton.deploy.objects import render_canary, render_release
from prep_triton.deploy.request import DeploymentSpec, ServedRelease

KUSTOMIZATION_NAME = "kustomization.yaml"
MARK = "# Written by prep deploy, "


class Base(Record):
    """A base before it is written: its files' texts by name, and what they deploy.

    `measured` is what autoscaling and sizes are from, where a benchmark was named; `measured_pools` are the pools of
    which that holds. `canary` is the candidate beside the release.
    """

    release: str
    namespace: str
    fleet: Fleet
    deployments: tuple[str, ...]
    files: dict[str, str]
    measured: MeasuredServer | None = None
    measured_pools: tuple[str, ...] = ()
    canary: Canary | None = None


def plan_base(
    release: ServedRelease,
    spec: DeploymentSpec,
    measured: MeasuredServer | None = None,
    candidate: ServedRelease | None = None,
) -> Base:
    """Render the Kustomize base of a release: the same text for the same release, choices, measurement and candidate.

    Args:
        release: What is served.
        spec: The choices of the cluster.
        measured: What autoscaling and sizes of the release are taken from; of the candidate, as far as it has the same
            entries.
        candidate: The release that gets `spec.canary` percent of the requests.

    Raises:
        SpecError: The container or a GPU is not known, or several would do and none was named; or what was measured
            holds on none of the nodes; or the candidate is not one.
        RepositoryError: No container, or no GPU of GKE's, serves all entries.
    """
    fleet = plan_fleet(release, spec)
    check_sharing(spec, fleet)
    measurements: dict[str, Measurement] = {}
    if measured:
        pools = choose_pools(measured, fleet.pools)
        measurements = {pool.label: _measure_pool(measured, release, spec) for pool in pools}
    objects, images = render_release(release, spec, fleet, measurements), {fleet.triton.image}
    canary = None
    if candidate:
        planned = plan_candidate(release, candidate, spec)
        part = find_measured_part(measured, release, candidate) if measured else None
        beside = render_canary(planned, spec, _measure_candidate(part, planned, spec, measurements) if part else {})
        canary = describe_canary(planned, spec, {manifest["kind"] for manifest in beside.values()})
        objects |= beside
        images.add(planned.fleet.triton.image)
    return Base(
        release=release.id,
        namespace=spec.namespace,
        fleet=fleet,
        deployments=tuple(name_of_pool(spec, pool) for pool in fleet.pools),
        files=_render_files(release, spec, objects, images),
        measured=measured,
        measured_pools=tuple(measurements),
        canary=canary,
    )


def _measure_pool(measured: MeasuredServer, release: ServedRelease, spec: DeploymentSpec) -> Measurement:
    chosen = spec.waiting_requests if "waiting_requests" in spec.model_fields_set else None
    return measure_pool(measured, release.size_bytes, chosen)


def _measure_candidate(
    measured: MeasuredServer, candidate: Candidate, spec: DeploymentSpec, of_release: Collection[str]
) -> dict[str, Measurement]:
    """Return the measurements of a candidate's pools, of those for which the release has one."""
    pools = [pool.label for pool in candidate.fleet.pools if pool.label in of_release]
    return {label: _measure_pool(measured, candidate.release, spec) for label in pools}


def digest_text(text: str) -> str:
    """Return the digest that a file's first line holds of the lines after it."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_unchanged(text: str) -> bool:
    """Return whether prep wrote a file and it was not changed since."""
    first, _, rest = text.partition("\n")
    return first.startswith(MARK) and first.endswith(f" {digest_text(rest)}")


def _render_files(
    release: ServedRelease, spec: DeploymentSpec, objects: Mapping[str, Manifest], images: Collection[str]
) -> dict[str, str]:
    """Return the text of each file; the kustomization, which names the others, comes last."""
    # The namespace first: what is in it is made after it, also from one stream.
    names = sorted(objects, key=lambda name: (name != "namespace", name))
    files = {f"{name}.yaml": _render_file(release, spec, name, objects[name]) for name in names}
    kustomization = _render_kustomization(spec, list(files), images)
    return {**files, KUSTOMIZATION_NAME: _render_file(release, spec, KUSTOMIZATION_NAME, kustomization)}


def _render_kustomization(spec: DeploymentSpec, resources: list[str], images: Collection[str]) -> Manifest:
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": spec.namespace,
        "resources": resources,
        "labels": [{"pairs": {"app.kubernetes.io/managed-by": "prep"}, "includeTemplates": True}],
    }
    if len(images) == 1:  # a candidate of another container is not to be given the release's
        image, _, tag = next(iter(images)).rpartition(":")
        kustomization["images"] = [{"name": image, "newTag": tag}]
    return kustomization


def _render_file(release: ServedRelease, spec: DeploymentSpec, name: str, manifest: Manifest) -> str:
    body = "".join(f"# {note}\n" for note in find_notes(spec, name)) + dump_manifest(manifest)
    return f"{MARK}for {release.uri}: {digest_text(body)}\n{body}"


class _Dumper(yaml.SafeDumper):
    """Writes lists below their key's column, as Kubernetes' own files do, and no anchors."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        super().increase_indent(flow, False)  # noqa: FBT003 PyYAML's own signature

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Show text of several lines, such as a dashboard, line by line."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


def dump_manifest(manifest: Manifest) -> str:
    """Return an object as YAML, its keys in the order that they have."""
    return yaml.dump(
        manifest, Dumper=_Dumper, sort_keys=False, default_flow_style=False, width=1000, allow_unicode=True
    )
