"""What is left of releases after stress, and whether a publish that reports success did what it says.

`find_broken` reads a store as prep's readers do; `find_untrue` asks Google's own client, and compares bytes with files:
it must notice too what prep's own checks would let pass.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from prep_triton.errors import PrepError, ReleaseDamagedError
from prep_triton.publish.catalog import list_ids, read_pointer, read_release
from prep_triton.publish.check import find_faults
from prep_triton.publish.release import publish_release
from prep_triton.publish.store import Store
from prep_triton.publish.uri import open_store, parse_gcs_uri


def check_store(folder: Path, uri: str) -> Counter[str]:
    """Look at everything in a store, complete what was left, and look again."""
    store = open_store(uri)
    message = find_broken(store)
    try:
        publish_release(folder, open_store(uri))
        message += find_untrue(folder, uri)
    except PrepError:
        message["RERUN REFUSED"] += 1
    return message + find_broken(store) or Counter({"whole": 1})


def find_broken(store: Store) -> Counter[str]:
    """Count what no reader may ever see."""
    message = Counter[str]()
    for release_id in list_ids(store):
        try:
            release = read_release(store, release_id)
        except ReleaseDamagedError:
            message["DAMAGED release.json"] += 1
            continue
        if release and find_faults(store, release):
            message["WRONG OBJECTS UNDER release.json"] += 1
    sighting = read_pointer(store)
    if sighting.damage:
        message["DAMAGED current.json"] += 1
    elif sighting.pointer and read_release(store, sighting.pointer.release) is None:
        message["POINTER TO NOTHING"] += 1
    return message


def find_untrue(folder: Path, uri: str) -> Counter[str]:
    """Count what is not as a publish that reported success says: ``current.json`` names exactly the folder's files."""
    objects = _read_objects(uri)
    release_id = json.loads(objects.get("current.json", b"{}")).get("release")
    prefix = f"releases/{release_id}/"
    released = {name.removeprefix(prefix): content for name, content in objects.items() if name.startswith(prefix)}
    is_sealed = released.pop("release.json", None) is not None
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    message = Counter[str]()
    if not is_sealed:
        message["SUCCESS WITHOUT release.json"] += 1
    if released != files:
        message["SUCCESS WITH OTHER OBJECTS THAN FILES"] += 1
    return message


def _read_objects(uri: str) -> dict[str, bytes]:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    location = parse_gcs_uri(uri)
    client: Any = storage.Client(project="local", credentials=AnonymousCredentials())
    prefix = f"{location.prefix}/"
    blobs = client.list_blobs(location.bucket, prefix=prefix)
    return {blob.name.removeprefix(prefix): blob.download_as_bytes() for blob in blobs}
