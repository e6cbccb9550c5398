"""How an answer is shown to a person."""

import pytest
from prep_triton.cli.client import make_snippet
from prep_triton.cli.documents.client import describe_answer, format_us, render_answer
from prep_triton.cli.output import Output
from prep_triton.errors import SpecError
from prep_triton.tasks import Task
from prep_triton.triton.server.infer import Beside, StepLatency, TextAnswer, TextModel


@pytest.mark.parametrize(
    ("task", "answer", "lines"),
    [
        (
            "feature-extraction",
            {"embedding": [0.5] * 8},
            ["embedding of 8 values: 0.5000, 0.5000, 0.5000, 0.5000, 0.5000, 0.5000, …"],
        ),
        ("feature-extraction", {"embedding": [0.25]}, ["embedding of 1 values: 0.2500"]),
        (
            "text-classification",
            {"labels": [{"label": "good", "score": 0.9}, {"label": "bad", "score": 0.1}]},
            ["0.9000  good", "0.1000  bad"],
        ),
        (
            "text-pair-classification",
            {
                "pairs": [
                    {"text_pair": "far", "labels": [{"label": "LABEL_0", "score": -1.5}]},
                    {"text_pair": "near", "labels": [{"label": "LABEL_0", "score": 2.0}]},
                ]
            },
            ["2.0000  near", "-1.5000  far"],
        ),
        (
            "text-pair-classification",
            {"pairs": [{"text_pair": "b", "labels": [{"label": "yes", "score": 0.9}, {"label": "no", "score": 0.1}]}]},
            ["b: yes 0.9000, no 0.1000"],
        ),
        (
            "token-classification",
            {"entities": [{"label": "PER", "score": 0.9, "start": 0, "end": 3, "text": "Ada"}]},
            ["0.9000  PER      Ada (0 to 3)"],
        ),
        ("token-classification", {"entities": []}, ["no entities"]),
        (
            "fill-mask",
            {"masks": [[{"token": "is", "text": "is", "score": 0.5}, {"token": "was", "text": None, "score": 0.25}]]},
            ["mask 1: is 0.5000, was 0.2500"],
        ),
        (
            "fill-mask",
            {
                "masks": [
                    [
                        {"token": "\u0120sky", "text": " sky", "score": 0.5},
                        {"token": "\u2581", "text": "", "score": 0.2},
                    ]
                ]
            },
            ["mask 1: ' sky' 0.5000, '' 0.2000"],
        ),
        ("fill-mask", {"masks": [[{"token": "\u00c3", "text": "\ufffd", "score": 0.5}]]}, ["mask 1: \u00c3 0.5000"]),
        ("fill-mask", {"masks": []}, ["the text has no mask token"]),
        (
            "question-answering",
            {"answer": "Rome", "score": 0.5, "start": 3, "end": 7},
            ["Rome", "score 0.5000, characters 3 to 7"],
        ),
    ],
)
def test_every_task_has_its_lines(task: Task, answer: dict, lines: list[str]):
    assert describe_answer(task, answer) == lines


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (84.6, "85 us"), (999.4, "999 us"), (12_400.0, "12.40 ms")])
def test_microseconds_for_a_person(value: float | None, text: str):
    assert format_us(value) == text


def step(model: str, **more) -> StepLatency:
    times = dict.fromkeys(("queue_us", "compute_input_us", "compute_infer_us", "compute_output_us"), 10.0)
    return StepLatency(**{"model": model, "requests": 1, "cache_hits": 0, **times, **more})


def test_an_answer_is_shown_with_the_time_of_each_step(capsys: pytest.CaptureFixture[str]):
    answer = TextAnswer(
        model="m-text",
        task="feature-extraction",
        text="a text\nof two lines " + "x" * 200,
        context="where",
        answer={"embedding": [1.0]},
        total_ms=3.21,
        steps=(step("m-tokenizer"), step("m", requests=3, cache_hits=1, compute_infer_us=None)),
    )
    render_answer(Output(as_json=False, verbose=0), answer)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0].startswith("a text of two lines xxx")
    assert lines[0].endswith("… (220 characters)")
    assert lines[1:4] == [
        "in: where",
        "embedding of 1 values: 1.0000",
        "3.21 ms from m-text; others sent requests meanwhile, so the steps are means over all",
    ]
    assert lines[4] == "step queue compute input compute compute output"
    assert lines[-2:] == ["m-tokenizer 10 us 10 us 10 us 10 us", "m (response cache) 10 us 10 us - 10 us"]


@pytest.mark.parametrize("beside", [Beside(pairs=("b",)), Beside(context="b")])
def test_code_that_leaves_out_what_was_given_is_not_written(beside: Beside):
    model = TextModel("a-text", "text-classification", ("TEXT",), ("LABEL", "SCORE"), ("a",), has_batch=True)
    with pytest.raises(SpecError, match=r"a-text takes a text alone, and a (pair|context) was given"):
        make_snippet("curl", "localhost:8001", model, ["a"], beside)


def test_code_for_pairs_has_those_that_were_given_or_an_example():
    model = TextModel("a-text", "text-pair-classification", ("TEXT", "TEXT_PAIR"), ("SCORE",), ("a",), has_batch=False)
    given = make_snippet("curl", "localhost:8001", model, ["a"], Beside(pairs=("b", "c")))
    assert '"data": ["b", "c"]' in given.code
    assert '"name": "TEXT_PAIR"' in make_snippet("curl", "localhost:8001", model, [], Beside()).code
