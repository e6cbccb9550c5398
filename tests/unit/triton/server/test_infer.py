"""Which model is asked, and what its tensors say."""

import itertools
import logging

import numpy as np
import pytest
from prep_triton.errors import ServerError, SpecError
from prep_triton.triton.server.client import RefusedRequestError, TritonClient
from prep_triton.triton.server.infer import Beside, find_text_model, infer_text, name_texts
from prep_triton.triton.server.statistics import ModelStatistics
from tritonclient.grpc.model_config_pb2 import ModelConfig


class Server(TritonClient):
    """A server with these models, of which those called ``…-text`` are ensembles; nothing is connected to."""

    def __init__(self, *names):
        self.address, self.names = "host:8001", names

    def server_version(self):
        return "2.51.0"

    def list_loaded(self):
        return list(self.names)

    def read_config(self, name):
        is_text = name.endswith("-text")
        config = ModelConfig(name=name, max_batch_size=4)
        config.input.add(name="TEXT" if is_text else "input_ids")
        config.output.add(name="EMBEDDING" if is_text else "logits", dims=[8])
        for step in ("tokenizer", "model", "postprocessor") if is_text else ():
            config.ensemble_scheduling.step.add(model_name=step)
        return config


class MaskedServer(Server):
    def read_config(self, name):
        config = super().read_config(name)
        if name.endswith("-text"):
            config.output[0].name = "TOKENS"
        if name == "postprocessor":
            config.parameters["mask_token"].string_value = "<mask>"
        return config


def test_the_mask_token_is_what_the_post_processor_is_told():
    assert find_text_model(MaskedServer("roberta-text")).mask_token == "<mask>"


def test_the_only_text_model_is_asked():
    text_model = find_text_model(Server("bert", "bert-text"))
    assert (text_model.name, text_model.task, text_model.has_batch) == ("bert-text", "feature-extraction", True)
    assert text_model.steps == ("tokenizer", "model", "postprocessor")


@pytest.mark.parametrize(
    ("loaded", "name", "message", "hint"),
    [
        ((), None, "has loaded no models that take text (it has nothing)", "text: true"),
        (("bert",), None, "has loaded no models that take text (it has bert)", "text: true"),
        (("a-text", "b-text"), None, "has loaded 2 models that take text: a-text, b-text", "--model"),
        (("a-text",), "b", "has not loaded b; models there that take text: a-text", "--model a-text"),
        (("bert",), "b", "has not loaded b; models there that take text: none", "server's log"),
        (
            ("bert",),
            "bert",
            "bert is not a text model built by prep: it takes input_ids and answers logits",
            "makes bert-text",
        ),
        (
            ("bert", "bert-text"),
            "bert",
            "bert is not a text model built by prep: it takes input_ids and answers logits",
            "--model bert-text",
        ),
        (
            ("bert", "a-text"),
            "bert",
            "bert is not a text model built by prep: it takes input_ids and answers logits",
            "--model a-text",
        ),
    ],
)
def test_a_model_that_takes_no_text_is_refused(loaded, name, message, hint):
    with pytest.raises((ServerError, SpecError)) as caught:
        find_text_model(Server(*loaded), name)
    assert (caught.type is SpecError) == (name is not None and name not in loaded)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_the_steps_that_a_priority_reaches_are_named(caplog):
    class Ranked(Server):
        def read_config(self, name):
            config = super().read_config(name)
            if name == "model":
                config.dynamic_batching.priority_levels = 2
            return config

        def read_statistics(self, name):
            return ModelStatistics(requests=next(counter), batch_sizes={})

        def infer(self, name, inputs, outputs, *, priority=0):
            assert (name, priority) == ("bert-text", 2)
            assert inputs["TEXT"].tolist() == [[b"caf\xc3\xa9 \xff"]]
            return {"EMBEDDING": np.array([[1.0]])}, 1.5

    counter = itertools.count()
    server = Ranked("bert-text")
    with caplog.at_level(logging.INFO):
        answer = infer_text(server, find_text_model(server), "café \udcff", priority=2)
    assert caplog.messages == ["priority 2 reaches model alone, and on older servers no step of an ensemble"]
    assert (answer.text, answer.total_ms) == ("café �", 1.5)
    assert [step.model for step in answer.steps] == ["tokenizer", "model", "postprocessor"]


def test_a_prompt_is_named_before_the_text_that_may_be_cut():
    class Prompted(Server):
        def read_config(self, name):
            config = super().read_config(name)
            if name == "bert-text":
                config.input.add(name="PROMPT_NAME", optional=True)
            return config

    server = Prompted("bert-text")
    model = find_text_model(server)
    assert (model.inputs, model.takes_prompt) == (("TEXT",), True)
    assert list(name_texts(model, "a", Beside(prompt_name="query")).items()) == [
        ("PROMPT_NAME", ["query"]),
        ("TEXT", ["a"]),
    ]
    assert name_texts(model, "a", Beside()) == {"TEXT": ["a"]}


