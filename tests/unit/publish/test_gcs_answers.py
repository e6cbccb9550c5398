"""What GCS answers that a local server never does: refusals, outages, damage."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from prep_triton.errors import (
    BucketMissingError,
    DiskFullError,
    PreconditionError,
    SpecError,
    StoreAccessError,
    StoreError,
)
from prep_triton.publish.check import find_missing_permissions, warn_of_missing_permissions
from prep_triton.publish.gcs import GcsStore
from prep_triton.publish.gcs.session import GcsSession, Patience
from prep_triton.publish.store import StoredObject
from prep_triton.publish.uri import open_store, parse_gcs_uri

from tests.fakes.http_server import Answer, run_http_server

DENIED = (
    "someone@example.iam.gserviceaccount.com does not have storage.objects.create access to the Google Cloud Storage "
    "object. Permission 'storage.objects.create' denied on resource (or it may not exist)."
)


def open_impatiently(uri):
    patience = Patience(retry_for_s=0.1, first_retry_for_s=0.1)
    location = parse_gcs_uri(uri)
    return GcsStore(location, GcsSession(location.bucket, patience=patience))


@pytest.fixture
def paths() -> list[str]:
    """What the server of `answer_with` was asked for."""
    return []


@pytest.fixture
def answer_with(monkeypatch, paths):
    """Start a server that gives every request the same answer, and mean it by gs://."""
    with ExitStack() as stack:

        def start(status, message="", *, body=None, headers=None):
            content = json.dumps({"error": {"code": status, "message": message}}).encode() if body is None else body

            def respond(request: BaseHTTPRequestHandler) -> Answer:
                paths.append(request.path.partition("?")[0])
                return Answer(status, content, headers or {})

            monkeypatch.setenv("STORAGE_EMULATOR_HOST", stack.enter_context(run_http_server(respond)))
            monkeypatch.setenv("NO_PROXY", "127.0.0.1")
            return open_impatiently("gs://models/bert")

        yield start


def test_forbidden_write_names_the_missing_permission(answer_with):
    with pytest.raises(StoreAccessError, match=r"storage.objects.create is not allowed on gs://models") as caught:
        answer_with(403, DENIED).write_bytes("a", b"x")
    assert "roles/storage.objectAdmin" in caught.value.hint


def test_forbidden_request_without_words_names_what_it_needed(answer_with):
    with pytest.raises(StoreAccessError, match=r"storage.objects.list is not allowed"):
        answer_with(403).check_access()


def test_credentials_that_are_not_accepted_get_the_way_to_log_in(answer_with, monkeypatch):
    import google.auth
    from google.auth.credentials import Credentials

    class Stale(Credentials):
        def refresh(self, request):
            self.token = "stale"

    store = answer_with(401, "Invalid Credentials")
    monkeypatch.setenv("API_ENDPOINT_OVERRIDE", os.environ["STORAGE_EMULATOR_HOST"])
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    monkeypatch.setattr(google.auth, "default", lambda scopes: (Stale(), None))
    with pytest.raises(StoreAccessError, match=r"did not accept the credentials .*Invalid Credentials") as caught:
        store.check_access()
    assert "gcloud auth application-default login" in caught.value.hint


def test_missing_bucket_is_distinguished_from_a_missing_object(answer_with):
    with pytest.raises(BucketMissingError, match="there is no bucket gs://models") as caught:
        answer_with(404, "The specified bucket does not exist.").read_bytes("a")
    assert "gcloud storage buckets create gs://models" in caught.value.hint
    with pytest.raises(StoreError, match="there is no object gs://models/bert/a"):
        answer_with(404, "No such object: models/bert/a").read_bytes("a")


def test_failed_precondition_says_that_another_run_wrote(answer_with):
    with pytest.raises(PreconditionError, match="gs://models/bert/a is not at the generation") as caught:
        answer_with(412, "At least one of the pre-conditions you specified did not hold.").write_bytes("a", b"x")
    assert "another run wrote it" in caught.value.hint


def test_outage_is_retried_and_then_reported(answer_with):
    with pytest.raises(StoreError, match=r"cannot be reached: .*Service Unavailable") as caught:
        answer_with(503, "Service Unavailable").check_access()
    assert "run again" in caught.value.hint


def test_other_refusals_have_the_servers_message(answer_with):
    with pytest.raises(StoreError, match=r"GCS refused the request for gs://models/bert: .*No billing account"):
        answer_with(400, "No billing account").check_access()


def test_damaged_download_is_refused(answer_with):
    store = answer_with(200, body=b"damaged", headers={"X-Goog-Hash": "crc32c=AAAAAA=="})
    with pytest.raises(StoreError, match="arrived damaged") as caught:
        store.read_bytes("a")
    assert "run again" in caught.value.hint


