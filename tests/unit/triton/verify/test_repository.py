"""What a server of our own is started with, for the entries to be served as they were asked for."""

import pytest
from prep_triton.errors import RepositoryError
from prep_triton.triton.verify.repository import find_server_arguments

from scripts.benchmarks.records import make_entry

ENTRIES = [
    make_entry("a", server_arguments=("--rate-limit=execution_count",)),
    make_entry("b", server_arguments=("--cache-config=local,size=9", "--rate-limit=execution_count")),
]


def test_a_local_repository_says_its_servers_arguments(tmp_path):
    (tmp_path / "server.args").write_text("--log-verbose=1\n\n--rate-limit=off\n")
    assert find_server_arguments(ENTRIES, str(tmp_path)) == ("--log-verbose=1", "--rate-limit=off")


@pytest.mark.parametrize("uri", ["gs://bucket/models/releases/1", "absent"])
def test_without_the_file_the_entries_say_them(uri):
    assert find_server_arguments(ENTRIES, uri) == ("--cache-config=local,size=9", "--rate-limit=execution_count")


def test_arguments_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "server.args").write_bytes(b"\xff")
    with pytest.raises(RepositoryError, match=r"server\.args cannot be read") as caught:
        find_server_arguments(ENTRIES, str(tmp_path))
    assert "assemble" in caught.value.hint


def test_an_argument_that_names_a_folder_is_refused(tmp_path):
    (tmp_path / "server.args").write_text("--rate-limit=off\n--backend-directory=/evil\n")
    with pytest.raises(RepositoryError, match=r"server\.args: '--backend-directory=/evil' is not a server argument"):
        find_server_arguments(ENTRIES, str(tmp_path))


def test_the_entries_resources_are_merged():
    entries = [make_entry(name, server_arguments=(f"--rate-limit-resource=R:{name}",)) for name in ("1", "3")]
    assert find_server_arguments(entries, "absent") == ("--rate-limit-resource=R:3",)
