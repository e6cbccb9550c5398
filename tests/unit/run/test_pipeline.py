"""The order of the stages, and what is reported of it; the stages that take long are played."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from prep_triton.errors import (
    RepositoryError,
    ServerError,
    SpecError,
    StoreAccessError,
    StoreError,
    VerifyError,
    WorkspaceError,
)
from prep_triton.publish.catalog import list_releases, load_pointer, resolve
from prep_triton.publish.check import check_release
from prep_triton.publish.release import publish_release
from prep_triton.publish.reports import find_unfit, load_report
from prep_triton.publish.uri import open_store
from prep_triton.run.plan_gpus import select_plans
from prep_triton.run.publication import Publication, publish_repository
from prep_triton.run.report import RunReport, StageRow
from prep_triton.run.verification import verify_repository, verify_target
from prep_triton.spec import VariantSpec, parse_run_spec
from prep_triton.triton.entries.load import load_repository
from prep_triton.triton.lint import lint_repository

from tests.fakes.machines import make_machine
from tests.fakes.played_stages import ONNX, RTX, Stages, run, run_spec


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stages:
    monkeypatch.chdir(tmp_path)
    return Stages(monkeypatch)


def shown(report: RunReport) -> list[tuple[str, str, str]]:
    return [(row.stage, row.artifact, row.state) for row in report.rows]


def test_rtx_engines_are_made_and_left_out_of_the_repository(stages: Stages):
    report = run(run_spec(RTX, ONNX))
    assert shown(report) == [
        ("export", "tiny", "made"),
        ("precision", "tiny-fp16", "made"),
        ("engine", "tiny-fp16-rtx-sm75", "made"),
        ("assemble", "tiny-fp16-rtx-sm75", "skipped"),
        ("assemble", "tiny-onnx-fp32", "made"),
        ("verify", "tiny-onnx-fp32", "made"),
    ]
    assert "no Triton backend loads them" in report.rows[3].note
    assert report.rows[2].figures["gemm_flops_share"] == {"fp16": 1.0}
    assert [path.name for path in Path("build/model_repository").iterdir() if path.is_dir()] == ["tiny-onnx-fp32"]


def test_a_second_run_makes_nothing_and_remembers_the_verification(stages: Stages):
    first = run(run_spec(RTX, ONNX))
    made, verified = list(stages.made), list(stages.verified)
    second = run(run_spec(RTX, ONNX))
    assert (stages.made, stages.verified) == (made, verified)
    assert second.is_unchanged
    assert not first.is_unchanged
    assert second.rows[-1].figures == first.rows[-1].figures


def test_another_way_of_serving_is_verified_again(stages: Stages):
    run(run_spec(ONNX))
    report = run(run_spec("{runtime: onnxruntime, serving: {max_batch_size: 2}}"))
    assert [row[2] for row in shown(report)] == ["unchanged", "made", "made"]
    assert len(stages.verified) == 2


def test_a_failed_verification_is_not_remembered(stages: Stages):
    stages.failure = "the smallest cosine is 0.5"
    for _ in range(2):
        with pytest.raises(VerifyError, match=r"tiny-onnx-fp32: the smallest cosine is 0\.5"):
            run(run_spec(ONNX))
    stages.failure = ""
    assert run(run_spec(ONNX)).rows[-1].state == "made"


def test_a_running_server_is_asked_every_time(stages: Stages):
    for _ in range(2):
        report = run(run_spec(ONNX, more="verify: {server_url: 'host:8001'}"))
        assert report.rows[-1].state == "made"
    assert len(stages.verified) == 2


@pytest.mark.parametrize("more", [{"verify": False}, {}])
def test_verification_can_be_left_out(stages: Stages, more: dict):
    report = run(run_spec(ONNX, more="" if more else "verify: {enabled: false}"), **more)
    assert [row.stage for row in report.rows] == ["export", "assemble"]


def test_a_release_is_published_once_and_is_what_is_verified(stages: Stages):
    spec = run_spec(ONNX, more="publish: ./elsewhere")
    first = run(spec, publish_uri="./releases")
    second = run(spec, publish_uri="./releases")
    assert first.release is not None
    assert first.release.startswith(str(Path("releases").absolute()))
    assert second.release == first.release
    assert second.is_unchanged
    assert [target for target, _ in stages.verified] == [first.release]
    assert not Path("elsewhere").exists()


def test_only_the_entries_of_the_config_are_published(stages: Stages):
    run(run_spec(ONNX))
    report = run(run_spec("{runtime: onnxruntime, name: other}"), publish_uri="./releases")
    release = resolve(open_store("./releases"))
    assert report.release == release.uri
    assert [entry.name for entry in release.entries] == ["other"]


def test_a_repository_is_relative_to_the_current_folder(stages: Stages):
    run(run_spec(ONNX, more="repository: ./served"))
    assert Path("served/tiny-onnx-fp32/config.pbtxt").is_file()


def test_a_dry_run_plans_everything_and_writes_nothing(stages: Stages):
    report = run(run_spec(RTX, ONNX), dry_run=True, publish_uri="./releases")
    uri = open_store("./releases").uri
    assert shown(report) == [
        ("export", "tiny", "planned"),
        ("variant", "./tiny tensorrt fp16 for t4", "planned"),
        ("variant", "./tiny onnxruntime fp32", "planned"),
        ("publish", uri, "planned"),
        ("verify", uri, "planned"),
        ("promote", uri, "planned"),
    ]
    assert report.dry_run
    assert not list(Path().iterdir())


def test_a_dry_run_tells_what_is_there_already(stages: Stages):
    run(run_spec(ONNX), verify=False)
    report = run(run_spec(RTX, ONNX), dry_run=True)
    assert shown(report) == [
        ("export", "tiny", "unchanged"),
        ("precision", "tiny-fp16", "planned"),
        ("assemble", "tiny (onnxruntime)", "planned"),
        ("verify", "the repository", "planned"),
    ]
    assert report.rows[1].note == "and what follows from it for tensorrt fp16 for t4"


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_model_whose_files_are_not_there_fails_at_once_and_alone(stages: Stages, dry_run: bool):
    gate = "gate: {eval_data: nowhere.jsonl, max_accuracy_drop: 1}"
    spec = parse_run_spec(
        f"models: [{{model: ./tiny, variants: [{ONNX}]}}, "
        f"{{model: ./tiny, name: other, variants: [{{runtime: onnxruntime, precision: fp16, {gate}}}]}}]",
        where="a test",
    )
    report = run(spec, dry_run=dry_run)
    assert (report.rows[0].artifact, report.rows[0].state) == ("other", "failed")
    assert report.rows[0].note == "there is no evaluation file nowhere.jsonl"
    assert report.rows[0].hint
    assert report.outcome == "partial"
    assert [row.state for row in report.rows[1:] if row.artifact == "other"] == []
    stages.made.clear()
    with pytest.raises(SpecError, match=r"there is no evaluation file nowhere\.jsonl"):
        run(spec.model_copy(update={"models": spec.models[1:]}), dry_run=dry_run)
    assert not stages.made


@pytest.mark.parametrize("dry_run", [True, False])
def test_what_the_machine_and_the_store_refuse_is_refused_of_a_dry_run_too(
    stages: Stages, dry_run: bool, monkeypatch: pytest.MonkeyPatch
):
    Path("taken").touch()
    with pytest.raises(WorkspaceError, match="taken is a file"):
        run(run_spec(ONNX, more="repository: taken/models"), dry_run=dry_run)
    monkeypatch.setenv("PREP_TRITONSERVER", "/nowhere/tritonserver")
    with pytest.raises(ServerError, match="which is not a program"):
        run(run_spec(ONNX), dry_run=dry_run)
    assert not stages.made


def test_a_dry_run_without_credentials_says_that_a_run_would_be_refused(
    stages: Stages, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def refuse(_store: object) -> None:
        raise StoreAccessError("there are no usable credentials", hint="log in")

    monkeypatch.setattr("prep_triton.publish.folder.FolderStore.check_access", refuse)
    with pytest.raises(StoreAccessError):
        run(run_spec(ONNX), publish_uri="./releases")
    assert not stages.made
    report = run(run_spec(ONNX), publish_uri="./releases", dry_run=True)
    assert report.dry_run
    assert "a run would be refused here: there are no usable credentials; log in" in caplog.text


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_wrong_place_to_publish_is_refused_before_the_first_stage(stages: Stages, dry_run: bool):
    with pytest.raises(SpecError, match="unknown scheme 's3'"):
        run(run_spec(ONNX), dry_run=dry_run, publish_uri="s3://bucket")
    assert not stages.made


def test_each_step_is_told_to_the_listener(stages: Stages):
    class Ears:
        def __init__(self) -> None:
            self.begun: list[str] = []
            self.ended: list[StageRow] = []

        def stage(self, label: str):
            from contextlib import nullcontext

            from prep_triton.progress import ignore_progress

            self.begun.append(label)
            return nullcontext(ignore_progress)

        def finished(self, row: StageRow) -> None:
            self.ended.append(row)

    ears = Ears()
    report = run(run_spec(ONNX), listener=ears)
    assert ears.begun == ["export ./tiny", "assemble tiny onnxruntime fp32", "verify build/model_repository"]
    assert tuple(ears.ended) == report.rows


@pytest.mark.parametrize("target", ["releases", "./releases/releases", "file://{}/releases", "{}/releases"])
def test_a_folder_of_releases_means_its_newest_release(stages: Stages, make_repository, target: str):
    repository = make_repository("bert")
    release = publish_release(repository, open_store("./releases")).uri
    verify_target(
        target.format(Path.cwd()), parse_run_spec("models: [{model: a, variants: [" + ONNX + "]}]", where="t").verify
    )
    assert stages.verified == [(release, ["bert"])]


def test_a_release_or_a_repository_is_verified_where_it_lies(stages: Stages, make_repository):
    repository = make_repository("bert", "other")
    release = publish_release(repository, open_store("./releases")).uri
    spec = run_spec(ONNX).verify
    verify_target(release, spec)
    verify_repository(repository, spec, names=["other"])
    verify_target(f"file://{repository}", spec)
    assert stages.verified == [
        (release, ["bert", "other"]),
        (str(repository), ["other"]),
        (str(repository), ["bert", "other"]),
    ]


def current_release(uri: str = "./releases") -> str:
    pointer = load_pointer(open_store(uri))
    assert pointer is not None
    return pointer.release


def uri_of(report: RunReport) -> str:
    assert report.release is not None
    return report.release


def test_a_verified_release_becomes_current_and_a_failed_one_does_not(stages: Stages):
    first = run(run_spec(ONNX), publish_uri="./releases")
    assert first.release.endswith(current_release())
    stages.failure = "the smallest cosine is 0.5"
    with pytest.raises(VerifyError):
        run(run_spec(ONNX, "{runtime: onnxruntime, name: other}"), publish_uri="./releases")
    assert first.release.endswith(current_release())
    assert len(list_releases(open_store("./releases"))) == 2  # the release stays
    stages.failure = ""
    second = run(run_spec(ONNX, "{runtime: onnxruntime, name: other}"), publish_uri="./releases")
    assert second.release.endswith(current_release())


def test_a_release_that_is_worse_stays_and_does_not_become_current(stages: Stages):
    stages.cosine = 0.9999
    first = run(run_spec(ONNX), publish_uri="./releases")
    stages.cosine = 0.9
    worse = run(run_spec("{runtime: onnxruntime, serving: {max_batch_size: 2}}"), publish_uri="./releases")
    assert worse.outcome == "regressed"
    assert worse.regressions == (
        "tiny-onnx-fp32: cosine went from 0.9999 to 0.9, worse by 0.0999, expected at most 0.001",
    )
    assert first.release.endswith(current_release())
    report = load_report(open_store("./releases"), worse.release.rpartition("/")[2])
    assert report["regressions"][0]["figure"] == "cosine"
    assert find_unfit(open_store("./releases")) == {worse.release.rpartition("/")[2]}
    again = run(run_spec("{runtime: onnxruntime, serving: {max_batch_size: 2}}"), publish_uri="./releases")
    assert again.outcome == "regressed"


def test_leaving_the_verification_out_does_not_clear_a_release_that_is_worse_or_failed(stages: Stages):
    stages.cosine = 0.9999
    first = run(run_spec(ONNX), publish_uri="./releases")
    stages.cosine = 0.9
    other = "{runtime: onnxruntime, serving: {max_batch_size: 2}}"
    worse = run(run_spec(other), publish_uri="./releases")
    before = load_report(open_store("./releases"), worse.release.rpartition("/")[2])
    again = run(run_spec(other), publish_uri="./releases", verify=False)
    assert again.outcome == "regressed"
    assert load_report(open_store("./releases"), worse.release.rpartition("/")[2]) == before
    stages.failure = "the smallest cosine is 0.5"
    third = run_spec("{runtime: onnxruntime, serving: {max_batch_size: 4}}")
    with pytest.raises(VerifyError):
        run(third, publish_uri="./releases")
    message = run(third, publish_uri="./releases", verify=False).regressions
    assert "it failed on a real Triton before" in message[0]
    assert first.release.endswith(current_release())


def test_a_release_that_failed_is_marked_and_is_not_the_one_to_load(stages: Stages):
    stages.failure = "the smallest cosine is 0.5"
    with pytest.raises(VerifyError):
        run(run_spec(ONNX), publish_uri="./releases")
    store = open_store("./releases")
    (failed,) = list_releases(store)
    assert find_unfit(store) == {failed.id}
    assert "the smallest cosine is 0.5" in load_report(store, failed.id)["failed"]
    with pytest.raises(StoreError, match="there is no release under"):
        resolve(store)
    stages.failure = ""
    assert run(run_spec(ONNX), publish_uri="./releases").outcome == "done"
    assert not find_unfit(store)


def test_a_model_that_cannot_be_assembled_does_not_stop_the_others(stages: Stages, monkeypatch: pytest.MonkeyPatch):
    from prep_triton.triton.entries import write as repository

    assemble = repository.assemble_entry

    def refuse(model, *given, **named):
        if model.name == "other":
            raise RepositoryError("no disk", hint="free some")
        return assemble(model, *given, **named)

    monkeypatch.setattr(repository, "assemble_entry", refuse)
    two = parse_run_spec(
        "models: [{model: ./other, name: other, variants: [{runtime: onnxruntime}]}, "
        "{model: ./tiny, variants: [{runtime: onnxruntime}]}]",
        where="a test",
    )
    report = run(two, publish_uri="./releases")
    assert report.outcome == "partial"
    assert [entry.name for entry in resolve(open_store("./releases")).entries] == ["tiny-onnx-fp32"]


def test_a_current_release_that_is_gone_or_damaged_is_compared_with_nothing_and_said_so(stages: Stages):
    damages: tuple[Callable[[Path], object], ...] = (
        shutil.rmtree,
        lambda folder: (folder / "release.json").write_text("{"),
    )
    for number, damage in enumerate(damages):
        first = run(run_spec(ONNX), publish_uri=f"./releases{number}")
        damage(Path(uri_of(first)))
        spec = run_spec(f"{{runtime: onnxruntime, serving: {{max_batch_size: {number + 2}}}}}")
        report = run(spec, publish_uri=f"./releases{number}")
        assert "is gone or damaged: compared with nothing" in report.rows[-1].note
        assert current_release(f"./releases{number}") in uri_of(report)


def test_a_dropped_entry_is_a_regression_and_thresholds_can_be_set(stages: Stages):
    run(run_spec(ONNX, "{runtime: onnxruntime, name: other}"), publish_uri="./releases")
    dropped = run(run_spec(ONNX), publish_uri="./releases")
    assert dropped.regressions == ("other is in the current release and not in this one",)
    stages.cosine = 0.5
    more = "regression: {max_cosine_drop: 0.9}"
    spec = run_spec(ONNX, "{runtime: onnxruntime, name: other, serving: {max_batch_size: 2}}", more=more)
    assert run(spec, publish_uri="./releases").outcome == "done"


def test_a_model_that_fails_leaves_its_entries_of_the_current_release_as_they_are(stages: Stages):
    two = parse_run_spec(
        "models: [{model: ./tiny, variants: [{runtime: onnxruntime}]}, "
        "{model: ./other, name: other, variants: [{runtime: onnxruntime, name: other}]}]",
        where="a test",
    )
    stages.cosine = 0.9999
    first = run(two, publish_uri="./releases")
    stages.broken = "other"
    shutil.rmtree("build/model_repository")  # as on the fresh machine of a CI job
    new = VariantSpec(runtime="onnxruntime", name="new")
    more = two.models[0].model_copy(update={"variants": (*two.models[0].variants, new)})
    report = run(two.model_copy(update={"models": (more, two.models[1])}), publish_uri="./releases")
    assert report.outcome == "partial"
    assert [row.note for row in report.rows if row.stage == "publish"] == ["kept from the current release: other"]
    releases = {release.uri: release for release in list_releases(open_store("./releases"))}
    assert [entry.name for entry in releases[uri_of(report)].entries] == ["new", "other", "tiny-onnx-fp32"]
    assert report.release.endswith(current_release())
    kept = {name: file for name, file in releases[uri_of(report)].files.items() if name.startswith("other/")}
    assert kept == {name: file for name, file in releases[uri_of(first)].files.items() if name.startswith("other/")}
    check_release(open_store("./releases"), releases[uri_of(report)])


def test_a_repository_that_another_run_changed_is_not_published(stages: Stages):
    run(run_spec(ONNX))
    (entry,) = load_repository(Path("build/model_repository"))
    store = open_store("./releases")
    changed = Publication(Path("build/model_repository"), store, [entry.model_copy(update={"key": "another"})])
    with pytest.raises(RepositoryError, match="another run has changed tiny-onnx-fp32") as refused:
        publish_repository(changed)
    assert "repository:" in refused.value.hint
    assert list_releases(store) == []
    assert publish_repository(Publication(Path("build/model_repository"), store, [entry])).created


def test_a_run_for_one_gpu_builds_its_engines_and_assembles_nothing(stages: Stages, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("prep_triton.run.resolve.detect_machine", lambda _: make_machine("t4"))
    plans = RTX.replace("tensorrt-rtx", "tensorrt").replace("gpus: [t4]", "gpus: [t4, l4]")
    part = select_plans(run_spec(plans, ONNX, more="publish: ./releases"), "t4")
    report = run(part, only_engines=True)
    assert [row[0] for row in shown(report)] == ["export", "precision", "engine"]
    assert (report.repository, report.release, report.outcome) == (None, None, "done")
    assert not Path("build/model_repository").exists()
    assert not Path("releases").exists()


TWO_MODELS = (
    "models: [{model: ./tiny, variants: [{runtime: onnxruntime}]}, {model: ./tiny, name: other, variants: [%s]}]"
)


def two_models(variant: str = "{runtime: onnxruntime}"):
    return parse_run_spec(TWO_MODELS % variant, where="a test")


def fail_on_triton(stages: Stages, name: str) -> None:
    stages.failing, stages.failure = name, "the smallest cosine is 0.5"


def test_a_model_that_fails_on_triton_is_left_out_and_keeps_what_the_current_release_has(stages: Stages):
    first = run(two_models(), publish_uri="./releases")
    fail_on_triton(stages, "other-onnx-fp32")
    changed = parse_run_spec(
        "models: [{model: ./tiny, variants: [{runtime: onnxruntime, serving: {max_batch_size: 4}}]}, "
        "{model: ./tiny, name: other, variants: [{runtime: onnxruntime, serving: {max_batch_size: 8}}]}]",
        where="a test",
    )
    report = run(changed, publish_uri="./releases")
    assert report.outcome == "partial"
    (failed,) = [row for row in report.rows if row.stage == "model"]
    assert (failed.artifact, failed.state) == ("other", "failed")
    assert failed.note == "failed on a real Triton: other-onnx-fp32: the smallest cosine is 0.5"
    store = open_store("./releases")
    assert uri_of(report).endswith(current_release())
    batch_sizes = {entry.name: entry.max_batch_size for entry in resolve(store).entries}
    before = {entry.name: entry.max_batch_size for entry in resolve(store, uri_of(first).rpartition("/")[2]).entries}
    assert batch_sizes == {"tiny-onnx-fp32": 4, "other-onnx-fp32": before["other-onnx-fp32"]}
    check_release(store, resolve(store))
    (refused,) = find_unfit(store)
    assert "other-onnx-fp32: the smallest cosine is 0.5" in load_report(store, refused)["failed"]


def test_the_next_nights_of_a_model_that_still_fails_make_no_more_releases(stages: Stages):
    fail_on_triton(stages, "other-onnx-fp32")
    first = run(two_models(), publish_uri="./releases")
    store = open_store("./releases")
    assert (first.outcome, len(list_releases(store))) == ("partial", 2)
    assert [entry.name for entry in resolve(store).entries] == ["tiny-onnx-fp32"]
    second = run(two_models(), publish_uri="./releases")
    assert (second.outcome, len(list_releases(store))) == ("partial", 2)
    assert second.release == first.release
    stages.failure = ""
    third = run(two_models(), publish_uri="./releases")
    assert third.outcome == "done"
    assert uri_of(third).endswith(current_release())
    assert not find_unfit(store)


def test_a_model_that_fails_on_triton_without_a_store_fails_alone(stages: Stages):
    fail_on_triton(stages, "other-onnx-fp32")
    report = run(two_models())
    assert report.outcome == "partial"
    assert [row.artifact for row in report.rows if row.state == "failed" and row.stage == "model"] == ["other"]


def test_where_every_model_fails_on_triton_the_run_fails(stages: Stages):
    stages.failure = "the smallest cosine is 0.5"
    with pytest.raises(VerifyError, match="2 of 2 entries failed"):
        run(two_models(), publish_uri="./releases")


def test_an_entry_that_left_the_file_is_named_and_lint_warns_of_it(stages: Stages, caplog: pytest.LogCaptureFixture):
    run(run_spec(ONNX, "{runtime: onnxruntime, name: other}"))
    assert not caplog.records
    assert lint_codes() == set()
    run(run_spec(ONNX))
    assert "also holds other, which this file does not make" in caplog.text
    assert "rm -r build/model_repository/other" in caplog.text
    assert lint_codes() == {"entry-unmade"}
    run(run_spec(ONNX, "{runtime: onnxruntime, name: other}"))
    assert lint_codes() == set()


def lint_codes() -> set[str]:
    findings = lint_repository(Path("build/model_repository")).findings
    return {finding.code for finding in findings if finding.code.startswith("entry-")}


def test_random_weights_are_published_only_on_request(stages: Stages):
    file = "models: [{model: ./tiny, weights: random, variants: [{runtime: onnxruntime}]}]"
    spec = parse_run_spec(file, where="a test")
    with pytest.raises(
        SpecError, match=r"\./tiny: random weights are for benchmarks, and this run publishes"
    ) as refused:
        run(spec, publish_uri="./releases")
    assert "allow_random: true" in refused.value.hint
    assert not stages.made
    assert run(spec).outcome == "done"
    assert run(parse_run_spec(f"allow_random: true\n{file}", where="a test"), publish_uri="./releases").release
