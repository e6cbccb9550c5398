"""Entries of every kind are verified on a real Triton."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from prep_triton.errors import ServerError, VerifyError
from prep_triton.publish.check import check_release
from prep_triton.publish.release import publish_release
from prep_triton.publish.uri import open_store
from prep_triton.spec import AcceleratorSpec, QueueSpec, ServingSpec, TextSpec, VerifySpec
from prep_triton.triton.config import parse_config, render_config
from prep_triton.triton.entries.load import load_repository
from prep_triton.triton.entries.text import assemble_text_entries
from prep_triton.triton.server.process import run_triton
from prep_triton.triton.verify.report import check_report
from prep_triton.triton.verify.repository import verify_entries
from prep_triton.triton.verify.tools import verification_tools

from scripts.benchmarks.serving_configs import assemble_entry
from scripts.benchmarks.small_artifacts import make_engine, make_model

pytestmark = pytest.mark.integration

SERVING = ServingSpec(
    threads=1,
    max_batch_size=4,
    length_buckets=(2, 4, 8, 16),
    dynamic_batching=QueueSpec(max_queue_delay_us=100_000),
)


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
def text_entries(entry, repository):
    """Tokenizer, post-processor, ensemble."""
    return [produced.artifact for produced in assemble_text_entries(entry, TextSpec(), repository)]


@pytest.fixture(scope="module")
def server(entry, text_entries, repository):
    with run_triton(str(repository), entries=[entry.name, text_entries[-1].name]) as running:
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


def test_a_release_in_a_folder_is_whole_after_it_was_verified(text_entries, repository, tmp_path):
    store = open_store(str(tmp_path / "releases"))
    release = publish_release(repository, store).release
    paths = sorted(Path(release.uri).rglob("*"))
    check_release(store, release)
    check_report(verify_entries(load_repository(Path(release.uri)), release.uri))
    check_release(store, release)
    assert sorted(Path(release.uri).rglob("*")) == paths


def change_reference(entry, change):
    path = entry.path("reference.npz")
    arrays = dict(np.load(path))
    change(arrays)
    np.savez(path, **arrays)


def edit_config(entry, edit):
    path = entry.path("config.pbtxt")
    config = parse_config(path.read_text(), where="a test")
    edit(config)
    path.write_text(render_config(config))


def leave_out_what_a_server_completes(config):
    for field in ("instance_group", "dynamic_batching", "platform"):
        config.ClearField(field)


def add_version(folder):
    shutil.copytree(folder / "1", folder / "2")


def change_queue(config):
    config.dynamic_batching.max_queue_delay_microseconds = 5
    config.dynamic_batching.preferred_batch_size.append(2)


def change_parameters(config):
    config.parameters["intra_op_thread_count"].string_value = "2"
    config.parameters["execution_mode"].string_value = "1"
    config.response_cache.enable = True


def change_instances(config):
    config.instance_group[0].count = 2
    config.instance_group.add(count=1, kind=config.instance_group[0].kind)


def change_policy(config):
    config.version_policy.latest.num_versions = 2
    config.max_batch_size = 16
    config.ClearField("dynamic_batching")
    config.input[0].dims[0] = 8


# What was done to the copy that a server runs, and what must be said of it; nothing where it is not another entry.
EDITS = {
    "as-it-was": (None, ""),
    "queue": (
        change_queue,
        "dynamic_batching.preferred_batch_size is [2], and the repository does not state it; "
        "dynamic_batching.max_queue_delay_microseconds is 5, and the repository has 100000",
    ),
    "parameters": (
        change_parameters,
        """parameters['execution_mode'] is {string_value: "1"}, and the repository does not state it; """
        "parameters['intra_op_thread_count'].string_value is '2', and the repository has '1'; "
        "response_cache.enable is True, and the repository does not state it",
    ),
    "instances": (
        change_instances,
        "the number of instance_group is 2, and the repository has 1; "
        "instance_group[0].count is 2, and the repository has 1",
    ),
    "policy": (
        change_policy,
        "version_policy.latest.num_versions is 2, and the repository does not state it; "
        "max_batch_size is 16, and the repository has 4; input[0].dims is [8], and the repository has [-1]; and 1 more",
    ),
    "batcher": (
        lambda config: config.ClearField("dynamic_batching"),
        "dynamic_batching is not set, and the repository has {max_queue_delay_microseconds: 100000}",
    ),
    "version": (add_version, "the version is 2, and the repository has 1"),
}


@pytest.fixture(scope="module")
def edited(entry, repository, tmp_path_factory):
    """Entries as a repository has them, and a server that runs edited copies of them."""
    folder = tmp_path_factory.mktemp("edited")
    entries = {}
    for case, (edit, _) in EDITS.items():
        for place in ("ours", "served"):
            shutil.copytree(entry.folder, folder / place / case)
            copied = entry.model_copy(update={"name": case, "folder": folder / place / case})
            edit_config(copied, lambda config, case=case: setattr(config, "name", case))
            if place == "ours":
                entries[case] = copied
            elif edit is add_version:
                edit(copied.folder)
            elif edit:
                edit_config(copied, edit)
    with run_triton(str(folder / "served"), arguments=["--cache-config=local,size=1048576"]) as running:
        running.check_loaded()
        yield entries, VerifySpec(server_url=running.grpc_url, timeout_s=20)


@pytest.mark.parametrize("case", [case for case, (_, message) in EDITS.items() if message])
def test_a_running_server_with_another_configuration_is_refused(edited, case):
    entries, spec = edited
    with pytest.raises(ServerError) as caught:
        verify_entries([entries["as-it-was"], entries[case]], "r", spec)
    assert caught.value.message.endswith(f"serves another {case}: {EDITS[case][1]}")
    assert caught.value.hint.startswith("start it on r, ")


def test_a_running_server_is_compared_with_what_the_file_states(edited):
    """What the server completes by itself is no difference."""
    entries, spec = edited
    check_report(verify_entries([entries["as-it-was"]], "r", spec))
    minimal = entries["batcher"]
    edit_config(minimal, leave_out_what_a_server_completes)
    check_report(verify_entries([minimal], "r", spec))


def tune(config):
    """Set what the real ONNX Runtime backend reads besides the number of threads."""
    config.optimization.graph.level = 1
    for name, value in {"inter_op_thread_count": "2", "execution_mode": "1", "enable_mem_arena": "0"}.items():
        config.parameters[name].string_value = value


def assemble_everything(model, folder):
    """Entries of every kind: served with all that a server does for them, or for what this machine does not have."""
    serving = ServingSpec(
        **SERVING.model_dump(include={"threads", "max_batch_size", "length_buckets"}),
        tier=1,
        response_cache=True,
        warmup=True,
    )
    engine = make_engine(folder / "engine", profile="1x2,4x8,8x16")
    openvino = ServingSpec(execution_accelerators=(AcceleratorSpec(name="openvino"),))
    repository = folder / "repo"
    entries = {
        "served": assemble_entry(model, [], serving, repository, name="served").artifact,
        "tuned": assemble_entry(model, [], SERVING, repository, name="tuned").artifact,
        "plan": assemble_entry(model, [engine], ServingSpec(), repository, name="plan").artifact,
        "gpu": assemble_entry(model, [], ServingSpec(instance_kind="gpu"), repository, name="gpu").artifact,
        "openvino": assemble_entry(model, [], openvino, repository, name="openvino").artifact,
    }
    edit_config(entries["tuned"], tune)
    for name in ("served", "plan"):
        entries |= {
            part.artifact.name: part.artifact for part in assemble_text_entries(entries[name], TextSpec(), repository)
        }
    return entries


def test_a_repository_is_verified_on_a_server_of_our_own(model, tmp_path):
    entries = assemble_everything(model, tmp_path)
    phases = []
    report = verify_entries(
        list(entries.values()),
        str(tmp_path / "repo"),
        progress=lambda phase, fraction=None: phases.append(phase),
    )
    check_report(report)
    assert [checked.name for checked in report.entries] == list(entries)
    assert any(argument.startswith("--cache-config=local") for argument in report.server_arguments)
    assert "--rate-limit=execution_count" in report.server_arguments
    reports = {report.name: report for report in report.entries}
    for name in ("served", "tuned"):
        served = reports[name]
        assert (served.status, served.compared_with, served.rows, served.text_checked) == ("loaded", "pytorch", 5, True)
        assert served.min_cosine == pytest.approx(1.0)
        assert served.max_abs_error == pytest.approx(0.0, abs=1e-6)
        assert served.full_batch == 4
        assert {2, 4, 8, 16} <= set(served.widths)
        assert served.p50_ms is not None
        assert served.p50_ms > 0
    ensemble = reports["served-text"]
    assert (ensemble.status, ensemble.compared_with, ensemble.rows) == ("loaded", "pytorch", 5)
    assert ensemble.min_cosine == pytest.approx(1.0)
    assert ensemble.full_batch == 4
    assert ensemble.batching.model == "served"
    for part in ("served-tokenizer", "served-postprocessor"):
        assert (reports[part].status, reports[part].detail) == (
            "loaded",
            "5 texts answered correctly through served-text",
        )
    unchecked = {name for name, checked in reports.items() if checked.status == "config-accepted-only"}
    assert unchecked == {"plan", "plan-text", "gpu", "openvino"}
    assert all(reports[name].detail.endswith("nothing more was checked") for name in unchecked - {"plan-text"})
    assert reports["plan-text"].detail == (
        "plan could not be loaded here; with PyTorch's answers in its place the other steps answered 5 texts correctly"
    )
    assert reports["plan-tokenizer"].detail.endswith("through plan-text, without the model")
    assert report.server_version
    assert "verifying served-text" in phases
    json.loads(report.model_dump_json())


def test_requests_in_flight_form_batches_that_the_statistics_show(entry, spec):
    (checked,) = verify_entries([entry], "r", spec).entries
    batching = checked.batching
    assert batching is not None
    assert batching.batch_sizes is not None
    assert batching.queue_us is not None
    assert batching.compute_infer_us is not None
    # With 100 ms to wait in the queue some of them meet, if not all at the first attempt.
    assert max(batching.batch_sizes) > 1
    assert batching.requests >= batching.in_flight
    assert sum(size * count for size, count in batching.batch_sizes.items()) == batching.rows
    assert sum(batching.batch_sizes.values()) == batching.executions
    assert checked.mean_batch_size == batching.rows / batching.executions > 1
    assert batching.queue_us > 0
    assert batching.compute_infer_us > 0


def test_an_ensemble_that_answers_otherwise_than_pytorch_fails(entry, text_entries, spec, tmp_path):
    wrong = copy_of(entry, tmp_path)
    change_reference(wrong, lambda arrays: arrays["output/last_hidden_state"].__imul__(-1))
    *parts, ensemble = verify_entries([wrong, *text_entries], "r", spec).entries[1:]
    assert ensemble.status == "failed"
    assert "the first: the embedding's cosine is -1.000000, expected 0.9999 or more" in ensemble.detail
    assert [part.detail for part in parts] == [f"loaded; for its answers see {ensemble.name}"] * 2


def test_an_ensemble_needs_the_reference_of_its_model(text_entries, spec):
    (checked,) = verify_entries(text_entries[-1:], "r", spec).entries
    assert checked.status == "failed"
    assert checked.detail.startswith("tiny-onnx-fp32, whose reference it is compared with, is not among the entries")


def test_parts_without_an_ensemble_are_said_to_be_loaded_only(text_entries, spec):
    (checked,) = verify_entries(text_entries[:1], "r", spec).entries
    assert checked.detail == "loaded, and nothing more was checked: no ensemble of this repository calls it"


def test_that_no_batch_formed_is_a_note_and_no_failure(entry, spec, tmp_path, monkeypatch, caplog):
    from prep_triton.triton.verify import model

    message = ["no batch formed: 64 requests"]
    monkeypatch.setattr(model, "notes_of_batching", lambda config, report: message)
    with caplog.at_level(logging.WARNING):
        report = verify_entries([entry], "r", spec)
    check_report(report)
    assert report.entries[0].notes == tuple(message)
    assert f"{entry.name}: {message[0]}" in caplog.messages


def test_a_running_server_is_verified_too(entry, text_entries, spec, repository):
    report = verify_entries([entry, *text_entries], str(repository), spec)
    check_report(report)
    assert "the running server at 127.0.0.1" in report.server_flavour


def test_a_wrong_reference_fails_with_what_was_seen(entry, spec, tmp_path):
    wrong = copy_of(entry, tmp_path)
    change_reference(wrong, lambda arrays: arrays["output/last_hidden_state"].__imul__(-1))
    report = verify_entries([entry, wrong], "r", spec)
    assert [checked.status for checked in report.entries] == ["loaded", "failed"]
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
    (checked,) = verify_entries([spoiled], "r", spec).entries
    assert (checked.status, checked.mean_cosine) == ("failed", None)
    assert "NaN" in checked.detail


def test_another_tokenizer_fails(entry, spec, tmp_path):
    wrong = copy_of(entry, tmp_path)
    path = wrong.path("tokenizer.json")
    path.write_text(path.read_text().replace('"w4"', '"w4x"'))
    (checked,) = verify_entries([wrong], "r", spec).entries
    assert checked.status == "failed"
    assert "gives other input_ids than the reference" in checked.detail


def test_without_text_the_references_ids_are_sent(entry, spec, tmp_path):
    silent = copy_of(entry, tmp_path)
    change_reference(silent, lambda arrays: arrays.update(text=np.array([""] * 5)))
    report = verify_entries([silent], "r", spec)
    check_report(report)
    assert not report.entries[0].text_checked


def test_a_profile_limits_what_is_sent(entry, spec, tmp_path):
    (checked,) = verify_entries(
        [copy_of(entry, tmp_path, spec={"min_sequence": 4, "max_sequence": 5})], "r", spec
    ).entries
    assert (checked.status, checked.rows) == ("loaded", 4)
    (none,) = verify_entries([copy_of(entry, tmp_path, spec={"max_sequence": 0})], "r", spec).entries
    assert (none.status, none.detail) == ("failed", "no row of the reference fits its profile")


@pytest.mark.parametrize("name", ["reference.npz", "config.pbtxt"])
def test_a_missing_file_fails_that_entry_alone(entry, spec, tmp_path, name):
    broken = copy_of(entry, tmp_path)
    broken.path(name).unlink()
    report = verify_entries([broken, entry], "r", spec)
    assert [checked.status for checked in report.entries] == ["failed", "loaded"]
    assert name in report.entries[0].detail


def test_a_request_that_the_server_refuses_fails_the_entry(entry, spec, tmp_path):
    wrong = copy_of(entry, tmp_path)
    change_reference(wrong, lambda arrays: arrays["input/input_ids"].__iadd__(1000))
    wrong.path("tokenizer.json").unlink()
    (checked,) = verify_entries([wrong], "r", spec).entries
    assert checked.status == "failed"
    assert "did not answer a request" in checked.detail


def test_an_entry_that_the_running_server_lacks_is_named(entry, spec):
    with pytest.raises(ServerError, match=r"has not loaded absent") as caught:
        verify_entries([entry.model_copy(update={"name": "absent"})], "gs://b/r", spec)
    assert "gs://b/r" in caught.value.hint


def test_verification_tools_name_the_server(monkeypatch):
    assert "tritonclient" in verification_tools()
    monkeypatch.setenv("PREP_TRITONSERVER", "/bin/true")
    about = Path("/bin/true").stat()
    assert verification_tools()["tritonserver"] == f"/bin/true {about.st_size} {about.st_mtime_ns}"
