"""Which entries play the tiers, and how each is served with its tier and without."""

from pathlib import Path

import pytest
from prep_triton.artifact import RepositoryEntry
from prep_triton.errors import PrepError, RepositoryMissingError, SpecError
from prep_triton.run.burst_repository import choose_tiers, entry_name, serving_of_tier, write_tiers
from prep_triton.run.serving import ServedRepository
from prep_triton.spec import EntrySpec, QueueSpec, ServingSpec
from prep_triton.triton.config.parse import parse_config
from prep_triton.triton.entries.write import assemble_entry as write_entry

from scripts.benchmarks.records import make_entry, make_graph
from scripts.benchmarks.serving_configs import assemble_entry
from scripts.benchmarks.small_artifacts import make_model


def make_served(*entries: RepositoryEntry) -> ServedRepository:
    return ServedRepository("repo", entries, ())


def model(name: str, tier: int | None = None, **fields) -> RepositoryEntry:
    return make_entry(name, onnx=make_graph(), tier=tier, **fields)


def choose(served: ServedRepository, *names: str | None, has_gpu: bool = False) -> list[str]:
    first, second = names or (None, None)
    chosen = choose_tiers(served, (first, second), has_gpu=has_gpu)
    return [chosen[1].name, chosen[2].name]


def test_entries_play_their_tiers_or_in_their_order_or_twice():
    text = make_entry("a-text", kind="ensemble", serves="a", composes=("a",))
    assert choose(make_served(model("a"), text)) == ["a", "a"]
    assert choose(make_served(model("a"), model("b"))) == ["a", "b"]
    assert choose(make_served(model("a", 2), model("b", 1), model("c"))) == ["b", "a"]
    three = make_served(model("a"), model("b"), model("c"))
    assert choose(three, "c", "a") == ["c", "a"]
    assert choose(three, "c", None) == choose(three, None, "c") == ["c", "c"]
    gpu = model("p", spec={"serving": {"instance_kind": "gpu"}})
    assert choose(make_served(model("a"), gpu)) == ["a", "a"]
    assert choose(make_served(model("a"), gpu), has_gpu=True) == ["a", "p"]


@pytest.mark.parametrize(
    ("names", "kind", "message", "hint"),
    [
        ((None, None), SpecError, "repo has 3 models and not one of each tier: a, b, c", "say which: --tier-1 a --t"),
        (("a-text", None), SpecError, "a-text is not a model", "name its model, a"),
        (("a", "aa-text"), RepositoryMissingError, "repo has no entry aa-text", "it has a, b, c"),
    ],
)
def test_what_is_not_clear_or_not_there_is_refused(names, kind: type[PrepError], message: str, hint: str):
    text = make_entry("a-text", kind="ensemble", serves="a", composes=("a",))
    with pytest.raises(kind) as refused:
        choose(make_served(model("a"), model("b"), model("c"), text), *names)
    assert message in refused.value.message
    assert (refused.value.hint or "").startswith(hint)


def test_a_repository_without_a_model_for_this_machine_is_refused():
    gpu = model("p", spec={"serving": {"instance_kind": "gpu"}})
    with pytest.raises(SpecError, match="has no model that this machine serves"):
        choose(make_served(gpu))


@pytest.fixture
def ranked(tmp_path: Path) -> RepositoryEntry:
    """An entry of tier 2, with what that adds, and choices of its own."""
    serving = ServingSpec(
        tier=2, threads=1, max_batch_size=8, response_cache=True, dynamic_batching=QueueSpec(max_queue_delay_us=900)
    )
    return assemble_entry(make_model(tmp_path / "model"), [], serving, tmp_path / "repo").artifact


def test_each_tier_has_what_it_adds_and_no_tier_has_nothing_of_it(ranked: RepositoryEntry, tmp_path: Path):
    plain, first, second = (serving_of_tier(ranked, tier) for tier in (None, 1, 2))
    assert plain == ServingSpec(
        threads=1,
        max_batch_size=8,
        length_buckets=ranked.length_buckets,
        dynamic_batching=QueueSpec(max_queue_delay_us=900),
    )
    assert first == ServingSpec.model_validate(plain.model_dump(exclude_defaults=True) | {"tier": 1})
    assert second == ServingSpec.model_validate(ranked.spec["serving"] | {"response_cache": False})
    for is_tiered in (False, True):
        folder = tmp_path / f"served-{is_tiered}"
        arguments = write_tiers(folder, tmp_path / "repo", {1: ranked, 2: ranked}, is_tiered=is_tiered)
        assert arguments == (("--rate-limit=execution_count",) if is_tiered else ())
        configs = [parse_config((folder / entry_name(tier) / "config.pbtxt").read_text()) for tier in (1, 2)]
        assert [config.name for config in configs] == ["tier-1", "tier-2"]
        limited = [config.instance_group[0].rate_limiter.priority for config in configs]
        assert limited == ([1000, 2**32 - 1] if is_tiered else [0, 0])
        assert [config.dynamic_batching.priority_levels for config in configs] == [0, 0]
        assert {config.dynamic_batching.max_queue_delay_microseconds for config in configs} == {900}
        assert not any(config.response_cache.enable for config in configs)
        graph = folder / "tier-2" / "1" / "model.onnx"
        assert graph.resolve() == (tmp_path / "repo" / ranked.name / "1" / "model.onnx").resolve()


@pytest.mark.parametrize("own", [1, 2, None])
@pytest.mark.parametrize("queue", [None, QueueSpec(priority_levels=2, default_priority_level=1)])
def test_openvino_plays_any_tier_and_its_own_without_a_delay_that_nobody_chose(own, queue, tmp_path: Path):
    """Its requests are not merged: of a tier it has the weight, and of a queue the levels that its owner chose."""
    chosen = {"tier": own, "dynamic_batching": queue} if queue else {"tier": own}
    spec = EntrySpec(runtime="openvino", precision="fp32", serving=ServingSpec.model_validate(chosen))
    entry = write_entry(make_model(tmp_path / "model"), [], spec, tmp_path / "repo").artifact
    write_tiers(tmp_path / "served", tmp_path / "repo", {1: entry, 2: entry}, is_tiered=True)
    configs = [parse_config((tmp_path / "served" / entry_name(tier) / "config.pbtxt").read_text()) for tier in (1, 2)]
    assert [config.instance_group[0].rate_limiter.priority for config in configs] == [1000, 2**32 - 1]
    assert [config.dynamic_batching.priority_levels for config in configs] == [2 if queue else 0] * 2
    assert [config.dynamic_batching.max_queue_delay_microseconds for config in configs] == [0, 0]


def test_what_its_owner_chose_in_a_tier_is_kept_there(tmp_path: Path):
    """Without levels of priority, which a tier 2 gets unless it says so."""
    serving = ServingSpec(tier=2, dynamic_batching=QueueSpec(priority_levels=0))
    entry = assemble_entry(make_model(tmp_path / "model"), [], serving, tmp_path / "repo").artifact
    write_tiers(tmp_path / "served", tmp_path / "repo", {1: entry, 2: entry}, is_tiered=True)
    configs = [parse_config((tmp_path / "served" / entry_name(tier) / "config.pbtxt").read_text()) for tier in (1, 2)]
    assert [config.dynamic_batching.priority_levels for config in configs] == [0, 0]
    assert [config.instance_group[0].rate_limiter.priority for config in configs] == [1000, 2**32 - 1]
