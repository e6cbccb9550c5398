import json

import pytest
from prep_triton.artifact import EmbeddingRecord
from prep_triton.errors import SourceError
from prep_triton.export.declared import find_length
from prep_triton.export.folder import load_config
from prep_triton.export.sentence_modules import find_embedding
from prep_triton.export.sentence_transformers import list_declaring_files, load_transformer_settings


def declare(folder, *kinds, pooling=None, prompts=None, settings=None):
    modules = [
        {"path": "" if index == 0 else f"{index}_{kind}", "type": f"sentence_transformers.models.{kind}"}
        for index, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling or {}))
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts or {}))
    (folder / "sentence_bert_config.json").write_text(json.dumps(settings or {}))
    return folder


def test_without_modules_an_embedding_is_the_normalized_mean(tmp_path):
    assert find_embedding(tmp_path, where="it") == find_embedding(None, where="it") == EmbeddingRecord()


def test_dropout_does_nothing_and_a_pooling_without_switches_is_the_mean(tmp_path):
    folder = declare(tmp_path, "Transformer", "Pooling", "Dropout", prompts={"prompts": {"query": "q: "}})
    assert find_embedding(folder, where="it") == EmbeddingRecord(is_normalized=False, prompts={"query": "q: "})


def test_prompts_that_are_all_empty_are_none(tmp_path):
    prompts = {"prompts": {"query": "", "document": None}, "default_prompt_name": "query"}
    folder = declare(tmp_path, "Transformer", "Pooling", pooling={"include_prompt": False}, prompts=prompts)
    assert find_embedding(folder, where="it") == EmbeddingRecord(is_normalized=False)


@pytest.mark.parametrize(
    ("kinds", "changes", "message"),
    [
        (("Transformer", "Pooling", "LSTM"), {}, "modules.json of it declares a LSTM module"),
        (("Transformer", "Normalize", "Pooling"), {}, "declares Transformer, Normalize, Pooling; supported are a Tra"),
        (("Transformer", "Normalize"), {}, "declares Transformer, Normalize; supported are a Transformer, then a Pool"),
        (("Transformer", "Pooling"), {"pooling": {"pooling_mode": "median"}}, "declares the pooling 'median'"),
        (("Transformer", "Pooling"), {"prompts": {"truncate_dim": 0}}, "has the truncate_dim 0, expected"),
        (
            ("Transformer", "Pooling"),
            {"prompts": {"prompts": {"query": 1}}},
            "the prompts {'query': 1}, expected a text",
        ),
        (
            ("Transformer", "Pooling"),
            {"prompts": {"prompts": ["query"]}},
            r"has the prompts \['query'\], expected a text",
        ),
        (("Transformer", "Pooling"), {"prompts": {"default_prompt_name": "query"}}, "no prompt of its default_prompt"),
        (
            ("Transformer", "Pooling"),
            {"settings": {"tokenizer_args": {"use_fast": True, "do_lower_case": False}}},
            r"hands do_lower_case to its tokenizer \(tokenizer_args\)",
        ),
        (
            ("Transformer", "Pooling"),
            {"settings": {"config_kwargs": {"num_hidden_layers": 1}}},
            r"hands num_hidden_layers to its configuration \(config_kwargs\)",
        ),
        (
            ("Transformer", "Pooling"),
            {"settings": {"modality_config": {"text": {"method": "forward", "method_output_name": "pooler_output"}}}},
            "has the modality_config .*pooler_output",
        ),
        (("Transformer", "Pooling"), {"settings": {"transformer_task": "fill-mask"}}, "transformer_task 'fill-mask'"),
        (("Transformer", "Pooling"), {"settings": {"processing_kwargs": {"text": {"max_length": 8}}}}, "processing_kw"),
    ],
)
def test_what_is_not_served_is_named(tmp_path, kinds, changes, message):
    with pytest.raises(SourceError, match=message):
        find_embedding(declare(tmp_path, *kinds, **changes), where="it")


