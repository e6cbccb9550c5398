"""Requester pays and customer keys: passed on as they are set, and never shown."""

import base64
import json
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

import pytest
from prep_triton.errors import SpecError
from prep_triton.publish.gcs.session import GcsOptions, GcsSession, load_gcs_options
from prep_triton.publish.uri import open_store

from tests.fakes.http_server import Answer, run_http_server

KEY = bytes(range(32))
ENCODED = base64.b64encode(KEY).decode()
KMS_KEY = "projects/p/locations/europe/keyRings/r/cryptoKeys/k"


WRITTEN = {
    "id": "models/a/7",
    "size": "1",
    "crc32c": "qTxfkw==",  # of "x"
    "generation": "7",
    "updated": "2026-01-01T00:00:00Z",
    "permissions": ["storage.objects.get"],
}


@pytest.fixture
def heard(monkeypatch):
    """A server that notes every request, and answers as for an object that was written."""
    requests = []

    def note(request: BaseHTTPRequestHandler) -> Answer:
        requests.append((request.command, parse_qs(urlsplit(request.path).query), dict(request.headers.items())))
        return Answer(200, json.dumps(WRITTEN).encode())

    with run_http_server(note) as url:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield requests


def test_nothing_is_asked_for_by_default(monkeypatch):
    assert load_gcs_options() == GcsOptions(None, None, None)


def test_project_that_pays_is_named_in_every_request(heard, monkeypatch):
    monkeypatch.setenv("PREP_GCS_USER_PROJECT", "payer")
    store = open_store("gs://models")
    store.stat("a")
    store.list_objects("")
    store.write_bytes("a", b"x")
    assert len(heard) == 3
    assert all(query["userProject"] == ["payer"] for _, query, _ in heard)


def test_kms_key_is_named_where_something_is_written(heard, monkeypatch):
    monkeypatch.setenv("PREP_GCS_KMS_KEY", KMS_KEY)
    open_store("gs://models").write_bytes("a", b"x")
    assert heard[0][1]["kmsKeyName"] == [KMS_KEY]


def test_customer_supplied_key_goes_with_writes_and_reads_and_warns_of_triton(heard, monkeypatch, caplog):
    monkeypatch.setenv("PREP_GCS_ENCRYPTION_KEY", ENCODED)
    store = open_store("gs://models")
    store.write_bytes("a", b"x")
    store.stat("a")
    assert [headers["X-Goog-Encryption-Key"] for _, _, headers in heard] == [ENCODED] * 2
    assert "cannot be loaded by Triton" in caplog.text
    assert ENCODED not in caplog.text
    assert ENCODED not in repr(GcsSession("models").options)
    assert repr(KEY) not in repr(GcsSession("models").options)


@pytest.mark.parametrize("wrong", ["not base64!", base64.b64encode(b"short secret").decode(), "SECRET=="])
def test_key_that_is_none_is_refused_without_being_shown(monkeypatch, wrong):
    monkeypatch.setenv("PREP_GCS_ENCRYPTION_KEY", wrong)
    with pytest.raises(SpecError, match="is not the base64 of 32 bytes") as caught:
        open_store("gs://models").check_access()
    assert "openssl rand -base64 32" in caught.value.hint
    assert wrong not in caught.value.message + caught.value.hint
    assert caught.value.__cause__ is None


def test_kms_key_that_is_none_is_refused(monkeypatch):
    monkeypatch.setenv("PREP_GCS_KMS_KEY", "my-key")
    with pytest.raises(SpecError, match="is not the name of a Cloud KMS key: 'my-key'") as caught:
        load_gcs_options()
    assert "cryptoKeys" in caught.value.hint


def test_two_keys_at_once_are_refused(monkeypatch):
    monkeypatch.setenv("PREP_GCS_KMS_KEY", KMS_KEY)
    monkeypatch.setenv("PREP_GCS_ENCRYPTION_KEY", ENCODED)
    with pytest.raises(SpecError, match="are both set") as caught:
        load_gcs_options()
    assert "unset" in caught.value.hint


def test_permissions_are_the_bucket_s_own_answer(heard):
    assert open_store("gs://models").find_permissions() == frozenset({"storage.objects.get"})
    permissions = heard[0][1]["permissions"]
    assert {"storage.objects.create", "storage.objects.delete", "storage.buckets.get"} <= set(permissions)


def test_requester_pays_is_warned_of_because_triton_names_no_payer(monkeypatch, caplog):
    monkeypatch.setenv("PREP_GCS_USER_PROJECT", "payer")
    assert load_gcs_options().user_project == "payer"
    assert "requester-pays" in caplog.text
