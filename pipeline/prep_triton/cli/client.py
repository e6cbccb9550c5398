"""`prep client`: text to a running Triton, its answers and the time they took."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from prep_triton.cli.groups import expand_groups
from prep_triton.cli.options import OutputOptions
from prep_triton.cli.output import session
from prep_triton.errors import SpecError

STDIN = "-"


@dataclass(frozen=True)
class RequestOptions:
    """What each request holds."""

    model: Annotated[str | None, typer.Option(help="The text model. [the only …-text that is loaded]")] = None
    question: Annotated[str | None, typer.Option(help="The question for question-answering; TEXT does as well.")] = None
    context: Annotated[str | None, typer.Option(help="The text that answers the question.")] = None
    priority: Annotated[
        int,
        typer.Option(
            min=0, max=2**64 - 1, help="Priority level of the requests; 1 is the highest, 0 the model's default."
        ),
    ] = 0


@expand_groups
def client(
    texts: Annotated[
        list[str] | None,
        typer.Argument(help="Texts, one request each; - reads one a line from stdin.", metavar="TEXT..."),
    ] = None,
    server: Annotated[str, typer.Option(help="HOST:PORT of the running Triton's gRPC.")] = "localhost:8001",
    request: RequestOptions = RequestOptions(),
    timeout_s: Annotated[float, typer.Option(min=0.001, max=86400, help="Longest wait for an answer, seconds.")] = 30.0,
    output: OutputOptions = OutputOptions(),
) -> None:
    """Send text to a running Triton; show its answers and times.

    Shows how long each step of the ensemble took.

    \b
    Examples:
      prep client "A happy person."
      prep client "Who wrote it?" --context "The letter was written by Ada." --model qa-onnx-fp32-text
      cat lines.txt | prep client - --server 10.0.0.7:8001 --json
    """
    with session(output) as out:
        lines = _gather_texts(texts or [], request.question)
        from prep_triton.cli.documents.client import ClientDocument, render_answer
        from prep_triton.triton.server.client import TritonClient, grpc_address_from_url
        from prep_triton.triton.server.infer import find_text_model, infer_text

        with TritonClient(grpc_address_from_url(server), timeout_s=timeout_s) as connection:
            model = find_text_model(connection, request.model)
            answers = []
            for text in lines:
                answer = infer_text(connection, model, text, context=request.context, priority=request.priority)
                answers.append(answer)
                render_answer(out, answer)  # as it comes, not at the end
        out.document(ClientDocument(answers=tuple(answers)))


def _gather_texts(texts: Sequence[str], question: str | None) -> list[str]:
    """Return what to ask: the arguments, the lines of stdin, or the question.

    Raises:
        SpecError: There is nothing, or a text and a question.
    """
    if question is not None:
        if texts:
            raise SpecError(
                "TEXT and --question exclude each other: both are the question", hint="leave one of them out"
            )
        return [question]
    lines = [line for text in texts for line in (_read_lines() if text == STDIN else [text])]
    if not lines:
        raise SpecError("there is no text to send", hint='prep client "A happy person.", or - for stdin')
    return lines


def _read_lines() -> Iterator[str]:
    """Yield stdin's lines that are not blank; bytes that are no UTF-8 stay what they were."""
    for line in sys.stdin.buffer:
        text = line.decode("utf-8", "surrogateescape").rstrip("\r\n")
        if text.strip():
            yield text
