"""What `prep tune` writes: a file that assemble and pipeline files take, and its evidence as comments."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from prep_triton.bench.records import BenchedEntry, Slo, Verdict
from prep_triton.bench.slo import judge_slo
from prep_triton.bench.tuning_records import Choice, Layout, TuneConditions, TuneReport, Winner
from prep_triton.errors import RepositoryMissingError, SpecError
from prep_triton.run.candidate import (
    choice_from_entry,
    find_tuned_entry,
    largest_batch,
    serving_keys,
    write_candidate,
)
from prep_triton.run.serving_file import check_serving_file, render_serving_file, write_serving_file
from prep_triton.spec import InstanceGroupSpec, ServingSpec, TextSpec, load_run_spec, load_serving_file
from prep_triton.triton.config import decode_config, parse_config
from prep_triton.triton.entries.text import assemble_text_entries

from scripts.benchmarks.serving_configs import assemble_entry
from scripts.benchmarks.small_artifacts import make_model

MODEL, TEXT = "tiny-onnx-fp32", "tiny-onnx-fp32-text"
SERVING = ServingSpec(tier=2, threads=3, instance_count=2, warmup=True, max_batch_size=8, graph_level=1)
CHOICE = Choice(layout=Layout(instances=4, threads=1), max_batch=16, delay_us=1000, preferred=(4, 8), padding="longest")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuned")
    entry = assemble_entry(make_model(folder / "model"), [], SERVING, folder / "repo")
    assemble_text_entries(entry.artifact, TextSpec(), folder / "repo")
    return folder / "repo"


def make_report(serving: dict, verdict: Verdict | None = None) -> TuneReport:
    slo = Slo(percent=99, bound_ms=50)
    best = Winner(
        choice=CHOICE, rate=123.4, is_shown=verdict is None, verdict=verdict or judge_slo(slo, 1307, 5),
        mean_ms=9.5, p99_ms=41.25,
    )  # fmt: skip
    workload = BenchedEntry(
        name=TEXT, key="k", config_digest="c", input_kind="text", input_digest="d",
        distinct_requests=64, shortest=1, mean_length=2.0, longest=3,
    )  # fmt: skip
    conditions = TuneConditions(
        cpu="A processor\n# of two lines", cpu_flags=(), cores=2, load_before=0.5, load_after=2.0, steal_share=None,
        triton_version="2.51.0", triton_flavour="wheel", prep_version="1", seed=0, workload=workload,
        started_at=datetime(2026, 11, 28, 12, 30, tzinfo=UTC), command="prep tune 'x\n# y' --slo p99=50ms",
    )  # fmt: skip
    return TuneReport(
        entry=TEXT, objective="throughput", slo=slo, max_measurements=20, simulated=10, seconds=240,
        conditions=conditions, best=best, serving=serving,
    )  # fmt: skip


def test_a_tuned_file_is_taken_by_assemble_and_by_a_pipeline_file(repository: Path, tmp_path: Path):
    entry = find_tuned_entry(repository, TEXT)
    path = tmp_path / "serving.yaml"
    write_serving_file(make_report(serving_keys(entry, CHOICE)), path)
    (tmp_path / "nightly.yaml").write_text(
        "models: [{model: minilm, variants: [{runtime: onnxruntime, text: true, serving: serving.yaml}]}]\n"
    )
    serving = load_run_spec(tmp_path / "nightly.yaml").models[0].variants[0].serving
    assert serving == load_serving_file(path).build(ServingSpec)
    assert (serving.instance_count, serving.threads, serving.max_batch_size, serving.padding) == (4, 1, 16, "longest")
    assert serving.dynamic_batching is not None
    assert serving.dynamic_batching.max_queue_delay_us == 1000
    assert serving.dynamic_batching.preferred_batch_sizes == (4, 8)
    # What is not tuned stays as it was asked for.
    assert (serving.tier, serving.warmup, serving.graph_level) == (2, True, 1)


def test_the_comments_are_the_evidence():
    text = render_serving_file(make_report({"threads": 1}))
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert comments[0] == f"# {TEXT} tuned for throughput at p99 <= 50 ms"
    assert comments[1] == "# held at 123.4 requests/s: met (99 % confidence, 1,307 requests, 5 over)"
    assert any("2026-11-28 12:30 UTC" in line for line in comments)
    assert any("A processor # of two lines, 2 cores" in line for line in comments)
    assert yaml.safe_load(text) == {"threads": 1}
    unsure = make_report({"threads": 1}, judge_slo(Slo(percent=99, bound_ms=50), 100, 0))
    assert "# likely held at 123.4 requests/s: not shown: 359 more requests" in render_serving_file(unsure)


def load_configs(folder: Path, names: list[str]) -> dict:
    paths = {name: folder / name / "config.pbtxt" for name in names}
    return {name: parse_config(decode_config(path.read_bytes()), where=name) for name, path in paths.items()}


def test_a_candidate_is_the_entry_with_other_choices(repository: Path, tmp_path: Path):
    entry = find_tuned_entry(repository, TEXT)
    folder = write_candidate(entry, CHOICE, tmp_path / "candidate")
    configs = load_configs(folder, entry.names)
    assert {config.max_batch_size for config in configs.values()} == {16}
    model = configs[MODEL]
    assert model.instance_group[0].count == 4
    assert model.parameters["intra_op_thread_count"].string_value == "1"
    assert list(model.dynamic_batching.preferred_batch_size) == [4, 8]
    assert not model.model_warmup
    assert configs[f"{MODEL}-tokenizer"].parameters["padding"].string_value == "longest"
    assert (folder / MODEL / "1" / "model.onnx").resolve() == (repository / MODEL / "1" / "model.onnx").resolve()


def test_what_is_served_now_is_a_choice_that_serves_the_same(repository: Path, tmp_path: Path):
    entry = find_tuned_entry(repository, TEXT)
    current = choice_from_entry(entry)
    assert current.describe() == "2 instances x 3 threads, batches up to 8, delay 500 us, length buckets"
    write_candidate(entry, current, tmp_path / "candidate")
    original, copy = load_configs(repository, entry.names), load_configs(tmp_path / "candidate", entry.names)
    original[MODEL].ClearField("model_warmup")  # which changes nothing of what is measured
    assert copy == original
    assert choice_from_entry(find_tuned_entry(repository, MODEL)).padding is None
    assert largest_batch(entry) == 32


def test_choices_without_batches_keep_the_rest(repository: Path):
    entry = find_tuned_entry(repository, MODEL)
    alone = Choice(layout=Layout(instances=1), merges=False, max_batch=8)
    keys = serving_keys(entry, alone)
    assert keys["dynamic_batching"] is None
    assert keys["threads"] == 3
    assert "padding" not in keys
    groups = ServingSpec(instance_groups=(InstanceGroupSpec(count=3, kind="cpu"),))
    of_groups = serving_keys(replace(entry, serving=groups), alone)
    assert (of_groups["instance_count"], of_groups["instance_kind"]) == (1, "cpu")
    assert "instance_groups" not in of_groups


def test_what_cannot_be_tuned_is_a_sentence(repository: Path, tmp_path: Path):
    with pytest.raises(RepositoryMissingError, match="has no entry tiny-onx-fp32") as missing:
        find_tuned_entry(repository, "tiny-onx-fp32")
    assert missing.value.hint == f"did you mean '{MODEL}'?"
    with pytest.raises(SpecError, match="is a tokenizer, which is tuned with its model") as part:
        find_tuned_entry(repository, f"{MODEL}-tokenizer")
    assert part.value.hint == f"name {TEXT}, or {MODEL} for token ids"
    with pytest.raises(SpecError, match="cannot be written"):
        check_serving_file(tmp_path, is_default=False)
    with pytest.raises(SpecError, match="cannot be written"):
        check_serving_file(tmp_path / "none" / "serving.yaml", is_default=False)
    check_serving_file(tmp_path / "made" / "serving.yaml", is_default=True)
    assert (tmp_path / "made").is_dir()
