"""A real store with a fault around it, and what spoils the objects of one: what no server does on demand."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from prep_triton.errors import PreconditionError, StoreError
from prep_triton.publish.store import Store, StoredObject


class WrappedStore:
    """Passes every request on to a real store."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class HookedStore(WrappedStore):
    """Calls a function before or after each write of a small object, and before each deletion."""

    def __init__(
        self,
        inner: Store,
        *,
        before_write: Callable[[str, bytes], object] = lambda name, content: None,
        after_write: Callable[[str, bytes], object] = lambda name, content: None,
        before_delete: Callable[[str], object] = lambda name: None,
    ) -> None:
        super().__init__(inner)
        self.before_write, self.after_write, self.before_delete = before_write, after_write, before_delete

    def write_bytes(self, name: str, content: bytes, **options: Any) -> StoredObject:
        self.before_write(name, content)
        stored = self.inner.write_bytes(name, content, **options)
        self.after_write(name, content)
        return stored

    def delete_object(self, name: str, **options: Any) -> bool:
        self.before_delete(name)
        return self.inner.delete_object(name, **options)


class FailingStore(WrappedStore):
    """Breaks at the nth upload, or damages what was uploaded under a name with an ending."""

    def __init__(self, inner: Store, *, fail_at: int | None = None, damaged: str | None = None) -> None:
        super().__init__(inner)
        self._fail_at, self._damaged = fail_at, damaged
        self._changed, self._begun, self._ended = threading.Condition(), 0, 0

    def upload_file(self, name: str, path: Path, **options: Any) -> StoredObject:
        with self._changed:
            self._begun += 1
            number = self._begun
            if number == self._fail_at:  # after the ones before it, which a failure would end half-way
                self._changed.wait_for(lambda: self._ended >= number - 1, timeout=60)
                raise StoreError("the network is gone", hint="wait")
        stored = self.inner.upload_file(name, path, **options)
        with self._changed:
            self._ended += 1
            self._changed.notify_all()
        if self._damaged and name.endswith(self._damaged):
            damage_object(self.inner, name)
        return stored


def lose_answers(inner: Store) -> HookedStore:
    """Return a store in which the answer to each write is lost, and the retry meets the first try's object."""
    return HookedStore(inner, after_write=refuse_write)


def refuse_write(name: str, content: bytes) -> NoReturn:
    raise PreconditionError(f"{name} is not at the generation that was expected", hint="wait")


def damage_object(store: Store, name: str) -> None:
    """Replace an object by other bytes of its size."""
    replace_object(store, name, b"\xff" * stat_object(store, name).size)


def replace_object(store: Store, name: str, content: bytes) -> None:
    store.write_bytes(name, content, if_generation_match=stat_object(store, name).generation)


def remove_object(store: Store, name: str) -> None:
    store.delete_object(name, if_generation_match=stat_object(store, name).generation)


def stat_object(store: Store, name: str) -> StoredObject:
    stored = store.stat(name)
    assert stored is not None, name
    return stored
