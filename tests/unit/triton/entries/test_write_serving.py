"""What serving choices leave in a repository: files, the manifest, and the server's arguments."""

import logging

import pytest
from prep_triton.artifact import RepositoryEntry
from prep_triton.errors import SpecError
from prep_triton.manifest import load_artifact
from prep_triton.spec import QueuePolicySpec, QueueSpec, RateLimiterSpec, ResourceSpec, ServingSpec
from prep_triton.triton.config.server_arguments import CACHE, RATE_LIMIT
from prep_triton.triton.entries.load import load_repository
from prep_triton.triton.entries.place import place_entry
from prep_triton.triton.entries.write import preview_entry
from prep_triton.workspace import Recipe

from scripts.benchmarks.serving_configs import assemble_entry, entry_spec, recipe_of
from scripts.benchmarks.small_artifacts import make_engine, make_model


@pytest.fixture
def model(tmp_path):
    return make_model(tmp_path / "model")


@pytest.fixture
def repo(tmp_path):
    return tmp_path / "repo"


def arguments_in(repo):
    path = repo / "server.args"
    return path.read_text().splitlines() if path.is_file() else None


def test_the_manifest_tells_what_is_served_and_how(model, repo, tmp_path):
    engines = [make_engine(tmp_path / "t4"), make_engine(tmp_path / "l4", gpu="l4", compute_capability="8.9")]
    entry = assemble_entry(model, engines, ServingSpec(tier=2, response_cache=True), repo).artifact
    (loaded,) = load_repository(repo)
    assert loaded == entry
    assert (loaded.onnx.key, [engine.key for engine in loaded.engines]) == ("k1", ["engine-t4", "engine-l4"])
    assert (loaded.tier, loaded.length_buckets) == (2, (8, 16))
    assert loaded.server_arguments == (CACHE, RATE_LIMIT)


def test_warm_up_files_are_part_of_the_entry_and_made_good(model, repo):
    serving = ServingSpec(warmup=True, length_buckets=(8, 32))
    entry = assemble_entry(model, [], serving, repo).artifact
    files = [name for name in entry.files if name.startswith("warmup/")]
    assert len(files) == 6
    assert entry.files["warmup/input_ids-8.bin"].size == 64
    (entry.folder / files[0]).write_bytes(b"\0" * entry.files[files[0]].size)
    assert not assemble_entry(model, [], serving, repo).reused
    assert assemble_entry(model, [], serving, repo).reused
    assert not list(assemble_entry(model, [], ServingSpec(), repo).artifact.folder.glob("warmup"))


@pytest.mark.parametrize(
    "changed",
    [
        {"tier": 1},
        {"tier": 2},
        {"length_buckets": (16,)},
        {"warmup": True},
        {"response_cache": True},
        {"rate_limiter": RateLimiterSpec(priority=2)},
    ],
)
def test_another_choice_is_another_key(model, changed):
    assert recipe_of(model, [], ServingSpec(**changed)).key != recipe_of(model, [], ServingSpec()).key


def test_a_choice_that_was_given_differs_from_one_that_was_left_to_the_tier(model, tmp_path):
    engines = [make_engine(tmp_path / "t4")]
    left = recipe_of(model, engines, ServingSpec(tier=1)).key
    assert recipe_of(model, engines, ServingSpec(tier=1, stream_priority="default")).key != left


def test_server_arguments_are_those_of_all_entries_and_go_with_the_last(model, repo):
    assemble_entry(model, [], ServingSpec(tier=1), repo, name="one")
    assert arguments_in(repo) == [RATE_LIMIT]
    assemble_entry(model, [], ServingSpec(response_cache=True, tier=2), repo, name="two")
    assert arguments_in(repo) == [CACHE, RATE_LIMIT]
    written = (repo / "server.args").stat().st_mtime_ns
    assert assemble_entry(model, [], ServingSpec(tier=1), repo, name="one").reused
    assert (repo / "server.args").stat().st_mtime_ns == written
    assemble_entry(model, [], ServingSpec(), repo, name="two")
    assert arguments_in(repo) == [RATE_LIMIT]
    assemble_entry(model, [], ServingSpec(), repo, name="one")
    assert arguments_in(repo) is None


def test_server_arguments_that_were_removed_or_edited_are_written_again(model, repo):
    assemble_entry(model, [], ServingSpec(tier=1), repo)
    (repo / "server.args").write_text("--rate-limit=off\n")
    assert assemble_entry(model, [], ServingSpec(tier=1), repo).reused
    assert arguments_in(repo) == [RATE_LIMIT]


