"""Writes beside a repository's entries what the server must be started with, and holds their resources together."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prep_triton.errors import SpecError
from prep_triton.files import write_atomically
from prep_triton.layout import SERVER_ARGUMENTS_NAME
from prep_triton.server_arguments import merge_server_arguments, render_server_arguments
from prep_triton.spec import ServingSpec
from prep_triton.triton.config.rules import SCOPE_HINT, TakenResource, find_scope_problems
from prep_triton.triton.entries.load import list_entries


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
    own = _resources_of(serving.model_dump(mode="json"), name)
    if not own:
        return
    for entry in list_entries(repository_dir):
        others = _resources_of(entry.spec.get("serving") or {}, entry.name) if entry.name != name else []
        for resource, problem in find_scope_problems([*others, *own]):
            if resource.place == name:
                raise SpecError(problem, hint=SCOPE_HINT)


def _resources_of(dumped: Mapping[str, Any], place: str) -> list[TakenResource]:
    groups = [dumped, *(dumped.get("instance_groups") or ())]
    limiters = [limiter for group in groups if (limiter := group.get("rate_limiter"))]
    return [
        TakenResource(place, resource["name"], resource["scope"])
        for limiter in limiters
        for resource in limiter["resources"]
    ]
