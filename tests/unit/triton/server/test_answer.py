"""What a text model answers: plain values, or one sentence that says what is not of its form."""

import struct

import numpy as np
import pytest
from prep_triton.errors import ServerError
from prep_triton.triton.server.answer import parse_answer
from prep_triton.triton.server.client import TritonClient
from prep_triton.triton.server.infer import find_text_model, infer_text

from tests.fakes.grpc_triton import serve_answer


def strings(*values):
    return np.array([[value.encode() for value in values]], dtype=object)


@pytest.mark.parametrize(
    ("task", "tensors", "answer"),
    [
        ("feature-extraction", {"EMBEDDING": np.array([[1.0, 2.0]])}, {"embedding": [1.0, 2.0]}),
        ("sentence-embedding", {"EMBEDDING": np.array([[1.0, 2.0]])}, {"embedding": [1.0, 2.0]}),
        (
            "text-classification",
            {"LABEL": strings("süß", "b"), "SCORE": np.array([[0.75, 0.25]])},
            {"labels": [{"label": "süß", "score": 0.75}, {"label": "b", "score": 0.25}]},
        ),
        (
            "token-classification",
            {"ENTITIES": strings('[{"label": "PER", "score": 1, "start": 0, "end": 3, "text": "Ada", "later": 1}]')},
            {"entities": [{"label": "PER", "score": 1.0, "start": 0, "end": 3, "text": "Ada"}]},
        ),
        ("fill-mask", {"TOKENS": strings("[[]]")}, {"masks": [[]]}),
        (
            "fill-mask",
            {"TOKENS": strings('[[{"token": "\u0120a", "text": " a", "score": 0.5}, {"token": "b", "score": 0.25}]]')},
            {
                "masks": [
                    [{"token": "\u0120a", "text": " a", "score": 0.5}, {"token": "b", "text": None, "score": 0.25}]
                ]
            },
        ),
        (
            "question-answering",
            {"ANSWER": strings("Rome"), "SCORE": np.array([0.5]), "START": np.array([3]), "END": np.array([7])},
            {"answer": "Rome", "score": 0.5, "start": 3, "end": 7},
        ),
    ],
)
def test_tensors_become_plain_values(task, tensors, answer):
    assert parse_answer(task, tensors) == answer


@pytest.mark.parametrize(
    ("task", "tensors"),
    [
        ("feature-extraction", {}),
        ("text-classification", {"LABEL": strings("a"), "SCORE": np.array([1.0, 2.0])}),
        ("token-classification", {"ENTITIES": strings("[")}),
        ("fill-mask", {"TOKENS": np.array([], dtype=object)}),
        ("question-answering", {"ANSWER": np.array([1.5])}),
        ("feature-extraction", {"EMBEDDING": np.array([[np.nan, 1.0]])}),
        ("feature-extraction", {"EMBEDDING": np.zeros((1, 0))}),
        ("feature-extraction", {"EMBEDDING": strings("abc")}),
        ("text-classification", {"LABEL": np.array([1.0]), "SCORE": np.array([1.0])}),
        ("text-classification", {"LABEL": np.array([b"\xff"], dtype=object), "SCORE": np.array([1.0])}),
        ("text-classification", {"LABEL": strings("a"), "SCORE": strings("b")}),
        ("token-classification", {"ENTITIES": strings('[{"a": 1}]')}),
        ("token-classification", {"ENTITIES": strings("{}")}),
        ("token-classification", {"ENTITIES": strings("null")}),
        ("token-classification", {"ENTITIES": strings("[" * 100_000)}),
        ("token-classification", {"ENTITIES": strings("9" * 5000)}),
        ("token-classification", {"ENTITIES": np.array([1.0])}),
        ("fill-mask", {"TOKENS": strings("5")}),
        ("text-pair-classification", {"LABEL": np.array([[b"a"]], object), "SCORE": np.array([[0.5]])}),
        ("fill-mask", {"TOKENS": strings('[[{"token": 1, "score": 1.0}]]')}),
        ("fill-mask", {"TOKENS": strings('[[{"token": "a", "score": NaN}]]')}),
        (
            "question-answering",
            {"ANSWER": strings("a"), "SCORE": np.array([0.5]), "START": np.array([0.5]), "END": np.array([1])},
        ),
    ],
)
def test_tensors_of_another_form_are_refused(task, tensors):
    with pytest.raises(ServerError, match=f"is not of the form of {task}") as caught:
        parse_answer(task, tensors)
    assert "assemble" in caught.value.hint
    assert len(caught.value.message) < 600


def text_bytes(value: bytes) -> bytes:
    return struct.pack("<I", len(value)) + value


@pytest.mark.parametrize(
    ("name", "datatype", "shape", "raw", "reason"),
    [
        ("EMBEDDING", "FP32", [1, 384], b"\0\0", "that cannot be read"),
        ("EMBEDDING", "FP32", [1, 384], b"\0" * 8, "that cannot be read"),
        ("EMBEDDING", "FP32", [1, 2**40], b"\0" * 8, "that cannot be read"),
        ("EMBEDDING", "FP32", [1, 2**62, 2**62], b"", "that cannot be read"),
        ("EMBEDDING", "FP32", [1, -1], b"\0" * 8, "its shape is [1, -1]"),
        ("EMBEDDING", "FP99\x1b[31m", [1, 1], b"\0" * 8, r"its type is 'FP99\x1b[31m'"),
        ("EMBEDDING", "BYTES", [1, 1], text_bytes(b"abc"), "is not of the form of feature-extraction"),
        ("ENTITIES", "BYTES", [1, 1], text_bytes(b"abc")[:5], "that cannot be read"),
        ("ENTITIES", "BYTES", [1, 1], struct.pack("<I", 2**31) + b"abc", "that cannot be read"),
        ("ENTITIES", "BYTES", [1, 2], text_bytes(b"[]"), "that cannot be read"),
        ("ENTITIES", "BYTES", [1, 1], text_bytes(b'[{"a": 1}]'), "entities.0.label: field required"),
        ("TOKENS", "BYTES", [1, 1], text_bytes(b"5"), "masks: input should be a valid list (got 5)"),
        (None, "FP32", [1, 1], b"", "it is not in the answer"),
    ],
)
def test_an_answer_of_another_form_is_a_sentence(name, datatype, shape, raw: bytes, reason: str):
    """As a server of another team, or a proxy, gives it, over the real protocol."""
    with serve_answer(name, datatype, shape, raw) as address, TritonClient(address, timeout_s=5) as client:
        model = find_text_model(client)
        with pytest.raises(ServerError) as caught:
            infer_text(client, model, "hello")
    assert reason in caught.value.message
    assert len(caught.value.message) < 600
