"""What `prep client` answers."""

import statistics
from typing import Any, assert_never

from prep_triton.artifact import Record
from prep_triton.cli.output import Output
from prep_triton.tasks import Task
from prep_triton.triton.server.infer import TextAnswer

SHOWN_VALUES = 6
SHOWN_CHARACTERS = 120


class RefusedText(Record):
    """A text that got no answer: which one, counted from 1, and why."""

    number: int
    text: str
    message: str


class ClientDocument(Record):
    """An answer for each text, in order; `failures` are those without, and `unsent` counts what was not sent any more.

    A single text that is refused is an error instead.
    """

    answers: tuple[TextAnswer, ...]
    failures: tuple[RefusedText, ...] = ()
    unsent: int = 0


class SnippetDocument(Record):
    """Client code for a model: a whole program of its language, which sends one request."""

    model: str
    language: str
    code: str


def render_snippet(out: Output, document: SnippetDocument) -> None:
    """Print the code alone, for a file."""
    out.line(document.code.rstrip("\n"))


def render_client(out: Output, document: ClientDocument) -> None:
    """Print the answer to one text in full, and of several a row each; with -v all in full."""
    answers, sent = document.answers, len(document.answers) + len(document.failures)
    if sent == 1 or out.verbose:
        for answer in answers:
            render_answer(out, answer)
    if sent == 1:
        return
    rows = [
        (
            _shortened(answer.text),
            "; ".join(describe_answer(answer.task, answer.answer)),
            f"{answer.total_ms:.2f}",
            "" if answer.cut_at_tokens is None else f"at {answer.cut_at_tokens} tokens",
        )
        for answer in answers
    ]
    out.table("", ("text", "answer", "#ms", "=cut"), rows)
    if answers:
        times = [answer.total_ms for answer in answers]
        median = f"median {statistics.median(times):.2f} ms, largest {max(times):.2f} ms"
        out.line(
            f"{len(answers)} of {sent + document.unsent} texts answered by {answers[0].model}: {median}", style="bold"
        )


def render_answer(out: Output, answer: TextAnswer) -> None:
    """Print one answer and its times."""
    out.line(_shortened(answer.text), style="bold")
    if answer.prompt_name is not None:
        out.line(f"  behind the prompt {answer.prompt_name}")
    if answer.context is not None:
        out.line(f"  in: {_shortened(answer.context)}")
    for line in describe_answer(answer.task, answer.answer):
        out.line(f"  {line}")
    if answer.cut_at_tokens is not None:
        out.line(f"  cut: the model reads {answer.cut_at_tokens} tokens, and not the rest of this text", style="yellow")
    others = max(step.requests for step in answer.steps) > 1
    shared = "; others sent requests meanwhile, so the steps are means over all" if others else ""
    out.line(f"  {answer.total_ms:.2f} ms from {answer.model}{shared}")
    columns = ("=step", "#queue", "#compute input", "#compute", "#compute output")
    parts = ("queue_us", "compute_input_us", "compute_infer_us", "compute_output_us")
    rows = []
    for step in answer.steps:
        cached = " (response cache)" if step.cache_hits else ""
        rows.append([f"  {step.model}{cached}", *(format_us(getattr(step, part)) for part in parts)])
    out.table("", columns, rows)


def describe_answer(task: Task, answer: dict[str, Any]) -> list[str]:
    """Say an answer in lines for a person."""
    match task:
        case "feature-extraction" | "sentence-embedding":
            values = answer["embedding"]
            shown = ", ".join(f"{value:.4f}" for value in values[:SHOWN_VALUES])
            return [f"embedding of {len(values)} values: {shown}{', …' if len(values) > SHOWN_VALUES else ''}"]
        case "text-classification":
            return [f"{label['score']:.4f}  {label['label']}" for label in answer["labels"]]
        case "text-pair-classification":
            return _describe_pairs(answer["pairs"])
        case "token-classification":
            lines = [
                f"{entity['score']:.4f}  {entity['label']:<8} {entity['text']} ({entity['start']} to {entity['end']})"
                for entity in answer["entities"]
            ]
            return lines or ["no entities"]
        case "fill-mask":
            masks = [", ".join(map(_describe_token, ranked)) for ranked in answer["masks"]]
            return [f"mask {index}: {line}" for index, line in enumerate(masks, 1)] or ["the text has no mask token"]
        case "question-answering":
            place = f"characters {answer['start']} to {answer['end']}"
            return [answer["answer"], f"score {answer['score']:.4f}, {place}"]
        case _:
            assert_never(task)


def _describe_pairs(pairs: list[dict[str, Any]]) -> list[str]:
    """Say a line for each pair: of scores the best document first, of classes in the order of the request."""
    if all(len(pair["labels"]) == 1 for pair in pairs):
        ranked = sorted(pairs, key=lambda pair: -pair["labels"][0]["score"])
        return [f"{pair['labels'][0]['score']:.4f}  {_shortened(pair['text_pair'])}" for pair in ranked]
    return [
        f"{_shortened(pair['text_pair'])}: "
        + ", ".join(f"{label['label']} {label['score']:.4f}" for label in pair["labels"])
        for pair in pairs
    ]


def _describe_token(token: dict[str, Any]) -> str:
    """Say a token's text, in quotes where a space belongs to it.

    Bytes that are no character by themselves all look alike, and an older entry has no text: the vocabulary's form.
    """
    text = token["token"] if token["text"] is None or "\ufffd" in token["text"] else token["text"]
    return f"{text if text and text == text.strip() else repr(text)} {token['score']:.4f}"


def format_us(value: float | None) -> str:
    """Render microseconds for a person: ``85 us``, ``12.40 ms``; a dash for None."""
    if value is None:
        return "-"
    return f"{value:.0f} us" if value < 1000 else f"{value / 1000:.2f} ms"


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_CHARACTERS else f"{line[:SHOWN_CHARACTERS]}… ({len(text)} characters)"
