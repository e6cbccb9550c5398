"""The tokenizer that is served is transformers' own, whatever files of the checkpoint say what it is."""

import json
from pathlib import Path

import pytest
from prep_triton.errors import SourceError
from prep_triton.export.folder import digest_folder, digest_tokenizer
from prep_triton.export.reference import load_sentences
from prep_triton.export.tokenizer import save_tokenizer
from prep_triton.reference import TOKENIZER_PROBES

from tests.fakes.bert_checkpoint import write_checkpoint
from tests.fakes.wordpiece import make_tokenizer

TEXTS = (*TOKENIZER_PROBES, "The newword is A b\u00e9 \u5b57")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "m")


def write(folder: Path, name: str, content) -> None:
    (folder / name).write_text(json.dumps(content))


def save(folder: Path, vocab_size: int = 100):
    target = folder.parent / "artifact"
    target.mkdir(exist_ok=True)
    return save_tokenizer(folder, target, vocab_size, where="it")


def refusal(folder: Path) -> str:
    with pytest.raises(SourceError) as caught:
        save(folder)
    assert caught.value.hint
    return caught.value.message


def expected_ids(folder: Path) -> list[list[int]]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    return [tokenizer(text)["input_ids"] for text in TEXTS]


def break_tokenizer(folder: Path, **changes) -> None:
    content = json.loads(make_tokenizer().to_str())
    write(folder, "tokenizer.json", {**content, **changes})
    write(folder, "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"})


@pytest.mark.parametrize(
    "flags", [{}, {"do_lower_case": False}, {"strip_accents": False}, {"tokenize_chinese_chars": False}], ids=str
)
@pytest.mark.parametrize("has_json", [False, True], ids=["vocab.txt", "tokenizer.json"])
def test_flags_of_the_configuration_are_heard_as_transformers_hears_them(checkpoint, flags, has_json):
    if has_json:
        save(checkpoint)
        (checkpoint / "tokenizer.json").write_bytes((checkpoint.parent / "artifact" / "tokenizer.json").read_bytes())
    write(checkpoint, "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", **flags})
    assert [row.ids for row in save(checkpoint).encode_batch(list(TEXTS))] == expected_ids(checkpoint)


@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"])
@pytest.mark.parametrize(
    ("content", "problem"),
    [("{", "is not JSON"), ("[]", "is not a JSON object"), ("\ufeff{}", "begins with a byte order mark")],
)
def test_a_damaged_settings_file_is_the_one_that_is_named(checkpoint, name, content, problem):
    (checkpoint / name).write_text(content, encoding="utf-8")
    assert refusal(checkpoint).startswith(f"{name} of it {problem}")


def test_a_limit_that_is_no_number_is_named(checkpoint):
    write(checkpoint, "tokenizer_config.json", {"model_max_length": "512"})
    assert refusal(checkpoint) == "tokenizer_config.json of it has model_max_length '512', expected a number"
    write(checkpoint, "tokenizer_config.json", {"model_max_length": 512})
    save(checkpoint)


def test_a_class_that_adds_tokens_beyond_the_model_is_refused_by_their_names(checkpoint):
    save(checkpoint)
    (checkpoint / "tokenizer.json").write_bytes((checkpoint.parent / "artifact" / "tokenizer.json").read_bytes())
    write(checkpoint, "tokenizer_config.json", {"tokenizer_class": "MPNetTokenizer"})
    with pytest.raises(SourceError, match=r"it has no row for .*'<s>'"):
        save(checkpoint, len(json.loads((checkpoint / "tokenizer.json").read_text())["model"]["vocab"]))


def test_added_tokens_are_tokens_of_their_own(checkpoint):
    write(checkpoint, "added_tokens.json", {"newword": 99})
    tokenizer = save(checkpoint)
    assert 99 in tokenizer.encode("the newword").ids
    assert [row.ids for row in tokenizer.encode_batch(list(TEXTS))] == expected_ids(checkpoint)


