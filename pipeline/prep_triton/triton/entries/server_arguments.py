"""Writes beside a repository's entries what the server must be started with, and holds their resources together."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prep_triton.artifact import merge_server_arguments, render_server_arguments
from prep_triton.errors import SpecError
from prep_triton.layout import SERVER_ARGUMENTS_NAME
from prep_triton.spec import ServingSpec
from prep_triton.triton.entries.load import list_entries
from prep_triton.workspace import write_atomically


def write_server_arguments(repository_dir: Path) -> tuple[str, ...]:
    """Write the union of all entries' arguments beside them, or remove the file where there is none.

    Call it under `lock_repository`, after an entry was written or removed.
    """
    entries = list_entries(repository_dir)
    merged = merge_server_arguments(argument for entry in entries for argument in entry.server_arguments)
    path = repository_dir / SERVER_ARGUMENTS_NAME
    content = render_server_arguments(merged).encode()
    if not content:
        path.unlink(missing_ok=True)
    elif not path.is_file() or path.read_bytes() != content:
        write_atomically(path, content)
    return merged


def check_shared_resources(repository_dir: Path, name: str, serving: ServingSpec) -> None:
    """Refuse a resource that is each device's here and the whole server's in another entry, or the other way.

    Source: core, src/rate_limiter.cc, ValidateMaxResources.

    Raises:
        SpecError: Names both entries.
    """
    own = _scopes_from_serving(serving.model_dump(mode="json"))
    if not own:
        return
    for entry in list_entries(repository_dir):
        other = _scopes_from_serving(entry.spec.get("serving") or {}) if entry.name != name else {}
        for resource in sorted(own.keys() & other.keys()):
            if own[resource] != other[resource]:
                raise SpecError(
                    f"the resource {resource} is of scope {own[resource]} in {name} and of scope {other[resource]} "
                    f"in {entry.name}: the server's rate limiter refuses both together",
                    hint="give it one scope in both, or two names",
                )


def _scopes_from_serving(dumped: Mapping[str, Any]) -> dict[str, str]:
    limiters = [dumped.get("rate_limiter"), *(one.get("rate_limiter") for one in dumped.get("instance_groups") or ())]
    return {one["name"]: one["scope"] for limiter in limiters if limiter for one in limiter["resources"]}
