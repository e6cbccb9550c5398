"""What `release.json` says: everything in a release, with sizes and checksums, and where it came from."""

import json
import re
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from pipeline.artifact import Record, RepositoryEntry
from pipeline.errors import PrepError, SpecError, StoreError
from pipeline.publish.store import check_object_name
from pipeline.spec import Precision, Runtime

RELEASES = "releases"
RELEASE_NAME = "release.json"
RELEASE_SCHEMA = 1

_ID = re.compile(r"^\d{8}T\d{6}Z-[0-9a-f]{12}$")
_MOMENT = "%Y%m%dT%H%M%SZ"


class ReleaseFile(Record):
    """One object: size in bytes, CRC32C as GCS writes it, lower-case hex SHA-256."""

    size: int
    crc32c: str
    sha256: str


class ReleaseEntry(Record):
    """What a reader wants to know of an entry before it reads the entry's own manifest."""

    name: str
    key: str
    runtime: Runtime
    precision: Precision
    task: str
    architecture: str
    weights: str
    max_batch_size: int
    compute_capabilities: tuple[str, ...] = ()
    tolerance: float
    tools: dict[str, str]


class Release(Record):
    """A release: its `files` are named relative to its folder, ``<entry>/config.pbtxt``.

    `content_digest` is the same for the same content, whenever it was published. `uri` is where the
    release was found, and is not written into it.
    """

    id: str
    created_at: datetime
    prep_version: str
    content_digest: str
    git_revision: str | None = None
    entries: tuple[ReleaseEntry, ...]
    files: dict[str, ReleaseFile]
    uri: str = ""

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files.values())


def release_entry_from_artifact(entry: RepositoryEntry) -> ReleaseEntry:
    """Take from an entry's manifest what a release says of it."""
    return ReleaseEntry(**{field: getattr(entry, field) for field in ReleaseEntry.model_fields})


def release_id_from_content(moment: datetime, content_digest: str) -> str:
    """Make the id of a release: UTC time to the second, and the first 12 digits of the content digest."""
    return f"{moment.astimezone(UTC).strftime(_MOMENT)}-{content_digest[:12]}"


def moment_from_release_id(release_id: str) -> datetime:
    """Return the time in a release's id."""
    return datetime.strptime(release_id.partition("-")[0], _MOMENT).replace(tzinfo=UTC)


def is_release_id(text: str) -> bool:
    """Tell whether a text is a release's id: ``YYYYMMDDTHHMMSSZ-<12 hex digits>``."""
    return bool(_ID.match(text))


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


def folder_of_release(release_id: str) -> str:
    """Return the name prefix of a release's objects in its store, with the slash."""
    return f"{RELEASES}/{release_id}/"


def render_release(release: Release) -> bytes:
    """Render ``release.json``."""
    content = {"schema": RELEASE_SCHEMA, **release.model_dump(mode="json", exclude={"uri"})}
    return f"{json.dumps(content, indent=2, sort_keys=True)}\n".encode()


def parse_release(text: bytes, *, uri: str) -> Release:
    """Parse ``release.json``.

    Args:
        text: Its content.
        uri: Where the release is; its last segment is the release's id.

    Raises:
        StoreError: It was made by a newer prep, or is damaged.
    """
    where = f"{uri}/{RELEASE_NAME}"
    try:
        content: Any = json.loads(text)
        schema = content.pop("schema")
        if not isinstance(schema, int) or schema < 1:
            raise ValueError(f"its schema is {schema!r}")
        if schema > RELEASE_SCHEMA:
            raise StoreError(
                f"{where} was made by a newer prep (schema {schema}; this one reads up to {RELEASE_SCHEMA})",
                hint="pip install --upgrade prep-triton",
            )
        release = Release.model_validate({**content, "uri": uri})
        if release.id != uri.rpartition("/")[2]:
            raise ValueError(f"its id is {release.id}")
        for name in release.files:
            check_object_name(name, where="it")
    except StoreError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, ValidationError, PrepError) as err:
        told = " ".join(str(err).split())[:200]
        raise StoreError(f"{where} is damaged: {told}", hint=f"remove that release: everything below {uri}") from err
    return release
