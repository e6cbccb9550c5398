"""What `prep tune` serves an entry with: the keys of a choice, as a configuration that fits the entry's runtime."""

import pytest
from prep_triton.bench.tuning_records import Choice, Layout
from prep_triton.run.candidate import choice_from_entry, find_tuned_entry, serving_keys, write_candidate
from prep_triton.spec import EntrySpec, ServingSpec, TextSpec
from prep_triton.triton.config import parse_config
from prep_triton.triton.entries.text import assemble_text_entries
from prep_triton.triton.entries.write import assemble_entry

from scripts.benchmarks.small_artifacts import make_model

TWO = Layout(instances=2, threads=1)


@pytest.fixture
def find(tmp_path):
    def assemble(runtime, **serving):
        spec = EntrySpec(runtime=runtime, serving=ServingSpec(**serving))
        entry = assemble_entry(make_model(tmp_path / "model"), [], spec, tmp_path / "repo").artifact
        assemble_text_entries(entry, TextSpec(), tmp_path / "repo")
        return find_tuned_entry(tmp_path / "repo", f"{entry.name}-text")

    return assemble


def config_of(folder, name):
    return parse_config((folder / name / "config.pbtxt").read_text(), where=name)


def test_an_entry_that_merges_requests_gets_the_batch_and_the_delay(find, tmp_path):
    entry = find("onnxruntime")
    choice = Choice(layout=TWO, max_batch=4, delay_us=1000, padding="longest")
    write_candidate(entry, choice, tmp_path / "candidate")
    config = config_of(tmp_path / "candidate", entry.model.name)
    assert (config.max_batch_size, config.dynamic_batching.max_queue_delay_microseconds) == (4, 1000)
    assert config.instance_group[0].count == 2
    assert config.parameters["intra_op_thread_count"].string_value == "1"
    tokenizer = config_of(tmp_path / "candidate", f"{entry.model.name}-tokenizer")
    assert tokenizer.parameters["padding"].string_value == "longest"


def test_an_entry_that_merges_none_gets_neither(find, tmp_path):
    entry = find("openvino")
    assert not entry.is_merged
    current = choice_from_entry(entry)
    assert (current.merges, current.padding) == (False, "longest")
    choice = Choice(layout=TWO, merges=False, max_batch=4, padding="buckets")
    assert serving_keys(entry, choice).keys().isdisjoint({"max_batch_size"})
    write_candidate(entry, choice, tmp_path / "candidate")
    config = config_of(tmp_path / "candidate", entry.model.name)
    assert (config.max_batch_size, config.HasField("dynamic_batching")) == (0, False)
    assert config.parameters["NUM_STREAMS"].string_value == "2"
