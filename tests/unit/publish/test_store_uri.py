from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prep_triton.errors import SpecError
from prep_triton.publish.folder import FolderStore
from prep_triton.publish.gcs import GcsStore
from prep_triton.publish.store import GcsUri, check_object_name
from prep_triton.publish.uri import open_store, parse_folder_uri, parse_gcs_uri


@pytest.mark.parametrize(
    ("uri", "bucket", "prefix"),
    [
        ("gs://models", "models", ""),
        ("gs://models/", "models", ""),
        ("gs://models/bert", "models", "bert"),
        ("gs://my-models_1.example.com/a/b=c/", "my-models_1.example.com", "a/b=c"),
    ],
)
def test_gcs_uri_is_split_into_bucket_and_prefix(uri, bucket, prefix):
    assert parse_gcs_uri(uri) == GcsUri(bucket, prefix)


@pytest.mark.parametrize(
    ("uri", "message", "hint"),
    [
        ("gs://", "does not name a bucket", "gs://BUCKET/PREFIX"),
        ("gs:///bert", "does not name a bucket", "gs://BUCKET/PREFIX"),
        ("gs://Models/bert", "'Models' in 'gs://Models/bert' is not a bucket name", "lower-case"),
        ("gs://my models", "is not a bucket name", "lower-case"),
        ("gs://modèles", "is not a bucket name", "lower-case"),
        ("gs://models\n", "is not a bucket name", "lower-case"),
        ("gs://models/nightly\n", "which is not allowed", "ASCII letters"),
        ("gs://-models", "is not a bucket name", "lower-case"),
        ("gs://ab", "is not a bucket name", "3 to 63"),
        (f"gs://{'a' * 64}", "is not a bucket name", "3 to 63"),
        ("gs://192.168.0.1/x", "is not a bucket name", "3 to 63"),
        ("gs://..", "is not a bucket name", "3 to 63"),
        ("gs://models//bert", "has an empty segment", "single slashes"),
        ("gs://models/bert//", "has an empty segment", "single slashes"),
        ("gs://models/../other", "has the segment '..'", "letters, digits"),
        ("gs://models/.hidden", "has the segment '.hidden'", "letters, digits"),
        ("gs://models/-rf", "has the segment '-rf'", "letters, digits"),
        ("gs://models/my bert", "has the segment 'my bert'", "letters, digits"),
        ("gs://models/bért", "has the segment 'bért'", "letters, digits"),
        ("gs://models/a\nb", "has the segment", "letters, digits"),
        (f"gs://models/{'a' * 1025}", "1024 at most", "shorten"),
    ],
)
def test_gcs_uri_with_a_bad_name_is_refused(uri, message, hint):
    with pytest.raises(SpecError) as caught:
        open_store(uri)
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("uri", "message", "hint"),
    [
        ("", "is not a store", "gs://BUCKET/PREFIX"),
        ("  ", "is not a store", "gs://BUCKET/PREFIX"),
        ("-releases", "begins with a dash", "./-releases"),
        ("gs:/models", "is not a bucket's URI", "two slashes"),
        ("GS://models", "is not a bucket's URI", "two slashes"),
        ("s3://models", "unknown scheme 's3'", "gs://BUCKET/PREFIX"),
        ("https://storage.googleapis.com/models", "unknown scheme 'https'", "gs://BUCKET/PREFIX"),
        ("file://elsewhere/releases", "is not a folder of this machine", "file:///FOLDER"),
        ("file:releases", "is not a folder of this machine", "file:///FOLDER"),
    ],
)
def test_what_is_neither_a_bucket_nor_a_folder_is_refused(uri, message, hint):
    with pytest.raises(SpecError) as caught:
        open_store(uri)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_folder_is_given_by_path_or_by_file_uri(tmp_path):
    assert parse_folder_uri(f"file://{tmp_path}/my%20releases") == tmp_path / "my releases"
    assert parse_folder_uri("releases") == Path.cwd() / "releases"


def test_open_store_takes_the_kind_from_the_uri_and_touches_nothing(tmp_path):
    assert isinstance(open_store("gs://no-such-bucket/bert"), GcsStore)
    assert isinstance(open_store(str(tmp_path / "new")), FolderStore)
    assert not (tmp_path / "new").exists()


@given(st.text(max_size=100).map(lambda text: f"gs://{text}"))
def test_any_gcs_uri_is_refused_or_written_back_the_same(uri):
    try:
        parsed = parse_gcs_uri(uri)
    except SpecError:
        return
    assert str(parsed) == uri.rstrip("/")
    assert parse_gcs_uri(str(parsed)) == parsed


@given(st.text(alphabet="ab1-._/\\~ \0", min_size=1, max_size=100))
def test_an_accepted_object_name_stays_inside_its_store(name):
    try:
        check_object_name(name, where="it")
    except SpecError:
        return
    root = Path("/store")
    assert (root / name).resolve().relative_to(root).as_posix() == name


def test_a_password_before_a_bucket_is_not_repeated():
    with pytest.raises(SpecError, match="has a user in it") as caught:
        parse_gcs_uri("gs://user:hidden@bucket/x")
    assert "hidden" not in f"{caught.value.message} {caught.value.hint}"
