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
"""

import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
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
    """An artifact, and whether it was made now or found."""

    artifact: A
    reused: bool


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
    """

    def __init__(
        self, root: Path = DEFAULT_ROOT, *, lock_timeout_s: float = LOCK_TIMEOUT_S, read_only: bool = False
    ) -> None:
        self.root = root.absolute()
        self.lock_timeout_s = lock_timeout_s
        self.read_only = read_only
        self._damage: dict[tuple[str, str], Damage] = {}

    def find(self, recipe: Recipe, artifact_type: type[A]) -> A | None:
        """Return the finished artifact of a recipe, its files digested, or None."""
        return self._load(recipe.stage, recipe.name, recipe.key, artifact_type)

    def produce(self, recipe: Recipe, artifact_type: type[A], make: Callable[[Path], Mapping[str, Any]]) -> Produced[A]:
        """Return the artifact of a recipe, making it if it is not there yet.

        Args:
            recipe: What decides its bytes.
            artifact_type: The record to build.
            make: Writes the artifact's files into the folder it is given and returns the record's own
                fields (all but name, key, folder, files, spec, inputs, tools and created_at).

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
        if kept is None:
            with translate_os_errors(self.root), self._locked(recipe):
                kept = self.find(recipe, artifact_type)  # another run may have made it meanwhile
                if kept is None:
                    artifact = self._make(recipe, artifact_type, make)
                    self._point(recipe)
                    self._damage.pop((recipe.stage, recipe.name), None)
                    return Produced(artifact, reused=False)
        self._point(recipe)
        with suppress(OSError):  # another user's workspace
            os.utime(kept.folder)
        return Produced(kept, reused=True)

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

    def _folder(self, recipe: Recipe) -> Path:
        return self.root / recipe.stage / recipe.name / recipe.key

    def _make(self, recipe: Recipe, artifact_type: type[A], make: Callable[[Path], Mapping[str, Any]]) -> A:
        final = self._folder(recipe)
        staging = final.with_name(f"{STAGING_PREFIX}{recipe.key}")
        # Under the lock, whatever lies in either place is the remains of a killed run.
        remove_tree(staging)
        remove_tree(final)
        staging.mkdir(parents=True)
        try:
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
            save_marks(mark_files(artifact), self.marks_path(recipe.stage, recipe.name, recipe.key))
        except BaseException:  # Ctrl-C too: nothing half-written stays
            remove_tree(staging)
            raise
        return artifact

    def _point(self, recipe: Recipe) -> None:
        pointer = self.root / recipe.stage / recipe.name / CURRENT_KEY_NAME
        if self._read_pointer(recipe.stage, recipe.name) == recipe.key:
            return
        with translate_os_errors(self.root):
            if pointer.is_dir() and not pointer.is_symlink():
                remove_tree(pointer)
            write_atomically(pointer, recipe.key.encode())

    def lock_path(self, stage: str, name: str, key: str) -> Path:
        """Return the lock file that whoever makes an artifact holds."""
        return self.root / LOCKS_DIR / f"{stage}-{name}-{key}{LOCK_NAME}"

    @contextmanager
    def _locked(self, recipe: Recipe) -> Iterator[None]:
        path = self.lock_path(recipe.stage, recipe.name, recipe.key)
        what, hint = f"{recipe.stage} {recipe.name}", "wait for it, end it, or use another --workspace"
        with hold_lock(path, what, timeout_s=self.lock_timeout_s, hint=hint):
            # What is read meanwhile has no lock of its own; `prep gc` leaves it where it is.
            inputs_path = path.with_suffix(INPUTS_SUFFIX)
            write_atomically(inputs_path, json.dumps(sorted(recipe.inputs.values())).encode())
            try:
                yield
            finally:
                inputs_path.unlink(missing_ok=True)
