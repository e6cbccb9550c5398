"""The `current` pointer: which release a store's readers should load.

``<store>/current.json`` names a release; Triton is given ``<store>/<path>``. It is moved with a generation
precondition, so that of two publishers at once exactly one wins; see `prep_triton.publish.rollback` for moving it.
"""

import getpass
import socket
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import Field

from prep_triton.artifact import Record
from prep_triton.errors import ReleaseDamagedError
from prep_triton.layout import POINTER_NAME, folder_of_release
from prep_triton.publish.record import check_release_id, parse_record, render_record
from prep_triton.publish.store import CREATE_ONLY, Store

POINTER_SCHEMA = 1

Reason = Literal["publish", "rollback"]


class Pointer(Record):
    """Where `current` points, since when, by whom and why.

    `path` is the release's folder below the store. `previous` is what was current before. `rolled_back` names the
    releases that were left by a rollback since anything was published: the same content, published again, does not
    become current by itself. `token` makes each move's content its own. `generation` is where the pointer was found,
    and is not written into it.
    """

    release: str
    path: str
    previous: str | None = None
    reason: Reason
    rolled_back: tuple[str, ...] = ()
    moved_at: datetime
    by: str
    token: str
    generation: int = Field(default=0, exclude=True)

    def named(self) -> set[str]:
        """Return the ids of every release that the pointer names: none of them is pruned."""
        return {self.release, *self.rolled_back, *([self.previous] if self.previous else ())}


@dataclass(frozen=True)
class Sighting:
    """What lay at the pointer's place: `pointer` is None where there is none, or where it is damaged.

    `generation` is what a move from here must find unchanged; `damage` says what is wrong with a damaged one.
    """

    pointer: Pointer | None
    generation: int
    damage: ReleaseDamagedError | None = None


def load_current(store: Store) -> Pointer | None:
    """Return a store's pointer, or None where nothing was made current yet.

    Raises:
        ReleaseDamagedError: It cannot be read.
        StoreError: It was written by a newer prep.
    """
    sighting = look_at_current(store)
    if sighting.damage:
        raise sighting.damage
    return sighting.pointer


def look_at_current(store: Store) -> Sighting:
    """Return the pointer with the generation that its content has; a damaged one can so be replaced.

    Raises:
        StoreError: It was written by a newer prep.
    """
    found = store.stat(POINTER_NAME)
    while found is not None:
        content = store.read_bytes(POINTER_NAME)
        again = store.stat(POINTER_NAME)
        if again and again.generation == found.generation:  # not moved between the two requests
            try:
                return Sighting(parse_pointer(content, found.generation, uri=store.uri), found.generation)
            except ReleaseDamagedError as err:
                return Sighting(None, found.generation, err)
        found = again
    return Sighting(None, CREATE_ONLY)


def parse_pointer(content: bytes, generation: int, *, uri: str) -> Pointer:
    """Parse ``current.json``.

    Raises:
        StoreError: It was written by a newer prep.
        ReleaseDamagedError: It is damaged.
    """

    def build(fields: dict[str, Any]) -> Pointer:
        pointer = Pointer.model_validate({**fields, "generation": generation})
        check_release_id(pointer.release)
        return pointer

    return parse_record(
        content, build, POINTER_SCHEMA, where=f"{uri}/{POINTER_NAME}", hint=f"name a release: prep rollback {uri} ID"
    )


def render_pointer(pointer: Pointer) -> bytes:
    """Render ``current.json``."""
    return render_record(pointer.model_dump(mode="json"), POINTER_SCHEMA)


def pointer_from_move(before: Pointer | None, release_id: str, reason: Reason) -> Pointer:
    """Say where `current` points after a move from `before`."""
    rolled_back: tuple[str, ...] = ()
    if before and reason == "rollback":
        left = (*before.rolled_back, before.release)
        rolled_back = tuple(one for one in dict.fromkeys(left) if one != release_id)
    return Pointer(
        release=release_id,
        path=folder_of_release(release_id).rstrip("/"),
        previous=before.release if before else None,
        reason=reason,
        rolled_back=rolled_back,
        moved_at=datetime.now(UTC),
        by=find_own_name(),
        token=uuid.uuid4().hex,
    )


def find_own_name() -> str:
    """Return ``user@machine``, as far as they are known."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container may run as a user that is nowhere written down
        user = "someone"
    return f"{user}@{socket.gethostname() or 'somewhere'}"