def test_an_entry_of_another_kind_is_placed_with_its_arguments(model, repo):
    def make(folder):
        (folder / "config.pbtxt").write_text("")
        return {
            "kind": "tokenizer",
            "runtime": "python",
            **{key: getattr(model, key) for key in ("precision", "task", "architecture", "weights")},
            "max_batch_size": 1,
            "tolerance": 1.0,
            "server_arguments": ("--log-verbose=1",),
        }

    placed = place_entry(Recipe(stage="entry", name="tokenizer", spec={}), repo, make)
    assert not placed.reused
    assert arguments_in(repo) == ["--log-verbose=1"]
    assert place_entry(Recipe(stage="entry", name="tokenizer", spec={}), repo, make).reused


def test_a_resource_of_two_scopes_in_two_entries_is_refused(model, repo):
    def sharing(scope):
        return ServingSpec(rate_limiter=RateLimiterSpec(resources=(ResourceSpec(name="a", scope=scope),)))

    assemble_entry(model, [], sharing("global"), repo, name="one")
    with pytest.raises(SpecError, match="a is of scope device in two and of scope global in one") as caught:
        assemble_entry(model, [], sharing("device"), repo, name="two")
    assert "two names" in caught.value.hint
    assert not (repo / "two").exists()
    assemble_entry(model, [], sharing("device"), repo, name="one")  # it alone may change its own


def test_a_bucket_beyond_the_model_of_a_plan_is_refused(model, repo, tmp_path):
    engine = make_engine(tmp_path / "t4", profile="1x2,4x8,8x64")
    with pytest.raises(SpecError, match="length bucket 64 exceeds the model's longest sequence, 32") as caught:
        assemble_entry(model, [engine], ServingSpec(length_buckets=(64,)), repo)
    assert "within 32" in caught.value.hint


def warnings_of(caplog):
    return [record.message for record in caplog.records if record.levelno == logging.WARNING]


def test_traps_are_told_when_an_entry_is_written(model, repo, caplog):
    late = QueueSpec(default_queue_policy=QueuePolicySpec(default_timeout_us=5))
    serving = ServingSpec(dynamic_batching=late, instance_count=2)
    assemble_entry(model, [], serving, repo)
    (message,) = warnings_of(caplog)
    assert message.startswith("tiny-onnx-fp32: ")
    assert message.endswith("(server#8870)")
    caplog.clear()
    assert assemble_entry(model, [], serving, repo).reused
    assert not warnings_of(caplog)


def test_an_ensemble_warns_of_its_steps_priorities_whichever_is_written_last(model, repo, caplog):
    ranked = ServingSpec(dynamic_batching=QueueSpec(priority_levels=2, default_priority_level=2), instance_count=2)
    assemble_entry(model, [], ranked, repo, name="step")
    assert not warnings_of(caplog)

    def make(folder):
        (folder / "config.pbtxt").write_text("")
        fields = {key: getattr(model, key) for key in ("precision", "task", "architecture", "weights")}
        return {
            **fields,
            "kind": "ensemble",
            "runtime": "ensemble",
            "max_batch_size": 1,
            "tolerance": 1.0,
            "composes": ("step",),
        }

    place_entry(Recipe(stage="entry", name="step-text", spec={}), repo, make)
    (message,) = warnings_of(caplog)
    assert message.startswith("step, in step-text: ")
    assert message.endswith("(server#7116)")
    caplog.clear()
    changed = ranked.model_copy(update={"max_batch_size": 2})
    assemble_entry(model, [], changed, repo, name="step")
    (message,) = warnings_of(caplog)
    assert "server#7116" in message


def test_a_preview_is_what_would_be_written_and_writes_nothing(model, repo):
    serving = ServingSpec(tier=1, warmup=True)
    name, text = preview_entry(model, [], entry_spec(model, serving))
    assert not repo.exists()
    entry = assemble_entry(model, [], serving, repo).artifact
    assert (name, text) == (entry.name, (entry.folder / "config.pbtxt").read_text())


@pytest.mark.parametrize("kind", ["link", "dangling link", "file"])
def test_what_lies_in_the_place_of_an_entry_is_replaced_and_nothing_is_left(model, repo, tmp_path, kind):
    place, elsewhere = repo / "bert", tmp_path / "elsewhere"
    repo.mkdir(exist_ok=True)
    if kind == "file":
        place.write_text("a file")
    else:
        place.symlink_to(elsewhere)
    if kind == "link":
        elsewhere.mkdir()
        (elsewhere / "keep").write_text("mine")
    assemble_entry(model, [], ServingSpec(max_batch_size=4), repo, name="bert")
    assemble_entry(model, [], ServingSpec(max_batch_size=8), repo, name="bert")
    assert load_artifact(place, RepositoryEntry).max_batch_size == 8
    assert not place.is_symlink()
    assert [path.name for path in repo.iterdir() if path.name.startswith(".staging")] == []
    assert kind != "link" or (elsewhere / "keep").read_text() == "mine"
