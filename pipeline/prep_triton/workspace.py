"""The content-addressed workspace: `build/` by default, ignored by git.

::

    <root>/<stage>/<name>/<key>/manifest.json   a finished artifact, and its files beside the manifest
    <root>/<stage>/<name>/current               the key that a name means now
    <root>/locks/                               one lock file for each artifact, and what is being made from which keys
    <root>/verified/<stage>/<name>/<key>.json   which files were digested, and need not be again

An artifact is made in a staging folder, its manifest is written last, and the folder is renamed into
place: a killed stage leaves nothing that a later run takes for finished. The time of an artifact's folder is when it
was made or found last. What was damaged since (a pointer, a manifest,
a byte of a file) counts as absent, with a warning that names it: whoever makes the artifact makes it anew.

With a remote cache, what is not here is fetched by its key before it is made, and what is made is saved there.
"""

import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from prep_triton.artifact import MANIFEST_SCHEMA, Artifact
from prep_triton.errors import WorkspaceError
from prep_triton.files import LOCK_TIMEOUT_S, hold_lock, remove_tree, translate_os_errors, try_lock, write_atomically
from prep_triton.integrity import find_damage, mark_files, save_marks
from prep_triton.layout import (
    CURRENT_KEY_NAME,
    INPUTS_SUFFIX,
    LOCK_NAME,
    LOCKS_DIR,
    MANIFEST_NAME,
    STAGING_PREFIX,
    VERIFIED_DIR,
)
from prep_triton.manifest import load_artifact, record_files, save_manifest
from prep_triton.remote_cache import RemoteCache

log = logging.getLogger(__name__)

DEFAULT_ROOT = Path("build")
_KEY = re.compile(r"[0-9a-f]{16}")

A = TypeVar("A", bound=Artifact)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides an artifact's bytes.

    Args:
        stage: The stage that makes it ("export", "precision", "engine", "entry").
        name: The artifact's name within the stage.
        spec: The spec fields that matter, as JSON values.
        inputs: Keys of the input artifacts, by role.
        tools: Versions of the tools that make it, by name.
    """

    stage: str
    name: str
    spec: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """SHA-256 of the recipe, 16 hex digits."""
        content = json.dumps(
            {
                "schema": MANIFEST_SCHEMA,
                "stage": self.stage,
                "name": self.name,
                "spec": self.spec,
                "inputs": self.inputs,
                "tools": self.tools,
            },
            sort_keys=True,
            separators=(",", ":"),
        )
        return hashlib.sha256(content.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Produced(Generic[A]):
    """An artifact, and whether it was made now or found, and then fetched from the remote cache."""

    artifact: A
    reused: bool
    fetched: bool = False


@dataclass(frozen=True)
class Damage:
    """What a workspace came upon: `message` names the file; `artifact` is what its manifest says, if whole."""

    message: str
    artifact: Artifact | None = None


class NotMadeError(Exception):
    """A read-only workspace does not hold the artifact: a dry run stops here. Not a failure."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(f"{recipe.stage} {recipe.name} is not made yet")
        self.recipe = recipe


