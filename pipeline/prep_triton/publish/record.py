"""The two records of a store: ``release.json`` and ``current.json``.

``release.json`` has every file of a release with its size and checksums, and every entry with its manifest.
``current.json``, the pointer, names the release that readers should load. `prep_triton.layout` has their places.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError

from prep_triton.artifact import Backend, EntryKind, Record, RepositoryEntry, Tolerance
from prep_triton.errors import PrepError, ReleaseDamagedError, SpecError, StoreError
from prep_triton.layout import MANIFEST_NAME, POINTER_NAME, RELEASE_NAME
from prep_triton.publish.store import check_object_name
from prep_triton.server_arguments import ServerArgument
from prep_triton.spec import Precision, Tier
from prep_triton.target import Target

# 2: every entry's manifest, the target and the server arguments.
RELEASE_SCHEMA = 2
POINTER_SCHEMA = 1
# In place of a release.json: what lies beside it is being removed. Whoever writes it first, as with a release.json.
TOMBSTONE = b'{"removed": true}\n'

_ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{12}")
_MOMENT = "%Y%m%dT%H%M%SZ"

R = TypeVar("R", bound=Record)
Reason = Literal["publish", "rollback"]


class ReleaseFile(Record):
    """One object: size in bytes, CRC32C as GCS writes it, lower-case hex SHA-256."""

    size: Annotated[int, Field(ge=0)]
    crc32c: str
    sha256: str


class ReleaseEntry(Record):
    """What a reader needs of an entry at once, and its whole `manifest` as it was written.

    The manifest holds the graph's and every engine's own; see `artifact_from_release_entry`. It is empty in a
    release that was made before manifests were kept.
    """

    name: str
    key: str
    kind: EntryKind = "model"
    runtime: Backend
    precision: Precision
    task: str
    architecture: str
    weights: str
    max_batch_size: int
    compute_capabilities: tuple[str, ...] = ()
    tolerance: Tolerance
    tier: Tier | None = None
    serves: str | None = None
    tools: dict[str, str]
    manifest: dict[str, Any] = Field(default_factory=dict)


class Release(Record):
    """A release: its `files` are named relative to its folder, ``<entry>/config.pbtxt``.

    `content_digest` is the same for the same content and target, whenever it was published. `target` is the server
    that it was made for, and `server_arguments` what Triton must be started with. `uri` is where the release was
    found, and is not written into it.
    """

    id: str
    created_at: datetime
    prep_version: str
    content_digest: str
    git_revision: str | None = None
    target: Target | None = None
    server_arguments: tuple[ServerArgument, ...] = ()
    entries: tuple[ReleaseEntry, ...]
    files: dict[str, ReleaseFile]
    uri: str = ""

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files.values())


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
        return set(self.describe_named())

    def describe_named(self) -> dict[str, str]:
        """Return what each release that the pointer names is to it."""
        others = {self.previous: "previous"} if self.previous else {}
        return {**others, **dict.fromkeys(self.rolled_back, "rolled back from"), self.release: "current"}


def release_entry_from_artifact(entry: RepositoryEntry) -> ReleaseEntry:
    """Take from an entry's manifest what a release says of it."""
    shared = ReleaseEntry.model_fields.keys() & RepositoryEntry.model_fields.keys()
    return ReleaseEntry(**{field: getattr(entry, field) for field in shared}, manifest=entry.model_dump(mode="json"))


def artifact_from_release_entry(entry: ReleaseEntry) -> RepositoryEntry:
    """Return the manifest of an entry of a release: its ``onnx``, ``engines``, ``server_arguments`` and all.

    Raises:
        StoreError: The release was made before manifests were kept, or by another version of prep.
    """
    try:
        return RepositoryEntry.model_validate(entry.manifest)
    except ValidationError as err:
        message = "it has none" if not entry.manifest else f"{err.errors()[0]['loc']}: {err.errors()[0]['msg']}"
        raise StoreError(
            f"the release has no manifest of {entry.name} that this prep reads: {message}", hint="publish it again"
        ) from err


def digest_content(manifests: Iterable[Mapping[str, Any]], target: Target | None) -> str:
    """Return the hex SHA-256 of what a release holds: its entries' manifests, and the server that it is for.

    A manifest has every file's digest; its `created_at` does not count.
    """
    content = [{key: value for key, value in manifest.items() if key != "created_at"} for manifest in manifests]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    if target is None:
        return digest
    server = {"triton": target.release.tag, "gpus": target.gpus, "platform": target.platform}
    return hashlib.sha256(f"{digest} {json.dumps(server, sort_keys=True)}".encode()).hexdigest()