def test_a_vocabulary_alone_is_berts(tmp_path):
    folder = write_checkpoint(tmp_path / "m")
    expected = expected_ids(folder)
    (folder / "config.json").unlink()
    assert [row.ids for row in save(folder).encode_batch(list(TEXTS))] == expected


@pytest.mark.parametrize(
    "name", ["added_tokens.json", "special_tokens_map.json", "tokenizer_config.json", "tokenizer.json", "vocab.txt"]
)
def test_every_file_of_the_tokenizer_is_in_the_digest(checkpoint, name):
    digests = {digest(checkpoint, where="it") for digest in (digest_folder, digest_tokenizer)}
    for content in ("{}", '{"a": 1}'):
        (checkpoint / name).write_text(content)
        digests |= {digest(checkpoint, where="it") for digest in (digest_folder, digest_tokenizer)}
    assert len(digests) == 6


def test_a_class_that_is_not_fast_is_refused_by_its_name(checkpoint):
    japanese = {"word_tokenizer_type": "basic", "subword_tokenizer_type": "character"}
    write(checkpoint, "tokenizer_config.json", {"tokenizer_class": "BertJapaneseTokenizer", **japanese})
    assert refusal(checkpoint) == (
        "the tokenizer of it is a BertJapaneseTokenizer, which no tokenizer.json can stand for"
    )


@pytest.mark.parametrize("name", ["BertweetTokenizer", "PhobertTokenizer", "BertJapaneseTokenizer"])
def test_a_class_that_is_not_fast_is_refused_so_where_its_own_files_are_missing(checkpoint, name):
    save(checkpoint)
    (checkpoint / "vocab.txt").unlink()
    (checkpoint.parent / "artifact" / "tokenizer.json").rename(checkpoint / "tokenizer.json")
    write(checkpoint, "tokenizer_config.json", {"tokenizer_class": name})
    assert refusal(checkpoint) == f"the tokenizer of it is a {name}, which no tokenizer.json can stand for"


def test_a_class_that_is_not_there_is_refused_by_its_name(checkpoint):
    write(checkpoint, "tokenizer_config.json", {"tokenizer_class": "NoSuchTokenizer"})
    assert "vocab.txt of it cannot be read (as a NoSuchTokenizer," in refusal(checkpoint)


def test_a_class_that_reads_none_of_the_vocabulary_is_refused(checkpoint):
    write(checkpoint, "tokenizer_config.json", {"tokenizer_class": "RobertaTokenizer"})
    assert "RobertaTokenizer" in refusal(checkpoint)


def test_a_regular_expression_that_backtracks_without_end_is_refused(checkpoint, capfd):
    pattern = {"Regex": "(([a-z ])+.)+[A-Z]([a-z])+$"}
    break_tokenizer(
        checkpoint, pre_tokenizer={"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
    )
    assert "tokenizer.json of it cannot be read" in refusal(checkpoint)
    assert "panicked" not in capfd.readouterr().err


def test_a_sentence_of_the_reference_that_cannot_be_tokenized_is_an_error_of_the_checkpoint(checkpoint, capfd):
    words = load_sentences()[0].split()[:2]
    pattern = {"Regex": f"(?={' '.join(words)})(([A-Za-z ])+.)+[0-9]#"}
    split = {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
    break_tokenizer(checkpoint, normalizer=None, pre_tokenizer=split)
    assert "tokenizer.json of it cannot be read" in refusal(checkpoint)
    assert "panicked" not in capfd.readouterr().err


def test_an_unknown_token_that_is_not_in_the_vocabulary_is_refused(checkpoint):
    model = json.loads(make_tokenizer().to_str())["model"]
    break_tokenizer(checkpoint, model={**model, "unk_token": "nowhere"})
    assert "tokenizer.json of it cannot be read" in refusal(checkpoint)


def test_more_ids_than_the_model_has_are_refused(checkpoint):
    with pytest.raises(SourceError, match="the vocabulary of it has 100 ids, and its model has 99"):
        save(checkpoint, 99)
