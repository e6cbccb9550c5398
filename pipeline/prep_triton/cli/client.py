"""`prep client`: a text to a running server, the answer and the time it took."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, assert_never

import typer

from prep_triton.cli.groups import expand_groups
from prep_triton.cli.options import OutputOptions
from prep_triton.cli.output import Output, session
from prep_triton.errors import SpecError
from prep_triton.tasks import MASK_TOKEN, Task

if TYPE_CHECKING:
    from prep_triton.triton.server.infer import TextAnswer

STDIN = "-"
SHOWN_VALUES = 6
SHOWN_CHARACTERS = 120


@dataclass(frozen=True)
class RequestOptions:
    """What each request holds."""

    model: Annotated[
        str | None, typer.Option(help="The text model to ask; by default the only …-text that is loaded.")
    ] = None
    question: Annotated[str | None, typer.Option(help="The question, for question-answering; or write it as TEXT.")] = (
        None
    )
    context: Annotated[str | None, typer.Option(help="Where the answer to a question stands.")] = None
    priority: Annotated[
        int,
        typer.Option(
            min=0, max=2**64 - 1, help="The requests' priority level: 1 is the highest, 0 the model's default."
        ),
    ] = 0


@expand_groups
def client(
    texts: Annotated[
        list[str] | None,
        typer.Argument(help="Texts, each a request of its own; - takes one a line from stdin.", metavar="TEXT..."),
    ] = None,
    server: Annotated[str, typer.Option(help="The running Triton's gRPC address (host:port).")] = "localhost:8001",
    request: RequestOptions = RequestOptions(),
    timeout_s: Annotated[
        float, typer.Option(min=0.001, max=86400, help="How long an answer may take, seconds.")
    ] = 30.0,
    output: OutputOptions = OutputOptions(),
) -> None:
    """Ask a running server about text, and see the answer and where the time went.

    \b
    Examples:
      prep client "A happy person."
      prep client "Who wrote it?" --context "The letter was written by Ada." --model qa-onnx-fp32-text
      cat lines.txt | prep client - --server 10.0.0.7:8001 --json
    """
    with session(output) as out:
        asked = _gather_texts(texts or [], request.question)
        from prep_triton.triton.server.client import TritonClient, grpc_address_from_url
        from prep_triton.triton.server.infer import ask_text, find_text_model

        with TritonClient(grpc_address_from_url(server), timeout_s=timeout_s) as connection:
            found = find_text_model(connection, request.model)
            answers = []
            for text in asked:
                answer = ask_text(connection, found, text, context=request.context, priority=request.priority)
                answers.append(answer)
                tell_answer(out, answer)
        out.document({"answers": [answer.model_dump(mode="json") for answer in answers]})


def _gather_texts(texts: Sequence[str], question: str | None) -> list[str]:
    """Return what to ask: the arguments, the lines of stdin, or the question.

    Raises:
        SpecError: There is nothing, or a text and a question.
    """
    if question is not None:
        if texts:
            raise SpecError("a TEXT and --question were given, and both are the question", hint="leave one of them out")
        return [question]
    found = [line for text in texts for line in (_read_lines() if text == STDIN else [text])]
    if not found:
        raise SpecError("there is no text to ask about", hint='prep client "A happy person.", or - for stdin')
    return found


def _read_lines() -> Iterator[str]:
    """Yield stdin's lines that are not blank; bytes that are no UTF-8 stay what they were."""
    for line in sys.stdin.buffer:
        text = line.decode("utf-8", "surrogateescape").rstrip("\r\n")
        if text.strip():
            yield text


def tell_answer(out: Output, answer: "TextAnswer") -> None:
    """Print one answer and its times."""
    out.line(_shortened(answer.text), style="bold")
    if answer.context is not None:
        out.line(f"  in: {_shortened(answer.context)}")
    for line in describe_answer(answer.task, answer.answer):
        out.line(f"  {line}")
    others = max(step.requests for step in answer.steps) > 1
    shared = "; others asked meanwhile, so the steps are means over all" if others else ""
    out.line(f"  {answer.total_ms:.2f} ms from {answer.model}{shared}")
    columns = ("step", "#queue", "#compute input", "#compute", "#compute output")
    parts = ("queue_us", "compute_input_us", "compute_infer_us", "compute_output_us")
    rows = []
    for step in answer.steps:
        cached = " (response cache)" if step.cache_hits else ""
        rows.append([f"  {step.model}{cached}", *(format_us(getattr(step, part)) for part in parts)])
    out.table("", columns, rows)


def describe_answer(task: Task, answer: dict[str, Any]) -> list[str]:
    """Say an answer in lines for a person."""
    match task:
        case "feature-extraction":
            values = answer["embedding"]
            shown = ", ".join(f"{value:.4f}" for value in values[:SHOWN_VALUES])
            return [f"embedding of {len(values)} values: {shown}{', …' if len(values) > SHOWN_VALUES else ''}"]
        case "text-classification":
            return [f"{label['score']:.4f}  {label['label']}" for label in answer["labels"]]
        case "token-classification":
            lines = [
                f"{entity['score']:.4f}  {entity['label']:<8} {entity['text']} ({entity['start']} to {entity['end']})"
                for entity in answer["entities"]
            ]
            return lines or ["no entities"]
        case "fill-mask":
            masks = [", ".join(map(_describe_token, ranked)) for ranked in answer["masks"]]
            return [f"mask {index}: {line}" for index, line in enumerate(masks, 1)] or [f"the text has no {MASK_TOKEN}"]
        case "question-answering":
            place = f"characters {answer['start']} to {answer['end']}"
            return [answer["answer"], f"score {answer['score']:.4f}, {place}"]
        case _:
            assert_never(task)


def _describe_token(token: dict[str, Any]) -> str:
    return f"{token['token']} {token['score']:.4f}"


def format_us(value: float | None) -> str:
    """Render microseconds for a person: ``85 us``, ``12.40 ms``; a dash for None."""
    if value is None:
        return "-"
    return f"{value:.0f} us" if value < 1000 else f"{value / 1000:.2f} ms"


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_CHARACTERS else f"{line[:SHOWN_CHARACTERS]}… ({len(text)} characters)"