def test_a_prompt_for_a_model_without_prompts_is_refused():
    with pytest.raises(SpecError, match="bert-text has no input PROMPT_NAME: its checkpoint declares no prompts"):
        infer_text(Server("bert-text"), find_text_model(Server("bert-text")), "a", Beside(prompt_name="query"))


class PairServer(Server):
    """Scores every pair by the length of its second text."""

    counter = itertools.count()

    def read_config(self, name):
        config = super().read_config(name)
        if name.endswith("-text"):
            config.max_batch_size = 0
            del config.input[:], config.output[:]
            for tensor in ("TEXT", "TEXT_PAIR"):
                config.input.add(name=tensor, dims=[-1, 1])
            for tensor in ("LABEL", "SCORE"):
                config.output.add(name=tensor, dims=[-1, 1])
        return config

    def read_statistics(self, name):
        return ModelStatistics(requests=next(self.counter), batch_sizes={})

    def infer(self, name, inputs, outputs, *, priority=0):
        assert inputs["TEXT"].tolist() == [[b"who?"]]
        sizes = np.array([[len(text)] for text in inputs["TEXT_PAIR"].ravel()], np.float32)
        return {"LABEL": np.full(sizes.shape, b"LABEL_0", object), "SCORE": sizes}, 1.5


def test_one_query_is_sent_with_all_of_its_documents():
    server = PairServer("ranker-text")
    model = find_text_model(server)
    assert (model.task, model.has_batch) == ("text-pair-classification", True)
    answer = infer_text(server, model, "who?", Beside(pairs=("abc", "\udcff")))
    assert answer.answer == {
        "pairs": [
            {"text_pair": "abc", "labels": [{"label": "LABEL_0", "score": 3.0}]},
            {"text_pair": "\ufffd", "labels": [{"label": "LABEL_0", "score": 1.0}]},
        ]
    }


class ScoredPairServer(PairServer):
    """Answers a score of each of two labels, as Triton's classification extension has the values of all rows."""

    def read_config(self, name):
        config = super().read_config(name)
        if name.endswith("-text"):
            del config.output[:]
            config.output.add(name="SCORES", dims=[-1, 2], label_filename="labels.txt")
        return config

    def rank_classes(self, name, inputs, output, count, *, priority=0):
        values = [value for text in inputs["TEXT_PAIR"].ravel() for value in (1 / len(text), 1 - 1 / len(text))]
        ranked = sorted(enumerate(values), key=lambda entry: -entry[1])[:count]
        names = {0: "no", 1: "yes"}
        return [(index, names.get(index, str(index)), value) for index, value in ranked], 1.5


def test_scores_of_several_pairs_get_the_names_that_the_first_has():
    server = ScoredPairServer("ranker-text")
    model = find_text_model(server)
    assert (model.task, model.outputs, model.labels) == ("text-pair-classification", ("SCORES",), 2)
    answer = infer_text(server, model, "who?", Beside(pairs=("abcd", "x")))
    assert answer.answer["pairs"] == [
        {"text_pair": "abcd", "labels": [{"label": "yes", "score": 0.75}, {"label": "no", "score": 0.25}]},
        {"text_pair": "x", "labels": [{"label": "no", "score": 1.0}, {"label": "yes", "score": 0.0}]},
    ]


@pytest.mark.parametrize(
    ("server", "beside", "message", "hint"),
    [
        (
            PairServer("a-text"),
            Beside(),
            "a-text scores a text together with another, and no pair was given",
            'a query"',
        ),
        (
            PairServer("a-text"),
            Beside("x", ("y",)),
            "a-text takes TEXT and TEXT_PAIR, and a context was given",
            "leave",
        ),
        (Server("a-text"), Beside(pairs=("y",)), "a-text takes a text alone, and a pair was given", "leave --pair out"),
    ],
)
def test_what_does_not_fit_beside_a_text_is_refused(server, beside, message, hint):
    with pytest.raises(SpecError) as caught:
        infer_text(server, find_text_model(server), "who?", beside)
    assert caught.value.message == message
    assert hint in caught.value.hint


def test_too_many_pairs_are_refused_with_the_flag_to_give_less_often():
    class Full(Server):
        def read_statistics(self, name):
            return ModelStatistics(requests=0, batch_sizes={})

        def infer(self, name, inputs, outputs, *, priority=0):
            raise RefusedRequestError(name, "the request has 20 pairs, and the model takes 16 at once: send at most 16")

    with pytest.raises(ServerError, match="takes 16 at once") as caught:
        infer_text(Full("bert-text"), find_text_model(Full("bert-text")), "a")
    assert caught.value.hint == "give no more --pair at once than it says"
