"""What a store's URI means: the store behind it is opened here alone."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from prep_triton.errors import SpecError
from prep_triton.publish.store import GcsUri, Store, check_object_name

_BUCKET = re.compile(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?)*")
_IP_ADDRESS = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}")
_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+):")


def open_store(uri: str, *, retry_for_s: float | None = None) -> Store:
    """Open a store: ``gs://bucket/prefix``, a folder's path, or ``file:///path``. Touches nothing yet.

    Args:
        uri: Which.
        retry_for_s: For how long a request that failed is repeated, where the store is a bucket; None is as publishing
            needs it.

    Raises:
        SpecError: The URI is not one of these, or a name in it is not allowed.
    """
    if uri.startswith("gs://"):
        from prep_triton.publish.gcs import GcsSession, GcsStore, Patience

        location = parse_gcs_uri(uri)
        patience = Patience() if retry_for_s is None else Patience(retry_for_s=retry_for_s)
        return GcsStore(location, GcsSession(location.bucket, patience=patience))
    from prep_triton.publish.folder import FolderStore

    return FolderStore(parse_folder_uri(uri))


def check_store_uri(uri: str) -> None:
    """Refuse a URI that `open_store` would not open; touches nothing.

    Raises:
        SpecError: See `open_store`.
    """
    if uri.startswith("gs://"):
        parse_gcs_uri(uri)
    else:
        parse_folder_uri(uri)


def parse_gcs_uri(uri: str) -> GcsUri:
    """Parse ``gs://bucket/prefix``.

    Raises:
        SpecError: There is no bucket, or a name in it is not allowed.
    """
    bucket, _, prefix = uri.removeprefix("gs://").partition("/")
    if not bucket:
        raise SpecError(f"'{uri}' does not name a bucket", hint="write gs://BUCKET/PREFIX")
    if "@" in bucket:  # a password, perhaps: it is not repeated
        raise SpecError(f"'{uri}' has a user in it, and a bucket has none", hint="write gs://BUCKET/PREFIX")
    too_long = len(bucket) > (222 if "." in bucket else 63)
    if len(bucket) < 3 or too_long or not _BUCKET.fullmatch(bucket) or _IP_ADDRESS.fullmatch(bucket):
        raise SpecError(
            f"'{bucket}' in '{uri}' is not a bucket name",
            hint="3 to 63 lower-case letters, digits, '-', '_' and '.', beginning and ending with a letter or digit",
        )
    prefix = prefix.removesuffix("/")
    if prefix:
        check_object_name(prefix, where=f"'{uri}'")
    return GcsUri(bucket, prefix)


def parse_folder_uri(uri: str) -> Path:
    """Parse a folder's path or ``file:///path``.

    Raises:
        SpecError: The text is empty, has another scheme, or names another machine.
    """
    if not uri.strip() or "\0" in uri:
        raise SpecError(f"{uri!r} is not a store", hint="write gs://BUCKET/PREFIX or a folder's path")
    if uri.startswith("-"):
        raise SpecError(f"'{uri}' begins with a dash, as a flag does", hint=f"write ./{uri} if it is a folder")
    scheme = _SCHEME.match(uri)
    if not scheme:
        return Path(uri).absolute()
    parts = urlsplit(uri)
    if scheme[1].lower() == "gs":
        raise SpecError(f"'{uri}' is not a bucket's URI", hint="write gs://BUCKET/PREFIX, with two slashes")
    if scheme[1].lower() != "file":
        raise SpecError(
            f"'{uri}' has the unknown scheme '{scheme[1]}'", hint="write gs://BUCKET/PREFIX or a folder's path"
        )
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise SpecError(f"'{uri}' is not a folder of this machine", hint="write file:///FOLDER, with three slashes")
    return Path(unquote(parts.path)).absolute()
