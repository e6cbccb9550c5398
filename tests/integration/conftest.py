"""What integration tests share: a store of each kind, and the exports of tiny checkpoints."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prep_triton.publish.store import Store
from prep_triton.publish.uri import open_store

if TYPE_CHECKING:
    from tests.fakes.architectures import TinyExports


@pytest.fixture(scope="session")
def tiny_exports(tmp_path_factory: pytest.TempPathFactory) -> "TinyExports":
    """The exports of tiny checkpoints, which all processes of the run share."""
    from tests.fakes.architectures import TinyExports

    own = tmp_path_factory.getbasetemp()
    return TinyExports((own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "tiny")


@pytest.fixture(params=["folder", "gcs"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store: a folder, and a prefix of a bucket on a real GCS server."""
    if request.param == "folder":
        return open_store(str(tmp_path / "store"))
    return open_store(f"gs://{request.getfixturevalue('gcs_bucket')}/models")