def find_record_faults(release: Release) -> list[str]:
    """Return where a release's record contradicts itself, one sentence each; nothing of one without manifests."""
    if not all(entry.manifest for entry in release.entries):
        return []
    faults, where = [], f"{release.uri}/{RELEASE_NAME}"
    digest = digest_content((entry.manifest for entry in release.entries), release.target)
    if digest != release.content_digest or not release.id.endswith(digest[:12]):
        faults.append(f"{where} has the content {digest[:12]}…, expected {release.content_digest[:12]}…")
    recorded = {
        f"{entry.name}/{name}": file.get("sha256")
        for entry in release.entries
        for name, file in entry.manifest.get("files", {}).items()
    }
    names = release.files.keys() - {f"{entry.name}/{MANIFEST_NAME}" for entry in release.entries}
    for name in sorted(recorded.keys() | names):
        file = release.files.get(name)
        if file is None or recorded.get(name) != file.sha256:
            faults.append(f"{where} and the manifest within it differ about {name}")
    return faults


def release_id_from_content(moment: datetime, content_digest: str) -> str:
    """Make the id of a release: UTC time to the second, and the first 12 digits of the content digest."""
    return f"{moment.astimezone(UTC).strftime(_MOMENT)}-{content_digest[:12]}"


def is_id_of_content(release_id: str, content_digest: str) -> bool:
    """Return whether an id may be that of a release of this content; its first 12 digits are compared."""
    return release_id.partition("-")[2] == content_digest[:12]


def moment_from_release_id(release_id: str) -> datetime:
    """Return the time in a release's id."""
    return datetime.strptime(release_id.partition("-")[0], _MOMENT).replace(tzinfo=UTC)


def is_release_id(text: str) -> bool:
    """Return whether a text is a release's id: ``YYYYMMDDTHHMMSSZ-<12 hex digits>``."""
    return bool(_ID.fullmatch(text))


def check_release_id(text: str) -> None:
    """Refuse what is not a release's id.

    Raises:
        SpecError: It is not one.
    """
    if not is_release_id(text):
        raise SpecError(
            f"'{text}' is not the id of a release, such as 20260131T235959Z-0123456789ab",
            hint="list the ids with prep releases URI",
        )


def render_release(release: Release) -> bytes:
    """Render ``release.json``."""
    return render_record(release.model_dump(mode="json", exclude={"uri"}), RELEASE_SCHEMA)


def parse_release(text: bytes, *, uri: str) -> Release:
    """Parse ``release.json``, of this schema or an older one.

    Args:
        text: Its content.
        uri: Where the release is; its last segment is the release's id.

    Raises:
        StoreError: It was made by a newer prep.
        ReleaseDamagedError: It is damaged.
    """

    def build(content: dict[str, Any]) -> Release:
        release = Release.model_validate({**content, "uri": uri})
        if release.id != uri.rpartition("/")[2]:
            raise ValueError(f"its id is {release.id}")
        for name in release.files:
            check_object_name(name, where="it")
        for entry in release.entries:
            files = entry.manifest.get("files", {})
            if not isinstance(files, dict) or not all(isinstance(file, dict) for file in files.values()):
                raise ValueError(f"the manifest of {entry.name} does not list files")
        return release

    return parse_record(
        text,
        build,
        RELEASE_SCHEMA,
        where=f"{uri}/{RELEASE_NAME}",
        hint=f"remove that release: everything below {uri}",
    )


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


def render_record(content: dict[str, Any], schema: int) -> bytes:
    """Render a JSON object of a store with its schema."""
    return f"{json.dumps({'schema': schema, **content}, indent=2, sort_keys=True)}\n".encode()


def parse_record(text: bytes, build: Callable[[dict[str, Any]], R], newest_schema: int, *, where: str, hint: str) -> R:
    """Parse a JSON object of a store that says its schema.

    Args:
        text: Its content.
        build: Makes the record of the content without its schema; may raise what is wrong with it.
        newest_schema: The newest schema that this prep reads; it reads the older ones too.
        where: Its place, for the error.
        hint: What to do about a damaged one.

    Raises:
        StoreError: It was made by a newer prep.
        ReleaseDamagedError: It is damaged.
    """
    try:
        content: Any = json.loads(text)
        if not isinstance(content, dict):
            raise TypeError("it is not a JSON object")
        schema = content.pop("schema", None)
        if not isinstance(schema, int) or schema < 1:
            raise ValueError(f"its schema is {schema!r}")
        if schema > newest_schema:
            raise StoreError(
                f"{where} was made by a newer prep (schema {schema}; this one reads up to {newest_schema})",
                hint="pip install --upgrade prep-triton",
            )
        return build(content)
    except StoreError:
        raise
    except ValidationError as err:
        first = err.errors()[0]
        message = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"[:200]
        raise ReleaseDamagedError(f"{where} is damaged: {message}", hint=hint) from err
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, PrepError) as err:
        message = " ".join(str(err).split())[:200]
        raise ReleaseDamagedError(f"{where} is damaged: {message}", hint=hint) from err
