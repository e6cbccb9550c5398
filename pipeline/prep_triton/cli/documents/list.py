"""What `prep list` answers."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import get_args

from prep_triton.artifact import Record
from prep_triton.cli.output import Output
from prep_triton.cli.units import format_age, format_size
from prep_triton.errors import SpecError, suggest
from prep_triton.run.disk_use import measure_size
from prep_triton.run.inventory import BUILT, KIND_BY_STAGE, Inventory, Item, Kind

_MOST_USERS = 2


class ListDocument(Record):
    """Artifacts of the workspace and entries of the repositories, in the order of the work.

    The sizes are those of the whole folders, whatever was left out here; what several artifacts share counts once,
    and a repository that lies in the workspace is part of its sum too.
    """

    workspace: Path
    repositories: tuple[Path, ...]
    items: tuple[Item, ...]
    workspace_bytes: int
    repository_bytes: int


def list_document(
    inventory: Inventory,
    workspace: Path,
    repositories: Sequence[Path],
    *,
    model: str | None = None,
    kinds: Sequence[str] = (),
) -> ListDocument:
    """Choose from an inventory what was asked for.

    Raises:
        SpecError: There is no such model or kind.
    """
    for kind in kinds:
        if kind not in get_args(Kind):
            raise SpecError(
                f"there is no kind '{kind}'", hint=suggest(kind, get_args(Kind), otherwise=", ".join(get_args(Kind)))
            )
    known = sorted({item.model for item in inventory.items if item.model})
    if model is not None and model not in known:
        have = f"it holds {', '.join(known)}" if known else f"export it first: prep export {model}"
        raise SpecError(f"there is no model '{model}' in {workspace}", hint=suggest(model, known, otherwise=have))
    shown = tuple(
        item for item in inventory.items if item.kind in (kinds or BUILT) and (model is None or item.model == model)
    )
    return ListDocument(
        workspace=workspace,
        repositories=tuple(repositories),
        items=shown,
        workspace_bytes=measure_size(workspace),
        repository_bytes=measure_size(*repositories),
    )


def render_list(out: Output, document: ListDocument) -> None:
    """Print a line for each item, and the sums."""
    now = datetime.now(UTC)
    rows = [
        (
            item.kind,
            item.name,
            item.key[:8],
            "damaged" if item.damage else "current" if item.is_current else "",
            format_size(item.size_bytes),
            format_age(now - item.made_at),
            format_age(now - item.used_at),
            describe_users(item),
        )
        for item in document.items
    ]
    if rows:
        out.table("", ("=kind", "=name", "=key", "=standing", "#size", "#age", "#used", "used by"), rows)
    places = ", ".join(str(place) for place in document.repositories if place.is_dir())
    repository = f"; {places}: {format_size(document.repository_bytes)}" if places else ""
    what = f"{len(rows)} shown" if rows else "nothing to show"
    out.line(f"{what}; {document.workspace}: {format_size(document.workspace_bytes)}{repository}", style="bold")


def describe_users(item: Item) -> str:
    """Name what was made of an item: the names of some, and how many more there are."""
    names = sorted({name for user in item.used_by if (name := _name_of_built(user))})
    more = f" and {len(names) - _MOST_USERS} more" if len(names) > _MOST_USERS else ""
    return ", ".join(names[:_MOST_USERS]) + more


def _name_of_built(item_id: str) -> str | None:
    """Return the name in an item's id; None where it is what was measured."""
    path = PurePath(item_id)
    if KIND_BY_STAGE[path.parts[0]] not in BUILT:
        return None
    return path.name if path.parts[0] == "entry" else path.parts[1]
