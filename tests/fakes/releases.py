"""Releases as a store holds them: records alone, no entries' files."""

from datetime import UTC, datetime
from typing import Any

from prep_triton.layout import RELEASE_NAME, folder_of_release
from prep_triton.publish.record import (
    Release,
    ReleaseEntry,
    ReleaseFile,
    moment_from_release_id,
    render_release,
)
from prep_triton.publish.store import Store

ID = "20260131T235959Z-0123456789ab"
URI = f"gs://models/bert/releases/{ID}"
# What an entry's manifest holds of the figures that two releases are compared by.
MANIFEST: dict[str, Any] = {
    "onnx": {
        "source": "hub:bert-base-uncased",
        "accuracy": {"metric": "accuracy", "rows": 9, "reference": 90.0, "converted": 89.5},
        "fidelity": {"rows": 9, "mean_cosine": 0.999, "min_cosine": 0.99, "runtime": "onnxruntime"},
    },
    "engines": [{"compute_capability": "7.5", "builder_version": "10.13.2"}],
}


def make_release(**changes: Any) -> Release:
    """A release of one small entry."""
    fields = {
        "id": ID,
        "created_at": datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC),
        "prep_version": "0.1.0",
        "content_digest": "0123456789ab" + "0" * 52,
        "entries": (
            ReleaseEntry(
                name="bert",
                key="k",
                runtime="tensorrt",
                precision="fp16",
                task="fill-mask",
                architecture="bert",
                weights="hub",
                max_batch_size=8,
                compute_capabilities=("7.5",),
                tolerance=0.99,
                tools={"tensorrt": "10.13"},
            ),
        ),
        "files": {"bert/config.pbtxt": ReleaseFile(size=3, crc32c="AAAAAA==", sha256="00")},
        "uri": URI,
    }
    return Release(**{**fields, **changes})


def save_release(store: Store, release_id: str) -> Release:
    """Write the ``release.json`` of an id into a store; its files are not there."""
    folder = folder_of_release(release_id)
    moment, uri = moment_from_release_id(release_id), f"{store.uri}/{folder}".rstrip("/")
    release = make_release(id=release_id, created_at=moment, uri=uri)
    store.write_bytes(f"{folder}{RELEASE_NAME}", render_release(release))
    return release