def test_nobody_listening_is_a_store_error_in_few_words(monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(StoreError, match=r"gs://models cannot be reached: .*Connection refused") as caught:
        open_impatiently("gs://models").check_access()
    assert "network" in caught.value.hint


def test_emulator_without_a_scheme_is_refused(monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "127.0.0.1:9000")
    with pytest.raises(SpecError, match="STORAGE_EMULATOR_HOST is not a URL") as caught:
        open_store("gs://models").check_access()
    assert "http://127.0.0.1:PORT" in caught.value.hint


def test_going_without_credentials_is_logged(answer_with, caplog):
    caplog.set_level(logging.INFO)
    store = answer_with(200, body=b"{}")
    store.check_access()
    assert "the emulator on 127.0.0.1, without credentials" in caplog.text


def test_without_credentials_and_emulator_nothing_is_tried_anonymously(tmp_path):
    script = "from prep_triton.publish.uri import open_store\nopen_store('gs://models').check_access()"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GOOGLE_", "STORAGE_", "GCE_"))}
    # NO_GCE_CHECK: a test machine may be one of Google's.
    environment = {**kept, "HOME": str(tmp_path), "CLOUDSDK_CONFIG": str(tmp_path), "NO_GCE_CHECK": "true"}
    ended = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "StoreAccessError: there are no usable credentials for gs://models" in ended.stderr


def test_looking_for_credentials_names_the_login_in_its_hint(monkeypatch, tmp_path):
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    (tmp_path / "key.json").write_text('{"type": "service_account", "private_key": "SECRET"}')
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    with pytest.raises(StoreAccessError, match="no usable credentials") as caught:
        open_store("gs://models").check_access()
    assert "gcloud auth application-default login" in caught.value.hint
    assert "SECRET" not in caught.value.message


def test_nothing_is_asked_about_the_bucket_itself(answer_with, paths):
    # That would need storage.buckets.get, which an account that may only publish does not have.
    store = answer_with(200, body=b"{}")
    store.check_access()
    store.list_folders("releases/")
    assert set(paths) == {"/storage/v1/b/models/o"}


def test_retention_policy_is_distinguished_from_a_missing_permission(answer_with):
    kept = "Object 'models/bert/current.json' is subject to bucket's retention policy and cannot be overwritten"
    with pytest.raises(StoreError, match=r"current.json is kept by the bucket's retention policy") as caught:
        answer_with(403, kept).write_bytes("current.json", b"x", if_generation_match=1)
    assert "--no-current" in caught.value.hint
    assert not isinstance(caught.value, StoreAccessError)


def test_bucket_whose_requester_pays_names_the_variable(answer_with):
    with pytest.raises(StoreAccessError, match="is a requester-pays bucket") as caught:
        answer_with(400, "Bucket is a requester pays bucket but no user project provided.").check_access()
    assert "PREP_GCS_USER_PROJECT" in caught.value.hint


def test_object_under_another_key_names_the_variable(answer_with):
    message = "The target object is encrypted by a customer-supplied encryption key."
    with pytest.raises(StoreAccessError, match="needs its customer-supplied key") as caught:
        answer_with(400, message).read_bytes("a")
    assert "PREP_GCS_ENCRYPTION_KEY" in caught.value.hint


def test_bucket_of_another_project_is_named_as_a_possibility(answer_with):
    with pytest.raises(StoreAccessError, match="is not allowed on gs://models") as caught:
        answer_with(403, "someone does not have storage.objects.list access to the bucket.").check_access()
    assert "another project may own a bucket of that name" in caught.value.hint


def test_missing_permissions_are_named_for_the_writer_and_for_tritons_reader(answer_with, caplog):
    granted = ["storage.objects.list", "storage.objects.get", "storage.objects.create"]
    store = answer_with(200, body=json.dumps({"permissions": granted}).encode())
    missing = find_missing_permissions(store)
    assert missing.missing_to_publish == ("storage.objects.delete",)
    assert missing.missing_to_serve == ("storage.buckets.get",)
    warn_of_missing_permissions(store)
    assert "lacks storage.objects.delete" in caplog.text
    assert "roles/storage.objectAdmin" in caplog.text


def test_bucket_that_does_not_tell_permissions_is_not_checked(answer_with, caplog):
    caplog.set_level(logging.DEBUG, "prep_triton")
    store = answer_with(404)
    assert find_missing_permissions(store).missing_to_publish is None
    warn_of_missing_permissions(store)
    assert "not checked" in caplog.text


def test_damage_on_the_way_up_is_sent_again_and_then_refused(answer_with):
    message = {
        "id": "models/bert/a/7",
        "size": "1",
        "crc32c": "AAAAAA==",
        "generation": "7",
        "updated": "2026-01-01T00:00:00Z",
    }
    with pytest.raises(StoreError, match=r"crc32c AAAAAA==, expected qTxfkw==: it was damaged on its way 3 times"):
        answer_with(200, body=json.dumps(message).encode()).write_bytes("a", b"x")


@pytest.mark.parametrize(
    "damage",
    [{"size": None}, {"generation": "x"}, {"updated": "yesterday"}, {"updated": None}, {"id": "models/bert/b/7"}],
)
def test_answer_that_is_not_about_the_object_is_a_store_error(answer_with, damage):
    message = {"id": "models/bert/a/7", "size": "1", "crc32c": "", "generation": "7", "updated": "2026-01-01T00:00:00Z"}
    store = answer_with(200, body=json.dumps({**message, **damage}).encode())
    for act in (lambda: store.stat("a"), lambda: store.write_bytes("a", b"x")):
        with pytest.raises(StoreError, match="the answer about gs://models/bert/a is not about that object") as caught:
            act()
        assert "run again" in caught.value.hint


def test_file_that_changed_after_it_was_digested_is_refused_with_gcs_message(answer_with):
    message = "Provided CRC32C 'AAAAAA==' doesn't match calculated CRC32C 'qTxfkw=='."
    with pytest.raises(StoreError, match=r"gs://models/bert/a did not arrive as it was digested: .*CRC32C") as caught:
        answer_with(400, message).write_bytes("a", b"x")
    assert "while nothing writes" in caught.value.hint


OBJECT = {
    "id": "bucket/models/a/7",
    "name": "models/a",
    "size": "1",
    "crc32c": "qTxfkw==",
    "generation": "7",
    "updated": "2026-01-01T00:00:00Z",
}
OTHER_VALUES: tuple[object, ...] = (None, True, -1, 10**400, "x", "\ud800", [], [1], {"a": 1})


FIELDS = ("items", "prefixes", "nextPageToken", "permissions", "error")


def forms_of_answers() -> list[object]:
    """Return answers with each field of GCS's in each form that it does not have."""
    forms: list[object] = [*OTHER_VALUES, *({field: value} for field in FIELDS for value in OTHER_VALUES)]
    return [*forms, *({field: [value]} for field in FIELDS for value in OTHER_VALUES)]


def forms_of_objects() -> list[object]:
    """Return descriptions of an object, each with one field in a form that it does not have, or without it."""
    changed = [{**OBJECT, field: value} for field in OBJECT for value in OTHER_VALUES]
    return [*changed, *({key: value for key, value in OBJECT.items() if key != field} for field in OBJECT)]


NO_JSON = (b"", b"<html>", b"[", b'"', b"\xff\xfe", b"[" * 100_000, b'{"items": NaN}', b'{"size": 1%s}' % (b"0" * 5000))


def test_an_answer_that_is_none_of_gcs_is_a_sentence(monkeypatch):
    """Of a proxy, a login page, or another emulator: no traceback, no wrong types in what is returned, no end."""
    answer = [b""]
    with run_http_server(lambda _: Answer(200, answer[0])) as url:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        store = open_impatiently("gs://bucket/models")
        of_object: list[Callable[[], object]] = [lambda: store.stat("a"), lambda: store.write_bytes("a", b"x")]
        of_all = [store.check_access, store.find_permissions, lambda: store.list_folders("releases/"), *of_object]
        of_list: list[Callable[[], object]] = [lambda: store.list_objects("")]
        contents = [(content, [*of_all, *of_list]) for content in NO_JSON]
        contents += [(json.dumps(form).encode(), [*of_all, *of_list]) for form in forms_of_answers()]
        contents += [(json.dumps(form).encode(), of_object) for form in forms_of_objects()]
        contents += [(json.dumps({"items": [form]}).encode(), of_list) for form in forms_of_objects()]
        for content, requests in contents:
            answer[0] = content
            for request in requests:
                with suppress(StoreError):
                    check_types(request())


def check_types(returned: object) -> None:
    """Refuse what no store may return: each element of a listing, or the one object."""
    for entry in returned if isinstance(returned, list | frozenset) else [returned]:
        if isinstance(entry, StoredObject):
            assert (type(entry.name), type(entry.crc32c)) == (str, str)
            assert entry.size >= 0
            assert entry.generation > 0
        else:
            assert isinstance(entry, str | None)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[]", "'list' object has no attribute"),
        (b'{"prefixes": [1]}', "1 is not a folder below models/releases/"),
        (b'{"nextPageToken": "again"}', "its listing goes on at 'again', which is not another page"),
        (b'{"nextPageToken": {}}', "its listing goes on at {}"),
    ],
)
def test_what_is_wrong_with_an_answer_is_said(answer_with, content, reason):
    store = answer_with(200, body=content)
    store = GcsStore(parse_gcs_uri("gs://bucket/models"), store._session)
    with pytest.raises(StoreError, match=r"gs://bucket/models does not answer as GCS does: ") as caught:
        store.list_folders("releases/")
    assert reason in caught.value.message
    assert "a login page" in caught.value.hint


def test_a_bug_of_ours_is_none_of_the_librarys(monkeypatch):
    store = open_impatiently("gs://bucket/models")
    with pytest.raises(TypeError, match="a bug"), store._translated("storage.objects.get"):
        raise TypeError("a bug")


def test_a_full_disk_is_not_blamed_on_the_store(monkeypatch, answer_with, tmp_path: Path):
    store = answer_with(200, "x" * 100_000)
    (tmp_path / "model.onnx").symlink_to("/dev/full")
    with pytest.raises(DiskFullError, match=r"no space is left on the device of .*/model\.onnx"):
        store.download_file("a", tmp_path / "model.onnx")
