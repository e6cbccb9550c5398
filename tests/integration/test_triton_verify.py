"""Entries are verified on a real Triton."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ServerError, VerifyError
from pipeline.spec import QueueSpec, ServingSpec, VerifySpec
from pipeline.triton.report import check_report
from pipeline.triton.repository import assemble_entry
from pipeline.triton.server import run_triton
from pipeline.triton.verify import verification_tools, verify_entries
from tests.fakes.triton_artifacts import make_engine, make_model

pytestmark = pytest.mark.integration

SERVING = ServingSpec(threads=1, max_batch_size=4, dynamic_batching=QueueSpec(max_queue_delay_us=100_000))


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return tmp_path_factory.mktemp("repo")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def entry(model, repository):
    return assemble_entry(model, [], SERVING, repository).artifact


@pytest.fixture(scope="module")
def server(entry, repository):
    with run_triton(str(repository), entries=[entry.name]) as running:
        running.check_loaded()
        yield running


@pytest.fixture
def spec(server):
    return VerifySpec(server_url=f"http://{server.grpc_url}", timeout_s=20)


def copy_of(entry, folder, **changes):
    """The entry's small files elsewhere, where a test may spoil them; the server keeps its own."""
    for name in ("config.pbtxt", "reference.npz", "tokenizer.json"):
        (folder / name).write_bytes(entry.path(name).read_bytes())
    return entry.model_copy(update={"folder": folder, **changes})


def change_reference(entry, change):
    path = entry.path("reference.npz")
    arrays = dict(np.load(path))
    change(arrays)
    np.savez(path, **arrays)


def test_a_repository_is_verified_on_a_server_of_our_own(model, tmp_path):
    entries = [
        assemble_entry(model, [], SERVING, tmp_path / "repo").artifact,
        assemble_entry(model, [make_engine(tmp_path / "e")], ServingSpec(), tmp_path / "repo").artifact,
    ]
    phases = []
    report = verify_entries(entries, str(tmp_path / "repo"), progress=lambda phase, fraction=None: phases.append(phase))
    check_report(report)
    served, plan = report.entries
    assert (served.status, served.rows, served.text_checked) == ("loaded", 5, True)
    assert served.mean_cosine == pytest.approx(1.0)
    assert served.max_abs_error == pytest.approx(0.0, abs=1e-6)
    assert served.requests == 5 + 2 + 16
    assert served.mean_batch_size > 2
    assert served.p50_ms > 0
    assert plan.status == "config-accepted-only"
    assert plan.detail.endswith("nothing more was checked")
    assert report.server_version
    assert "verifying tiny-onnx-fp32" in phases
    json.loads(report.model_dump_json())


def test_a_running_server_is_verified_too(entry, spec, repository):
    report = verify_entries([entry], str(repository), spec)
    check_report(report)
    assert "the running server at 127.0.0.1" in report.server_flavour


def test_a_wrong_reference_fails_with_what_was_seen(entry, spec, tmp_path):
    wrong = copy_of(entry, tmp_path)
    change_reference(wrong, lambda arrays: arrays["output/last_hidden_state"].__imul__(-1))
    report = verify_entries([entry, wrong], "r", spec)
    assert [one.status for one in report.entries] == ["loaded", "failed"]
    with pytest.raises(
        VerifyError, match=r"1 of 2 entries failed.*smallest cosine to PyTorch FP32 is -1\.0+ .*expected 0\.9999"
    ):
        check_report(report)


def test_padding_does_not_count(entry, spec, tmp_path):
    padded = copy_of(entry, tmp_path)
    change_reference(padded, lambda arrays: arrays["output/last_hidden_state"][1, 1:].__iadd__(9))
    check_report(verify_entries([padded], "r", spec))


def test_nan_in_the_answers_fails(entry, spec, tmp_path):
    spoiled = copy_of(entry, tmp_path)
    change_reference(spoiled, lambda arrays: arrays["output/last_hidden_state"].__imul__(np.nan))
    (found,) = verify_entries([spoiled], "r", spec).entries
    assert (found.status, found.mean_cosine) == ("failed", None)
    assert "NaN" in found.detail


def test_another_tokenizer_fails(entry, spec, tmp_path):
    wrong = copy_of(entry, tmp_path)
    path = wrong.path("tokenizer.json")
    path.write_text(path.read_text().replace('"w4"', '"w4x"'))
    (found,) = verify_entries([wrong], "r", spec).entries
    assert found.status == "failed"
    assert "gives other input_ids than the reference" in found.detail


def test_without_text_the_references_ids_are_sent(entry, spec, tmp_path):
    silent = copy_of(entry, tmp_path)
    change_reference(silent, lambda arrays: arrays.update(text=np.array([""] * 5)))
    report = verify_entries([silent], "r", spec)
    check_report(report)
    assert not report.entries[0].text_checked


def test_a_profile_limits_what_is_sent(entry, spec, tmp_path):
    (found,) = verify_entries(
        [copy_of(entry, tmp_path, spec={"min_sequence": 4, "max_sequence": 5})], "r", spec
    ).entries
    assert (found.status, found.rows) == ("loaded", 4)
    (none,) = verify_entries([copy_of(entry, tmp_path, spec={"max_sequence": 0})], "r", spec).entries
    assert (none.status, none.detail) == ("failed", "no row of the reference fits its profile")


@pytest.mark.parametrize("name", ["reference.npz", "config.pbtxt"])
def test_a_missing_file_fails_that_entry_alone(entry, spec, tmp_path, name):
    broken = copy_of(entry, tmp_path)
    broken.path(name).unlink()
    report = verify_entries([broken, entry], "r", spec)
    assert [one.status for one in report.entries] == ["failed", "loaded"]
    assert name in report.entries[0].detail


def test_a_request_that_the_server_refuses_fails_the_entry(entry, spec, tmp_path):
    wrong = copy_of(entry, tmp_path)
    change_reference(wrong, lambda arrays: arrays["input/input_ids"].__iadd__(1000))
    wrong.path("tokenizer.json").unlink()
    (found,) = verify_entries([wrong], "r", spec).entries
    assert found.status == "failed"
    assert "did not answer a request" in found.detail


def test_an_entry_that_the_running_server_lacks_is_named(entry, spec):
    with pytest.raises(ServerError, match=r"has not loaded absent") as caught:
        verify_entries([entry.model_copy(update={"name": "absent"})], "gs://b/r", spec)
    assert "gs://b/r" in caught.value.hint


def test_verification_tools_name_the_server(monkeypatch):
    assert "tritonclient" in verification_tools()
    monkeypatch.setenv("PREP_TRITONSERVER", "/bin/true")
    about = Path("/bin/true").stat()
    assert verification_tools()["tritonserver"] == f"/bin/true {about.st_size} {about.st_mtime_ns}"
