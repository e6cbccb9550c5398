"""Which server arguments a repository may ask for, and that a record and a release hold no others."""

import json

import pytest
from prep_triton.artifact import RepositoryEntry
from prep_triton.errors import ReleaseDamagedError, StoreError, WorkspaceError
from prep_triton.manifest import load_artifact, save_manifest
from prep_triton.publish.record import artifact_from_release_entry, parse_release, render_release
from prep_triton.server_arguments import find_refused
from pydantic import ValidationError

from scripts.benchmarks.records import make_entry
from tests.fakes.releases import URI, make_release

REFUSED = [
    "--backend-directory=/evil",
    "--rate-limit=off\n--backend-directory=/evil",
    "--rate-limit=off\n",
    "--rate-limit=off --repoagent-directory=/evil",
    "--backend-config=tensorrt,plugins=/evil.so",
    "--backend-config=,backend-directory=/evil",
    "--cache-config=redis,host=evil",
    "--cache-directory=/evil",
    "--model-repository=/evil",
    "--log-file=/etc/passwd",
    "--trace-config=opentelemetry,url=evil",
    "--rate-limit-resource=R:1\u2028--x",
    "rate-limit=off",
    "",
]
ALLOWED = ("--rate-limit=execution_count", "--rate-limit-resource=R1:2", "--cache-config=local,size=268435456")


@pytest.mark.parametrize("argument", REFUSED)
def test_what_names_a_place_or_holds_a_second_argument_is_refused(argument, tmp_path):
    with pytest.raises(ValidationError, match="is not a server argument"):
        make_entry("a", server_arguments=(argument,))
    entry = make_entry("a")
    save_manifest(entry, tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "server_arguments": [argument], "files": {}}))
    with pytest.raises(WorkspaceError, match="is not a server argument"):
        load_artifact(tmp_path, RepositoryEntry)
    content = json.loads(render_release(make_release()))
    with pytest.raises(ReleaseDamagedError, match="is not a server argument"):
        parse_release(json.dumps({**content, "server_arguments": [argument]}).encode(), uri=URI)
    kept = make_release().entries[0]
    manifest = {**entry.model_dump(mode="json"), "server_arguments": [argument]}
    with pytest.raises(StoreError, match="is not a server argument"):
        artifact_from_release_entry(kept.model_copy(update={"manifest": manifest}))


def test_what_entries_of_ours_need_is_allowed():
    assert find_refused(ALLOWED) == []
    assert make_entry("a", server_arguments=ALLOWED).server_arguments == ALLOWED


@pytest.mark.parametrize("tolerance", [float("nan"), float("inf"), -5.0, 0.0, 1.5])
def test_tolerance_that_lets_anything_pass_is_refused(tolerance):
    with pytest.raises(ValidationError, match="tolerance"):
        make_entry("a", tolerance=tolerance)
