"""`prep client`: text to a running Triton, its answers and the time they took."""

import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prep_triton.cli.choices import complete
from prep_triton.cli.completions import complete_text_entry
from prep_triton.cli.groups import expand_groups
from prep_triton.cli.options import OutputOptions
from prep_triton.cli.output import session
from prep_triton.errors import EXIT_FAILED, ServerError, SpecError, suggest
from prep_triton.tasks import TASKS

if TYPE_CHECKING:
    from prep_triton.cli.documents.client import ClientDocument
    from prep_triton.cli.output import Output
    from prep_triton.triton.server.client import TritonClient
    from prep_triton.triton.server.infer import Beside, TextModel

STDIN = "-"
EXAMPLE = "Who wrote the letter?"
EXAMPLE_CONTEXT = "The letter was written by Ada."


@dataclass(frozen=True)
class RequestOptions:
    """What each request holds."""

    model: Annotated[
        str | None,
        typer.Option(help="The text model. [the only …-text that is loaded]", autocompletion=complete_text_entry),
    ] = None
    question: Annotated[str | None, typer.Option(help="The question for question-answering; TEXT does as well.")] = None
    context: Annotated[str | None, typer.Option(help="The text that answers the question.")] = None
    pair: Annotated[
        list[str] | None,
        typer.Option(
            help="A text to score together with TEXT, such as a document for a query; again for more of them, in one "
            "request. - reads one a line from stdin.",
            metavar="TEXT",
        ),
    ] = None
    prompt_name: Annotated[
        str | None,
        typer.Option(help="Which of an embedder's prompts to put before each TEXT, such as query. [its default]"),
    ] = None
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
    snippet: Annotated[
        str | None,
        typer.Option(
            help="Print client code for the model instead: {snippets}.",
            metavar="LANGUAGE",
            autocompletion=complete("snippets"),
        ),
    ] = None,
    timeout_s: Annotated[float, typer.Option(min=0.001, max=86400, help="Longest wait for an answer, seconds.")] = 30.0,
    output: OutputOptions = OutputOptions(),
) -> None:
    """Send text to a running Triton; show its answers and times.

    Shows how long each step of the ensemble took; of several texts a table, and the steps with -v. A request before the
    first is not counted: it warms the server up. A text that is refused is named, and the others are answered.

    \b
    Examples:
      prep client "A happy person."
      prep client "Who wrote it?" --context "The letter was written by Ada." --model qa-onnx-fp32-text
      prep client "How old is the ship?" --prompt-name query
      prep client "Who wrote it?" --pair "Ada wrote the letter." --pair "The letter is blue."
      cat documents.txt | prep client "Who wrote it?" --pair - --json
      cat lines.txt | prep client - --server 10.0.0.7:8001 --json
      prep client --snippet python > client.py
    """
    with session(output) as out:
        from prep_triton.cli.documents.client import render_client, render_snippet
        from prep_triton.triton.server.client import TritonClient, grpc_address_from_url
        from prep_triton.triton.server.infer import find_text_model, warm_up

        beside = _gather_beside(texts or [], request)
        is_bare = snippet and not (texts or request.question)
        lines = [] if is_bare else _gather_texts(texts or [], request.question)
        address = grpc_address_from_url(server)
        with TritonClient(address, timeout_s=timeout_s) as connection:
            model = find_text_model(connection, request.model)
            if snippet:
                out.show(make_snippet(snippet, address, model, lines, beside), render_snippet)
                return
            warm_up(connection, model, lines[0], beside)
            document = _infer_all(out, Target(connection, model, beside, request.priority), lines)
        out.show(document, render_client)
    if document.failures:
        raise typer.Exit(EXIT_FAILED)


@dataclass(frozen=True)
class Target:
    """Where every text goes, and what goes with it."""

    connection: "TritonClient"
    model: "TextModel"
    beside: "Beside"
    priority: int


def _infer_all(out: "Output", target: Target, texts: Sequence[str]) -> "ClientDocument":
    """Send every text; one that is refused costs its own answer alone, unless it is the only one.

    Raises:
        ServerError: The only text was refused.
    """
    from prep_triton.cli.documents.client import ClientDocument, RefusedText
    from prep_triton.triton.server.infer import infer_text

    answers, failures, model = [], [], target.model
    with out.progress(f"client {model.name}") as progress:
        for number, text in enumerate(texts, 1):
            if len(texts) > 1:
                progress("sending texts", (number - 1) / len(texts))
            try:
                answers.append(infer_text(target.connection, model, text, target.beside, priority=target.priority))
            except ServerError as err:
                if len(texts) == 1:
                    raise
                shown = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
                failures.append(RefusedText(number=number, text=shown, message=err.message))
                out.message(f"error: text {number}: {err.message}", style="red", level=logging.ERROR)
                if not target.connection.is_loaded(model.name):
                    break  # the others would be refused for the same reason
    unsent = len(texts) - len(answers) - len(failures)
    return ClientDocument(answers=tuple(answers), failures=tuple(failures), unsent=unsent)


def make_snippet(language: str, address: str, model: "TextModel", texts: Sequence[str], beside: "Beside") -> Any:
    """Return the document with client code for a model.

    Raises:
        SpecError: It is not a language that there is code in, or the model does not take what was given.
    """
    from prep_triton.cli.documents.client import SnippetDocument
    from prep_triton.triton.server.infer import check_beside, name_texts
    from prep_triton.triton.server.snippet import LANGUAGES, render_snippet

    if language not in LANGUAGES:
        known = f"choose one of {', '.join(LANGUAGES)}"
        raise SpecError(f"there is no client code in '{language}'", hint=suggest(language, LANGUAGES, otherwise=known))
    example = f"The harbour was {model.mask_token}." if TASKS[model.task].text_form == "masked" else EXAMPLE
    text = texts[0] if texts else example
    if "CONTEXT" in model.inputs and beside.context is None:
        beside = replace(beside, context=EXAMPLE_CONTEXT)
    if "TEXT_PAIR" in model.inputs and not beside.pairs:
        beside = replace(beside, pairs=(EXAMPLE_CONTEXT,))
    check_beside(model, beside)
    named = name_texts(model, text, beside)
    code = render_snippet(language, address, model.name, named, model.outputs, has_batch=model.has_batch)
    return SnippetDocument(model=model.name, language=language, code=code)


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


def _gather_beside(texts: Sequence[str], request: RequestOptions) -> "Beside":
    """Return what goes with every text.

    Raises:
        SpecError: Both are to be read from stdin, or it holds no line.
    """
    from prep_triton.triton.server.infer import Beside

    sources = request.pair or []
    if [*sources, *texts].count(STDIN) > 1:
        raise SpecError(
            "- was given more than once, and stdin is read once", hint="give the texts or the pairs as arguments"
        )
    pairs = tuple(line for pair in sources for line in (_read_lines() if pair == STDIN else [pair]))
    if sources and not pairs:
        raise SpecError("there is no pair to send: stdin has no line", hint='prep client "a query" --pair "a document"')
    return Beside(request.context, pairs, request.prompt_name)


def _read_lines() -> Iterator[str]:
    """Yield stdin's lines that are not blank; bytes that are no UTF-8 stay what they were."""
    for line in sys.stdin.buffer if sys.stdin else ():  # None where it was closed
        text = line.decode("utf-8", "surrogateescape").rstrip("\r\n")
        if text.strip():
            yield text
