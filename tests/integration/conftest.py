"""A store of each kind, for what must hold in both."""

from pathlib import Path

import pytest
from prep_triton.publish.store import Store
from prep_triton.publish.uri import open_store


@pytest.fixture(params=["folder", "gcs"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store: a folder, and a prefix of a bucket on a real GCS server."""
    if request.param == "folder":
        return open_store(str(tmp_path / "store"))
    return open_store(f"gs://{request.getfixturevalue('gcs_bucket')}/models")
