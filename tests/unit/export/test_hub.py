import socket

import pytest
from prep_triton.errors import SourceError
from prep_triton.export import hub


def point_at(monkeypatch, url: str) -> None:
    """Do what HF_ENDPOINT does, which the client reads once, when it is imported."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")


@pytest.fixture
def closed_hub(monkeypatch, tmp_path) -> None:
    """A hub that refuses connections, and an empty cache."""
    from huggingface_hub import constants

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    point_at(monkeypatch, f"http://127.0.0.1:{port}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))


@pytest.mark.parametrize("revision", [None, "main", "0" * 40])
@pytest.mark.usefixtures("closed_hub")
def test_unreachable_hub_gets_the_two_ways_without_it(revision):
    with pytest.raises(SourceError, match="the model hub cannot be reached for org/model") as caught:
        hub.fetch_config("org/model", revision)
    assert "local folder" in caught.value.hint
    assert "--weights random" in caught.value.hint


@pytest.mark.usefixtures("closed_hub")
def test_unreachable_hub_is_reported_for_files_too():
    with pytest.raises(SourceError, match="cannot be reached"):
        hub.fetch_folder("org/model", "0" * 40)


@pytest.mark.usefixtures("closed_hub")
def test_offline_environment_is_honoured(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SourceError, match="HF_HUB_OFFLINE is set") as caught:
        hub.fetch_config("org/model", None)
    assert "unset HF_HUB_OFFLINE" in caught.value.hint


@pytest.mark.usefixtures("closed_hub")
def test_text_that_is_no_hub_id_is_refused():
    with pytest.raises(SourceError, match="is not a hub id") as caught:
        hub.fetch_config("org/mo--del", None)
    assert "organization/name" in caught.value.hint
