"""What Tab offers of what there is: exported models, engines, entries, releases.

A completion is pressed, not run: it lists folders, reads no manifest, waits for a bucket for a moment only, and where
anything is wrong it offers nothing and says nothing.
"""

import logging
import os
import re
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import typer

from prep_triton.layout import CONFIG_NAME, DEFAULT_REPOSITORY, RELEASES_DIR

Completion = Callable[[typer.Context, str], list[str]]

# For a bucket. A shell that does not answer for longer seems dead.
STORE_WAIT_S = 2.0
_REFERENCES = ("current", "previous", "newest")


def complete_from(find: Callable[[dict[str, Any]], Iterable[str]]) -> Completion:
    """Return a completion over what `find` returns for the parameters that were typed so far."""

    def complete_word(ctx: typer.Context, incomplete: str) -> list[str]:
        logging.disable(logging.CRITICAL)
        try:
            return sorted({word for word in find(_typed(ctx)) if word.startswith(incomplete)})
        except Exception:
            return []
        finally:
            logging.disable(logging.NOTSET)

    return complete_word


def _typed(ctx: typer.Context) -> dict[str, Any]:
    """Return the parameters that were typed; click leaves the arguments aside where an option lacks its value yet."""
    arguments = [param.name for param in ctx.command.params if param.param_type_name == "argument"]
    waiting = [str(name) for name in arguments if not ctx.params.get(str(name))]
    return {**ctx.params, **dict(zip(waiting, ctx.args, strict=False))}


def find_models(params: dict[str, Any]) -> Iterable[str]:
    """Yield the exported models of the workspace."""
    return _list_folders(_workspace(params) / "export")


def find_artifacts(params: dict[str, Any]) -> Iterable[str]:
    """Yield the models, graphs and engines of the workspace."""
    for stage in ("export", "precision", "engine"):
        with suppress(FileNotFoundError):
            yield from _list_folders(_workspace(params) / stage)


def find_entries(params: dict[str, Any]) -> Iterable[str]:
    """Yield the entries of the repository."""
    repository = Path(params.get("repository") or DEFAULT_REPOSITORY)
    return (name for name in _list_folders(repository) if (repository / name / CONFIG_NAME).is_file())


def find_text_entries(params: dict[str, Any]) -> Iterable[str]:
    """Yield the entries of the default repository that take text: those of a running server are not asked for."""
    del params
    return (name for name in find_entries({}) if name.endswith("-text"))


def find_releases(params: dict[str, Any]) -> Iterable[str]:
    """Yield the ids of the store's releases, and the words that name one."""
    ids: list[str] = []

    def list_ids() -> None:
        with suppress(Exception):
            ids.extend(_list_release_ids(str(params.get("uri") or "")))

    # A thread that a bucket holds up ends with the process.
    thread = threading.Thread(target=list_ids, daemon=True)
    thread.start()
    thread.join(STORE_WAIT_S)
    return (*ids, *_REFERENCES)


def find_models_of_file(params: dict[str, Any]) -> Iterable[str]:
    """Yield the models of a pipeline file."""
    import yaml

    models = yaml.safe_load(Path(params["config"]).read_text(encoding="utf-8"))["models"]
    return [model.get("name") or model["model"].rstrip("/").rpartition("/")[2] for model in models]


def find_machines(_params: dict[str, Any]) -> Iterable[str]:
    """Yield the machines that have a price."""
    from prep_triton.bench.prices import load_prices

    return (price.machine for price in load_prices())


def find_targets(params: dict[str, Any]) -> Iterable[str]:
    """Yield the Triton releases of the table."""
    del params
    text = files("prep_triton").joinpath("triton_releases.yaml").read_text(encoding="utf-8")
    return re.findall(r'^"([0-9][0-9]\.[0-9][0-9])":', text, re.MULTILINE)


def _workspace(params: dict[str, Any]) -> Path:
    return Path(params.get("workspace") or os.environ.get("PREP_WORKSPACE") or "build")


def _list_folders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()]


def _list_release_ids(uri: str) -> list[str]:
    if not uri.startswith("gs://"):
        folder = Path(uri.removeprefix("file://"))
        return _list_folders(folder if folder.name == RELEASES_DIR else folder / RELEASES_DIR)
    from prep_triton.publish.catalog import list_ids
    from prep_triton.publish.uri import open_store

    return list_ids(open_store(uri.rstrip("/").removesuffix(f"/{RELEASES_DIR}")))


complete_model = complete_from(find_models)
complete_model_of_file = complete_from(find_models_of_file)
complete_artifact = complete_from(find_artifacts)
complete_entry = complete_from(find_entries)
complete_text_entry = complete_from(find_text_entries)
complete_release = complete_from(find_releases)
complete_machine = complete_from(find_machines)
complete_target = complete_from(find_targets)
