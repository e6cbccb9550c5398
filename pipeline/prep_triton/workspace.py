"""The content-addressed workspace: `build/` by default, ignored by git.

::

    <root>/<stage>/<name>/<key>/manifest.json   a finished artifact, and its files beside the manifest
    <root>/<stage>/<name>/current               the key that a name means now
    <root>/locks/                               one lock file for each artifact
    <root>/verified/<stage>/<name>/<key>.json   which files were digested, and need not be again

An artifact is made in a staging folder, its manifest is written last, and the folder is renamed into
place: a killed stage leaves nothing that a later run takes for finished. What was damaged since (a pointer, a manifest,
a byte of a file) counts as absent, with a warning that names it: whoever makes the artifact makes it anew.
"""

import hashlib
import json
import logging
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from prep_triton.artifact import MANIFEST_SCHEMA, Artifact, FileRecord
from prep_triton.errors import WorkspaceError
from prep_triton.files import LOCK_TIMEOUT_S, digest_file, hold_lock, remove_tree, translate_os_errors, write_atomically
from prep_triton.integrity import find_damage, mark_files, save_marks
from prep_triton.layout import (
    CONFIG_NAME,
    CURRENT_KEY_NAME,
    LOCK_NAME,
    LOCKS_DIR,
    MANIFEST_NAME,
    STAGING_PREFIX,
    VERIFIED_DIR,
    list_names,
)

log = logging.getLogger(__name__)

DEFAULT_ROOT = Path("build")
# A file up to this size is always held against its digest; a larger one where it is newer than the manifest.
DIGEST_LIMIT_BYTES = 1 << 20
# Of a manifest: a plan's has some ten levels.
_DEEPEST = 100
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
        if damage := find_damage(artifact, self._marks_path(artifact), remember=not self.read_only):
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

    def _marks_path(self, artifact: Artifact) -> Path:
        return self.root / VERIFIED_DIR / artifact.folder.relative_to(self.root).with_suffix(".json")

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
            save_marks(mark_files(artifact), self._marks_path(artifact))
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

    @contextmanager
    def _locked(self, recipe: Recipe) -> Iterator[None]:
        path = self.root / LOCKS_DIR / f"{recipe.stage}-{recipe.name}-{recipe.key}{LOCK_NAME}"
        what, hint = f"{recipe.stage} {recipe.name}", "wait for it, end it, or use another --workspace"
        with hold_lock(path, what, timeout_s=self.lock_timeout_s, hint=hint):
            yield


def save_manifest(artifact: Artifact, folder: Path) -> None:
    """Write an artifact's manifest: the last file of its folder."""
    text = json.dumps({"schema": MANIFEST_SCHEMA, **artifact.model_dump(mode="json")}, indent=2, sort_keys=True)
    write_atomically(folder / MANIFEST_NAME, f"{text}\n".encode())


def load_manifest(folder: Path, artifact_type: type[A]) -> A:
    """Load the manifest of a folder; the files that it names are not looked at.

    Args:
        folder: The folder that holds the manifest.
        artifact_type: The record that the manifest must hold.

    Raises:
        OSError: The manifest cannot be read.
        ValueError: It is not such a manifest, or of another version of prep; the reason is one line.
    """
    try:
        content = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
        schema = content.pop("schema", None) if isinstance(content, dict) else None
        if schema != MANIFEST_SCHEMA:
            message = f"its schema is {schema!r}, expected {MANIFEST_SCHEMA}: written by another version of prep"
            raise ValueError(f"{MANIFEST_NAME}: {message}")
        _check_depth(content)
        return artifact_type.model_validate({**content, "folder": folder})
    except ValidationError as err:
        first = err.errors()[0]
        raise ValueError(f"{MANIFEST_NAME}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from err
    except RecursionError as err:
        raise ValueError(f"{MANIFEST_NAME} is nested too deeply") from err


def _check_depth(content: Any) -> None:
    """Refuse what can be parsed and not be written again: pydantic follows values some hundred levels down."""
    level = [content]
    for _ in range(_DEEPEST):
        values = (value.values() if isinstance(value, dict) else value for value in level)
        level = [inner for outer in values for inner in outer if isinstance(inner, dict | list)]
        if not level:
            return
    raise ValueError(f"{MANIFEST_NAME} is nested too deeply")


def load_artifact(folder: Path, artifact_type: type[A]) -> A:
    """Load an artifact from its folder: its manifest, and the files that it names with the sizes that it says.

    Raises:
        WorkspaceError: The manifest or a file of it is missing or damaged.
    """
    try:
        artifact = load_manifest(folder, artifact_type)
        for relative, expected in artifact.files.items():
            if (size := (folder / relative).stat().st_size) != expected.size:
                raise ValueError(f"{relative} has {size} bytes, the manifest says {expected.size}")
    except (OSError, ValueError) as err:
        raise WorkspaceError(
            f"{folder} does not hold a complete {artifact_type.noun}: {err}", hint="make it again with prep"
        ) from err
    return artifact


def find_artifact(folder: Path, artifact_type: type[A]) -> A | None:
    """Return the artifact of a folder, or None where there is none or it is damaged."""
    try:
        return load_artifact(folder, artifact_type)
    except WorkspaceError:
        return None


def has_only_config(folder: Path) -> bool:
    """Whether a folder of a repository holds a tracked ``config.pbtxt`` and nothing else: not assembled here."""
    return list_names(folder) == [CONFIG_NAME]


def record_files(folder: Path) -> dict[str, FileRecord]:
    """Digest every file below a folder, by its path relative to it (POSIX separators)."""
    return {
        path.relative_to(folder).as_posix(): FileRecord(size=path.stat().st_size, sha256=digest_file(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST_NAME
    }


def find_adopt_hint(folder: Path) -> str | None:
    """Return how to keep the config.pbtxt of an entry that was edited by hand; None where it was not."""
    path = folder / CONFIG_NAME
    try:
        recorded = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))["files"][CONFIG_NAME]["sha256"]
        if digest_file(path) == recorded:
            return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    command = f"prep assemble --adopt {shlex.quote(folder.name)} -o {shlex.quote(str(folder.parent))}"
    return f"keep the edit with `{command}`, or undo it: remove {folder} and assemble the entry again"


def describe_change(path: Path, expected: FileRecord, *, written_ns: int, digest_all: bool = False) -> str | None:
    """Say how a file is not what its manifest recorded, or return None.

    Args:
        path: The file; it can be read.
        expected: What the manifest says of it.
        written_ns: When the manifest was written, nanoseconds since the epoch.
        digest_all: Digest a large file too that was not touched since.

    Raises:
        OSError: The file cannot be read.
    """
    about = path.stat()
    if about.st_size != expected.size:
        return f"has {about.st_size} bytes, the manifest says {expected.size}"
    if about.st_size > DIGEST_LIMIT_BYTES and about.st_mtime_ns <= written_ns and not digest_all:
        return None
    digest = digest_file(path)
    if digest != expected.sha256:
        return f"has sha256 {digest[:12]}…, the manifest says {expected.sha256[:12]}…"
    return None
