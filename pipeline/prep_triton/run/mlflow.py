"""What a folder that MLflow wrote holds: its ``MLmodel`` says where in it a checkpoint, or an ONNX graph, lies.

Layouts: mlflow, ``transformers/model_io.py`` (``model`` and ``components/tokenizer``), ``sentence_transformers`` and
``onnx`` (``__init__.py``), version 3.17. mlflow itself is needed for URIs of its registry alone.
"""

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from prep_triton.errors import MissingPackageError, SourceError
from prep_triton.export.source import name_from_place
from prep_triton.layout import GRAPH_NAME
from prep_triton.publish.store import check_object_name

MLMODEL_NAME = "MLmodel"
REGISTRY_PREFIX = "models:/"
_FLAVORS = ("transformers", "sentence_transformers", "onnx")


@dataclass(frozen=True)
class MlflowLayout:
    """Where a model lies within its MLflow folder: the folders of a checkpoint, or the file of a graph."""

    folders: tuple[str, ...] = ()
    graph: str | None = None


def parse_mlmodel(content: bytes, *, where: str) -> MlflowLayout:
    """Read the content of an ``MLmodel`` file.

    Raises:
        SourceError: It is damaged, or has no flavor that prep reads, or no weights of its own.
        SpecError: A folder that it names leads elsewhere.
    """
    try:
        document = yaml.safe_load(content)
        flavors = document["flavors"]
        flavor = next((name for name in _FLAVORS if name in flavors), None)
        known = sorted(map(str, flavors))
    except (yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError, RecursionError) as err:
        raise SourceError(f"{MLMODEL_NAME} of {where} has no flavors", hint="log the model with MLflow again") from err
    if flavor is None:
        raise SourceError(
            f"{where} is an MLflow model with the flavors {', '.join(known)}; prep reads {', '.join(_FLAVORS)}",
            hint="log it with mlflow.transformers.log_model, or name the checkpoint's own folder",
        )
    about = flavors[flavor] if isinstance(flavors[flavor], Mapping) else {}
    layout = _find_layout(flavor, about, flavors, where)
    for name in (*layout.folders, *filter(None, [layout.graph])):
        check_object_name(name, where=f"{MLMODEL_NAME} of {where}")
    return layout


def _find_layout(flavor: str, about: Mapping[str, Any], flavors: Mapping[str, Any], where: str) -> MlflowLayout:
    if flavor == "onnx":
        return MlflowLayout(graph=str(about.get("data", GRAPH_NAME)))
    if flavor == "sentence_transformers":
        pyfunc = flavors.get("python_function")
        data = pyfunc.get("data") if isinstance(pyfunc, Mapping) else None
        return MlflowLayout(folders=(str(data or "model.sentence_transformer"),))
    if not about.get("model_binary"):
        raise SourceError(
            f"{where} was logged without its weights: its {MLMODEL_NAME} names no model_binary",
            hint=f"log it with save_pretrained=True, or export {about.get('source_model_name') or 'its hub id'} itself",
        )
    components = about.get("components")
    has_tokenizer = isinstance(components, list) and "tokenizer" in components
    return MlflowLayout(folders=(str(about["model_binary"]), *(["components/tokenizer"] if has_tokenizer else [])))


def name_of_registered(uri: str) -> str:
    """Return the name in ``models:/NAME/VERSION`` or ``models:/NAME@ALIAS``."""
    return name_from_place(uri.removeprefix(REGISTRY_PREFIX).strip("/").partition("/")[0].partition("@")[0])


def download_registered(uri: str, folder: Path) -> Path:
    """Download a model of MLflow's registry (``models:/NAME/VERSION``) with mlflow itself.

    Raises:
        MissingPackageError: mlflow is not installed.
        SourceError: It does not find the model.
    """
    if importlib.util.find_spec("mlflow") is None:
        raise MissingPackageError(
            f"{uri} is a URI of MLflow's registry, which needs mlflow, and that is not installed",
            hint="pip install mlflow-skinny, or name the model's own folder: gs://BUCKET/FOLDER or ./FOLDER",
        )
    artifacts: Any = importlib.import_module("mlflow.artifacts")
    try:
        return Path(artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder)))
    except Exception as err:  # of mlflow, of its client, of the store behind it
        reason = next((line for line in str(err).splitlines() if line.strip()), type(err).__name__)
        raise SourceError(
            f"MLflow does not hand out {uri}: {reason:.300}", hint="check the URI, and MLFLOW_TRACKING_URI"
        ) from err