class Workspace:
    """A folder of artifacts that several runs may use at once.

    Args:
        root: The folder; made when the first artifact is.
        lock_timeout_s: How long to wait for another run that is making the same artifact.
        read_only: Make nothing: `produce` raises `NotMadeError` for what is not there (dry runs).
        remote: The cache that it shares with other machines; None for none. A read-only one does not ask it.
    """

    def __init__(
        self,
        root: Path = DEFAULT_ROOT,
        *,
        lock_timeout_s: float = LOCK_TIMEOUT_S,
        read_only: bool = False,
        remote: RemoteCache | None = None,
    ) -> None:
        self.root = root.absolute()
        self.lock_timeout_s = lock_timeout_s
        self.read_only = read_only
        self.remote = None if read_only else remote
        self._damage: dict[tuple[str, str], Damage] = {}

    def find(self, recipe: Recipe, artifact_type: type[A]) -> A | None:
        """Return the finished artifact of a recipe, its files digested, or None."""
        return self._load(recipe.stage, recipe.name, recipe.key, artifact_type)

    def produce(
        self,
        recipe: Recipe,
        artifact_type: type[A],
        make: Callable[[Path], Mapping[str, Any]],
        *,
        is_shared: bool = True,
    ) -> Produced[A]:
        """Return the artifact of a recipe, making it if it is not there yet.

        Args:
            recipe: What decides its bytes.
            artifact_type: The record to build.
            make: Writes the artifact's files into the folder it is given and returns the record's own
                fields (all but name, key, folder, files, spec, inputs, tools and created_at).
            is_shared: Whether it holds on other machines too, and so goes through the remote cache.

        Raises:
            WorkspaceBusyError: Another run is making the same artifact and does not finish.
            DiskFullError: The device is full; the half-written folder was removed.
            WorkspaceError: The folder cannot be written.
            NotMadeError: The workspace is read-only and does not hold it.
        """
        kept = self.find(recipe, artifact_type)
        log.debug("%s %s: %s is %s", recipe.stage, recipe.name, recipe.key, "not there" if kept is None else "there")
        if self.read_only:
            if kept is None:
                raise NotMadeError(recipe)
            return Produced(kept, reused=True)
        produced = (
            Produced(kept, reused=True) if kept else self._obtain(recipe, artifact_type, make, is_shared=is_shared)
        )
        self._point(recipe.stage, recipe.name, recipe.key)
        with suppress(OSError):  # another user's workspace
            os.utime(produced.artifact.folder)
        if self.remote and is_shared and not produced.fetched:
            self.remote.save(recipe.stage, produced.artifact)
        return produced

    def _obtain(
        self, recipe: Recipe, artifact_type: type[A], make: Callable[[Path], Mapping[str, Any]], *, is_shared: bool
    ) -> Produced[A]:
        """Fetch or make an artifact that is not here."""
        stage, name, key = recipe.stage, recipe.name, recipe.key
        with translate_os_errors(self.root), self._locked(stage, name, key, recipe.inputs.values()):
            if kept := self.find(recipe, artifact_type):  # another run has made it meanwhile
                return Produced(kept, reused=True)
            if is_shared and (fetched := self._fetch(stage, name, key, artifact_type)):
                return Produced(fetched, reused=True, fetched=True)
            artifact = self._make(recipe, artifact_type, make)
            self._damage.pop((stage, name), None)
            return Produced(artifact, reused=False)

    def find_kept(self, stage: str, name: str, artifact_type: type[A], is_meant: Callable[[A], bool]) -> A | None:
        """Return the newest artifact that a name ever meant, here or in the remote cache, of which something holds."""
        kept = next(filter(is_meant, self.list_kept(stage, name, artifact_type)), None)
        if kept or not self.remote:
            return kept
        listed = next(filter(is_meant, self.remote.list_kept(stage, name, artifact_type)), None)
        if listed is None:
            return None
        with translate_os_errors(self.root), self._locked(stage, name, listed.key, ()):
            fetched = self._load(stage, name, listed.key, artifact_type)
            fetched = fetched or self._fetch(stage, name, listed.key, artifact_type)
        if fetched:
            self._point(stage, name, listed.key)
        return fetched

    def list_remote_names(self, stage: str) -> list[str]:
        """Return the names that the remote cache has in a stage; none where there is no cache."""
        return self.remote.list_names(stage) if self.remote else []

    def current(self, stage: str, name: str, artifact_type: type[A]) -> A | None:
        """Return what a name means now in a stage, or None."""
        key = self._read_pointer(stage, name)
        if key is None:
            return None
        artifact = self._load(stage, name, key, artifact_type)
        if artifact is None and (stage, name) not in self._damage:
            pointer = self.root / stage / name / CURRENT_KEY_NAME
            self._report(stage, name, f"{pointer} is damaged: it names {key}, which is missing")
        return artifact

    def list_current(self, stage: str, artifact_type: type[A]) -> list[A]:
        """Return the current artifact of every name in a stage, by name."""
        folder = self.root / stage
        names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
        artifacts = (self.current(stage, name, artifact_type) for name in names)
        return [artifact for artifact in artifacts if artifact is not None]

    def list_kept(self, stage: str, name: str, artifact_type: type[A]) -> list[A]:
        """Return every artifact that a name ever meant and that is still kept, newest first."""
        keys = [path.parent.name for path in (self.root / stage / name).glob(f"*/{MANIFEST_NAME}")]
        artifacts = (self._load(stage, name, key, artifact_type) for key in keys)
        kept = [artifact for artifact in artifacts if artifact is not None]
        return sorted(kept, key=lambda artifact: artifact.created_at, reverse=True)

    def current_key(self, stage: str, name: str) -> str | None:
        """Return the key that a name means now in a stage, whether its artifact is whole or not; or None."""
        return self._read_pointer(stage, name)

    def remove(self, stage: str, name: str, key: str, *, used_until: float, and_current: bool = False) -> bool:
        """Remove a kept artifact, at once for every reader.

        Args:
            stage: Its stage.
            name: Its name.
            key: Its key.
            used_until: The folder's time when it was chosen, seconds; it stays if a run found it since.
            and_current: Remove it, and the pointer, if it is what the name means now.

        Returns:
            False where it stays: another run holds it, or has used it or made it current meanwhile.

        Raises:
            WorkspaceError: It cannot be removed.
        """
        final = self.root / stage / name / key
        with translate_os_errors(self.root), try_lock(self.lock_path(stage, name, key)) as is_ours:
            is_current = self._read_pointer(stage, name) == key
            if not is_ours or not final.is_dir() or final.stat().st_mtime > used_until:
                return False
            if is_current and not and_current:
                return False
            leftover = final.with_name(f"{STAGING_PREFIX}{key}")  # what the next run under this lock removes as well
            remove_tree(leftover)
            final.replace(leftover)
            if is_current:
                (final.parent / CURRENT_KEY_NAME).unlink(missing_ok=True)
            remove_tree(leftover)
            self.marks_path(stage, name, key).unlink(missing_ok=True)
            with suppress(OSError):  # another artifact of the name is there
                final.parent.rmdir()
        return True

    def find_damaged(self, stage: str, name: str | None = None) -> Damage | None:
        """Return what was damaged of a name, or of any, in a stage, as this workspace came upon it; or None."""
        return next((said for (at, of), said in self._damage.items() if at == stage and name in (of, None)), None)

    def _load(self, stage: str, name: str, key: str, artifact_type: type[A]) -> A | None:
        """Return a finished artifact; None where there is none, and, with a warning, where it is damaged."""
        folder = self.root / stage / name / key
        if not folder.is_dir():
            return None
        try:
            artifact = load_artifact(folder, artifact_type)
            if (artifact.name, artifact.key) != (name, key):
                raise WorkspaceError(
                    f"{folder} holds the manifest of {artifact.name} {artifact.key}", hint="make it again with prep"
                )
        except WorkspaceError as err:
            self._report(stage, name, err.message)
            return None
        if damage := find_damage(artifact, self.marks_path(stage, name, key), remember=not self.read_only):
            self._report(stage, name, damage, artifact)
            return None
        return artifact

    def _report(self, stage: str, name: str, message: str, artifact: Artifact | None = None) -> None:
        damage = Damage(message, artifact)
        if self._damage.get((stage, name)) != damage:
            log.warning("%s; it counts as absent", message)
        self._damage[stage, name] = damage

    def _read_pointer(self, stage: str, name: str) -> str | None:
        """Return the key that a name means; None where there is no pointer, or, with a warning, a damaged one."""
        pointer = self.root / stage / name / CURRENT_KEY_NAME
        if not os.path.lexists(pointer):
            return None
        text = ""
        if pointer.is_file():  # neither a folder, nor a pipe that nobody writes
            with pointer.open("rb") as stream:
                text = stream.read(64).decode("ascii", "replace").strip()
        if _KEY.fullmatch(text):
            return text
        self._report(stage, name, f"{pointer} is damaged: it does not hold the key of an artifact")
        return None

    def marks_path(self, stage: str, name: str, key: str) -> Path:
        """Return the file that remembers which files of an artifact were digested."""
        return self.root / VERIFIED_DIR / stage / name / f"{key}.json"

    def _fetch(self, stage: str, name: str, key: str, artifact_type: type[A]) -> A | None:
        """Fetch an artifact from the remote cache; its lock is held."""
        if self.remote is None:
            return None
        with self._staged(stage, name, key) as (staging, final):
            artifact = self.remote.fetch(stage, name, key, artifact_type, staging)
            if artifact is None:
                return None
            staging.replace(final)
        self._damage.pop((stage, name), None)
        return self._mark(stage, artifact.model_copy(update={"folder": final}))

    def _make(self, recipe: Recipe, artifact_type: type[A], make: Callable[[Path], Mapping[str, Any]]) -> A:
        with self._staged(recipe.stage, recipe.name, recipe.key) as (staging, final):
            fields = make(staging)
            artifact = artifact_type(
                name=recipe.name,
                key=recipe.key,
                folder=final,
                files=record_files(staging),
                spec=dict(recipe.spec),
                inputs=dict(recipe.inputs),
                tools=dict(recipe.tools),
                **fields,
            )
            save_manifest(artifact, staging)
            staging.replace(final)
        return self._mark(recipe.stage, artifact)

    def _mark(self, stage: str, artifact: A) -> A:
        save_marks(mark_files(artifact), self.marks_path(stage, artifact.name, artifact.key))
        return artifact

    @contextmanager
    def _staged(self, stage: str, name: str, key: str) -> Iterator[tuple[Path, Path]]:
        """Yield an empty folder and the one that it is to become; the first one is gone afterwards."""
        final = self.root / stage / name / key
        staging = final.with_name(f"{STAGING_PREFIX}{key}")
        # Under the lock, whatever lies in either place is the remains of a killed run.
        remove_tree(staging)
        remove_tree(final)
        staging.mkdir(parents=True)
        try:
            yield staging, final
        finally:  # Ctrl-C too: nothing half-written stays
            remove_tree(staging)

    def _point(self, stage: str, name: str, key: str) -> None:
        pointer = self.root / stage / name / CURRENT_KEY_NAME
        if self._read_pointer(stage, name) == key:
            return
        with translate_os_errors(self.root):
            if pointer.is_dir() and not pointer.is_symlink():
                remove_tree(pointer)
            write_atomically(pointer, key.encode())

    def lock_path(self, stage: str, name: str, key: str) -> Path:
        """Return the lock file that whoever makes an artifact holds."""
        return self.root / LOCKS_DIR / f"{stage}-{name}-{key}{LOCK_NAME}"

    @contextmanager
    def _locked(self, stage: str, name: str, key: str, inputs: Iterable[str]) -> Iterator[None]:
        path = self.lock_path(stage, name, key)
        what, hint = f"{stage} {name}", "wait for it, end it, or use another --workspace"
        with hold_lock(path, what, timeout_s=self.lock_timeout_s, hint=hint):
            # What is read meanwhile has no lock of its own; `prep gc` leaves it where it is.
            inputs_path = path.with_suffix(INPUTS_SUFFIX)
            write_atomically(inputs_path, json.dumps(sorted(inputs)).encode())
            try:
                yield
            finally:
                inputs_path.unlink(missing_ok=True)
