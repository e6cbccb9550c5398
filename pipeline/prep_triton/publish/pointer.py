"""Moving the `current` pointer: after a publish, and back.

The pointer is moved with a generation precondition, so that of two publishers at once exactly one wins. A move checks
that its release is there before and after: `prep_triton.publish.prune` looks at the pointer before and after it takes
a release away, so that of the two at least one notices the other.
"""

import getpass
import logging
import socket
import uuid
from datetime import UTC, datetime

from prep_triton.errors import PointerMovedError, PreconditionError, ReleaseDamagedError, StoreError
from prep_triton.layout import POINTER_NAME, folder_of_release
from prep_triton.publish.catalog import PointerState, list_ids, read_pointer, read_release, resolve
from prep_triton.publish.check import check_release
from prep_triton.publish.record import Pointer, Reason, render_pointer
from prep_triton.publish.store import Store

log = logging.getLogger(__name__)


def move_current(store: Store, release_id: str, state: PointerState, *, reason: Reason = "publish") -> Pointer:
    """Make a release current, unless the pointer was moved since it was read.

    Args:
        store: Where the release is.
        release_id: The release.
        state: What `read_pointer` returned; the move is from there alone.
        reason: What the move is part of.

    Raises:
        PointerMovedError: Another run moved the pointer first; it says which release won.
        StoreError: There is no such release, or it was removed meanwhile.
    """
    resolve(store, release_id)
    pointer = pointer_from_move(state.pointer, release_id, reason)
    content = render_pointer(pointer)
    try:
        generation = store.write_bytes(POINTER_NAME, content, if_generation_match=state.generation).generation
    except PreconditionError as err:
        generation = _find_own_write(store, content, release_id, err)
    log.debug("wrote %s/%s: %s instead of %s", store.uri, POINTER_NAME, release_id, pointer.previous or "none")
    _check_still_there(store, release_id, state, generation)
    return pointer.model_copy(update={"generation": generation})


def rollback(store: Store, reference: str | None = None) -> Pointer:
    """Point `current` back at an earlier release, or at any other; nothing else is written.

    Args:
        store: Where the releases are.
        reference: The release, see `resolve`; what was current before the last publish where None.

    Raises:
        SpecError: The reference is not one.
        StoreError: There is nothing to go back to, or no such release.
        ReleaseDamagedError: The release is not whole.
        PointerMovedError: Another run moved the pointer first.
    """
    store.check_access()
    state = read_pointer(store)
    release = resolve(store, reference or _choose_previous(store, state))
    if state.pointer and state.pointer.release == release.id:
        log.info("%s is current already", release.id)
        return state.pointer
    check_release(store, release)
    return move_current(store, release.id, state, reason="rollback")


def pointer_from_move(before: Pointer | None, release_id: str, reason: Reason) -> Pointer:
    """Say where `current` points after a move from `before`."""
    rolled_back: tuple[str, ...] = ()
    if before and reason == "rollback":
        left = (*before.rolled_back, before.release)
        rolled_back = tuple(other for other in dict.fromkeys(left) if other != release_id)
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
    except (OSError, KeyError):  # a container may run as a user that has no entry in passwd
        user = "someone"
    return f"{user}@{socket.gethostname() or 'somewhere'}"


def _choose_previous(store: Store, state: PointerState) -> str:
    pointer, listed = state.pointer, f"name one of prep releases {store.uri}: prep rollback {store.uri} ID"
    if state.damage:
        raise state.damage
    if pointer is None:
        raise StoreError(f"no release under {store.uri} was made current yet", hint=listed)
    if pointer.reason == "rollback":
        # Neither back to what was left nor a guess at what was current before that.
        raise StoreError(
            f"current was rolled back already, from {pointer.previous} to {pointer.release}", hint=f"to go on, {listed}"
        )
    if pointer.previous is None:
        raise StoreError(f"{pointer.release} is the first release that was current under {store.uri}", hint=listed)
    return pointer.previous


def _find_own_write(store: Store, content: bytes, release_id: str, err: PreconditionError) -> int:
    """Return the generation of our own write, whose answer was lost; else say who was first."""
    there = read_pointer(store)
    if there.pointer is None:
        # Gone, or damaged by a writer that is about to mend it.
        raise err
    if render_pointer(there.pointer) == content:
        return there.generation
    raise PointerMovedError(
        f"another run made {there.pointer.release} current first ({there.pointer.by}, "
        f"{there.pointer.moved_at:%Y-%m-%d %H:%M:%S} UTC); {release_id} is whole but not current",
        hint=f"to make it current anyway: prep rollback {store.uri} {release_id}",
        release_id=there.pointer.release,
        by=there.pointer.by,
    ) from err


def _check_still_there(store: Store, release_id: str, state: PointerState, generation: int) -> None:
    """Take the move back where somebody pruned the release in the same moment."""
    if read_release(store, release_id) is not None:
        return
    before, message = state.pointer, f"{release_id} was removed from {store.uri} while it was made current"
    if before is None or read_release(store, before.release) is None:
        ids = ", ".join(list_ids(store)[:3]) or "there is none"
        raise ReleaseDamagedError(message, hint=f"name another release ({ids}): prep rollback {store.uri} ID")
    back = before.model_copy(update={"generation": 0})
    store.write_bytes(POINTER_NAME, render_pointer(back), if_generation_match=generation)
    raise StoreError(f"{message}; {before.release} is current as before", hint="publish again, or name another release")