def test_settings_that_the_library_writes_itself_are_served(tmp_path):
    settings = {
        "transformer_task": "feature-extraction",
        "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
        "module_output_name": "token_embeddings",
        "model_args": {"torch_dtype": "float16"},
        "tokenizer_args": {},
        "config_args": {"use_cache": False},
    }
    folder = declare(tmp_path, "Transformer", "Pooling", settings=settings, prompts={"truncate_dim": None})
    assert find_embedding(folder, where="it") == EmbeddingRecord(is_normalized=False)


def test_the_settings_are_those_of_the_file_that_the_library_reads(tmp_path):
    for kind, length in (("albert", 1), ("bert", 2), ("other", 3)):
        (tmp_path / f"sentence_{kind}_config.json").write_text(json.dumps({"max_seq_length": length}))
    assert load_transformer_settings(tmp_path, where="it") == {"max_seq_length": 2}
    (tmp_path / "sentence_bert_config.json").write_text("{}")
    assert load_transformer_settings(tmp_path, where="it") == {"max_seq_length": 1}


def test_a_module_in_a_folder_of_any_name_decides_the_export(tmp_path):
    folder = declare(tmp_path, "Transformer", "Pooling")
    (folder / "1_Pooling").rename(folder / "pool")
    content = (folder / "modules.json").read_text()
    (folder / "modules.json").write_text(content.replace("1_Pooling", "pool"))
    assert folder / "pool" / "config.json" in list_declaring_files(folder)
    (folder / "modules.json").write_text('[3, {"path": 4}]')
    assert list_declaring_files(folder)


def test_a_class_of_somebody_else_is_refused_by_its_name(tmp_path):
    folder = declare(tmp_path, "Transformer", "Pooling")
    content = (folder / "modules.json").read_text()
    (folder / "modules.json").write_text(content.replace("sentence_transformers.models.Pooling", "mine.Pooling"))
    with pytest.raises(SourceError, match=r"declares the class mine\.Pooling"):
        find_embedding(folder, where="it")


def test_a_transformer_in_a_folder_of_its_own_is_named_and_the_hint_leads_out(tmp_path):
    folder = declare(tmp_path, "Transformer", "Pooling")
    content = (folder / "modules.json").read_text()
    (folder / "modules.json").write_text(content.replace('"path": ""', '"path": "0_Transformer"'))
    (folder / "0_Transformer").mkdir()
    (folder / "0_Transformer" / "config.json").write_text("{}")
    for call in (find_embedding, load_config):
        with pytest.raises(SourceError, match="has its Transformer in 0_Transformer") as caught:
            call(folder, where="it")
        assert f"copy the files of {folder / '0_Transformer'} into {folder}" in caught.value.hint
    (folder / "config.json").write_bytes((folder / "0_Transformer" / "config.json").read_bytes())
    (folder / "modules.json").write_text(content)
    assert load_config(folder, where="it") == {}
    assert find_embedding(folder, where="it") == EmbeddingRecord(is_normalized=False)


@pytest.mark.parametrize("content", ["[", "{}", '[{"path": ""}]', "[3]"])
def test_a_damaged_list_of_modules_is_refused(tmp_path, content):
    (tmp_path / "modules.json").write_text(content)
    with pytest.raises(SourceError, match=r"modules\.json of it is not"):
        find_embedding(tmp_path, where="it")


@pytest.mark.parametrize(
    ("transformer", "tokenizer", "expected"),
    [
        ({"max_seq_length": 256}, {"model_max_length": 128}, 256),
        ({"max_seq_length": None}, {"model_max_length": 128}, 128),
        ({"max_seq_length": 1024}, {}, 512),
        ({}, {"model_max_length": 1000000000000000019884624838656}, 512),
        ({}, [], 512),
    ],
)
def test_a_text_is_cut_where_the_checkpoint_declares(tmp_path, transformer, tokenizer, expected):
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps(transformer))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    assert find_length(tmp_path, limit=512, where="it") == expected
    assert find_length(None, limit=512, where="it") == 512


@pytest.mark.parametrize("length", [0, -5, True, "64", float("nan")])
def test_a_length_that_leaves_no_token_is_refused(tmp_path, length):
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": length}))
    with pytest.raises(SourceError, match="it declares the max_seq_length") as caught:
        find_length(tmp_path, limit=512, where="it")
    assert "sentence_bert_config.json" in caught.value.hint
