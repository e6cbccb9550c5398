"""A base as one stream of YAML: what Kustomize would build of it, for ``kubectl diff -f -`` and ``apply -f -``."""

from typing import Any

import yaml

from prep_triton.deploy.base import KUSTOMIZATION_NAME, Base, dump_manifest
from prep_triton.deploy.names import Manifest

# Kinds of the whole cluster. Kustomize, which does not know the second, gives it a namespace that is ignored.
_CLUSTER_KINDS = ("Namespace", "ComputeClass")


def render_stream(base: Base) -> str:
    """Return all objects of a base with the namespace and the labels of its kustomization, which is not one of them.

    The first line says which release it is for; comments of the files stand above their objects.
    """
    kustomization = yaml.safe_load(base.files[KUSTOMIZATION_NAME])
    (labels,) = kustomization["labels"]
    documents = []
    for name, text in base.files.items():
        mark, *lines = text.splitlines(keepends=True)
        if name != KUSTOMIZATION_NAME:
            comments = "".join(line for line in lines if line.startswith("# "))
            manifest = _build(yaml.safe_load(text), kustomization["namespace"], labels["pairs"])
            documents.append(comments + dump_manifest(manifest))
    head, _, _ = mark.rpartition(": ")
    return f"{head}\n" + "---\n".join(documents)


def _build(manifest: Manifest, namespace: str, labels: dict[str, str]) -> Manifest:
    built = _label(manifest, labels)
    if manifest["kind"] not in _CLUSTER_KINDS:
        built["metadata"]["namespace"] = namespace
    if "template" in manifest.get("spec", {}):
        built["spec"] = {**manifest["spec"], "template": _label(manifest["spec"]["template"], labels)}
    return built


def _label(item: dict[str, Any], labels: dict[str, str]) -> dict[str, Any]:
    metadata = item["metadata"]
    return {**item, "metadata": {**metadata, "labels": {**metadata.get("labels", {}), **labels}}}
