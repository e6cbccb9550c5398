"""Sends a text to a running server, and says where the time went."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from prep_triton.artifact import Record
from prep_triton.errors import ServerError, SpecError, find_nearest
from prep_triton.tasks import MASK_TOKEN, PROMPT_NAME, SCORES, TASKS, Task, find_task
from prep_triton.triton.server.answer import parse_answer
from prep_triton.triton.server.batch_axis import has_batch_axis
from prep_triton.triton.server.client import TIMED_OUT, RefusedRequestError, TritonClient
from prep_triton.triton.server.mask_token import find_mask_token
from prep_triton.triton.server.statistics import ModelStatistics, wait_for_statistics
from prep_triton.triton.server.truncation import find_cut

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

log = logging.getLogger(__name__)

TEXT_SUFFIX = "-text"


class StepLatency(Record):
    """The time of one model of the ensemble: means over its requests while the text was answered, microseconds.

    `requests` is 1 where nobody else used the server meanwhile. A time is None where nothing was computed: the
    response cache answered.
    """

    model: str
    requests: int
    cache_hits: int
    queue_us: float | None
    compute_input_us: float | None
    compute_infer_us: float | None
    compute_output_us: float | None


class TextAnswer(Record):
    """What a server answered to one text.

    `prompt_name` is that of the prompt that was asked for, None for the default. `answer` holds, by task:
    ``embedding`` (list of values); ``labels`` (list of {label, score}); ``pairs`` (for each second text, in the order
    in which they were sent, its ``text_pair`` and ``labels``); ``entities`` (list of {label, score, start, end, text});
    ``masks`` (for each [MASK] a list of {token, text, score}); or ``answer``, ``score``, ``start`` and ``end``.
    `cut_at_tokens` is how many tokens of the text, or of a pair, the model reads, where there are more; None where it
    reads all of it, or the server does not tell. `total_ms` is what the client saw; `steps` are in the order in which
    the ensemble calls them.
    """

    model: str
    task: Task
    text: str
    context: str | None = None
    prompt_name: str | None = None
    answer: dict[str, Any]
    cut_at_tokens: int | None = None
    total_ms: float
    steps: tuple[StepLatency, ...]


@dataclass(frozen=True)
class TextModel:
    """An ensemble that takes text.

    `labels` is how many values its first output has, where that is known; `takes_prompt`: a request may name one of
    its checkpoint's prompts; `mask_token` is what a text for fill-mask has.
    """

    name: str
    task: Task
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    steps: tuple[str, ...]
    has_batch: bool
    labels: int = 0
    takes_prompt: bool = False
    mask_token: str = MASK_TOKEN


def find_text_model(client: TritonClient, name: str | None = None) -> TextModel:
    """Return the ensemble of a name, or the only ``…-text`` that the server has loaded.

    Raises:
        SpecError: The server has not loaded it.
        ServerError: The server cannot be reached, has none or several, or it takes no text.
    """
    client.server_version()
    loaded = client.list_loaded()
    texts = [entry for entry in loaded if entry.endswith(TEXT_SUFFIX)]
    listed = ", ".join(texts)
    if name is None:
        if len(texts) != 1:
            raise ServerError(
                f"the server at {client.address} has loaded {len(texts) or 'no'} models that take text"
                + (f": {listed}" if texts else f" (it has {', '.join(loaded) or 'nothing'})"),
                hint="say which with --model" if texts else "assemble the model with text: true, and load it",
            )
        name = texts[0]
    if name not in loaded:
        raise SpecError(
            f"the server at {client.address} has not loaded {name}; models there that take text: {listed or 'none'}",
            hint=_suggest_model(name, texts) if texts else "load it, or see the server's log for why it was refused",
        )
    model = _text_model_from_config(client.read_config(name), texts)
    if TASKS[model.task].text_form != "masked":
        return model
    return replace(model, mask_token=find_mask_token(map(client.read_config, model.steps)))


def _suggest_model(name: str, texts: Sequence[str]) -> str:
    """Return a hint that names the text model that was meant, or else one that there is."""
    begun = [text for text in texts if text.startswith(name)]
    nearest = begun[0] if len(begun) == 1 else next(iter(find_nearest(name, texts)), texts[0])
    return f"say --model {nearest}"


def _text_model_from_config(config: "ModelConfig", texts: Sequence[str]) -> TextModel:
    inputs = tuple(tensor.name for tensor in config.input if tensor.name != PROMPT_NAME)
    outputs = tuple(tensor.name for tensor in config.output)
    task = find_task(inputs, outputs)
    if task is None:
        own = f"{config.name}{TEXT_SUFFIX}"
        nearest = own if own in texts or not texts else texts[0]
        raise ServerError(
            f"{config.name} is not a text model built by prep: it takes {', '.join(inputs)} and answers "
            f"{', '.join(outputs)}",
            hint=f"say --model {nearest}" if texts else f"assemble it with text: true, which makes {own}; name that",
        )
    steps = tuple(dict.fromkeys(step.model_name for step in config.ensemble_scheduling.step))
    return TextModel(
        name=config.name,
        task=task,
        inputs=inputs,
        outputs=outputs,
        steps=steps or (config.name,),
        has_batch=has_batch_axis(config),
        labels=next(reversed(config.output[0].dims), 0),  # of another server there may be no dims
        takes_prompt=any(tensor.name == PROMPT_NAME for tensor in config.input),
    )


@dataclass(frozen=True)
class Beside:
    """What is sent beside a text.

    A question has a `context`; each of `pairs` is scored together with the text; `prompt_name` says which of the
    model's prompts is put before it, None its default.
    """

    context: str | None = None
    pairs: tuple[str, ...] = ()
    prompt_name: str | None = None


def infer_text(
    client: TritonClient, model: TextModel, text: str, beside: Beside = Beside(), *, priority: int = 0
) -> TextAnswer:
    """Send one text and return the answer with the time of every step.

    Args:
        client: The server.
        model: From `find_text_model`.
        text: The text, the question about a context, or the first text of every pair. What of it is not UTF-8 goes to
            the server as it was (`surrogateescape`, as in ``sys.argv``).
        beside: What the model takes beside it.
        priority: The request's priority level, 1 is the highest; 0 takes the default.

    Raises:
        SpecError: A context or a pair is missing, or these or a prompt mean nothing to this model.
        ServerError: The model refused the text; carries its own words.
    """
    check_beside(model, beside)
    texts = name_texts(model, text, beside)
    if priority:
        _warn_of_priority(client, model, priority)
    before = {step: client.read_statistics(step) for step in model.steps}
    tensors = {name: _tensor(values, has_batch=model.has_batch) for name, values in texts.items()}
    try:
        outputs, total_ms = _infer(client, model, tensors, priority)
    except RefusedRequestError as err:
        message = err.server_message.removeprefix(f"in ensemble '{model.name}', ")
        raise ServerError(
            f"{model.name} refused it: {message}",
            hint=_hint_to_refusal(message),
        ) from err
    return TextAnswer(
        model=model.name,
        task=model.task,
        text=_readable(text),
        context=None if beside.context is None else _readable(beside.context),
        prompt_name=beside.prompt_name,
        answer=parse_answer(model.task, outputs, [_readable(pair) for pair in beside.pairs]),
        total_ms=total_ms,
        steps=tuple(_latency_of(step, client, before[step]) for step in model.steps),
        cut_at_tokens=find_cut(client, model.steps[0], tensors) if len(model.steps) > 1 else None,
    )


def _infer(
    client: TritonClient, model: TextModel, tensors: dict[str, Any], priority: int
) -> tuple[dict[str, Any], float]:
    """Send a request; of scores in the order of their labels, ask for the names of these too.

    Returns:
        Outputs by name, of scores LABEL and SCORE [rows, labels], best first; and the time it took in ms.
    """
    if model.outputs != (SCORES.name,):
        return client.infer(model.name, tensors, model.outputs, priority=priority)
    import numpy as np

    # The rows of pairs are no batch to the server: it ranks the values of all of them together.
    rows = max(len(values) for values in tensors.values()) if TASKS[model.task].takes_pairs else 1
    ranked, total_ms = client.rank_classes(model.name, tensors, SCORES.name, rows * model.labels, priority=priority)
    names = {index: label.encode() for index, label, _ in ranked if index < model.labels}
    by_row = [[entry for entry in ranked if entry[0] // model.labels == row] for row in range(rows)]
    labels = [[names.get(index % model.labels, b"") for index, _, _ in entries] for entries in by_row]
    scores = [[score for _, _, score in entries] for entries in by_row]
    return {"LABEL": np.array(labels, np.object_), "SCORE": np.array(scores, np.object_)}, total_ms


def _hint_to_refusal(message: str) -> str:
    if message.startswith(TIMED_OUT):
        return "allow more time with --timeout-s"
    if PROMPT_NAME in message:
        return "write the name of one of them after --prompt-name"
    if "send at most" in message:
        return "give no more --pair at once than it says"
    return "change the text as it says; the server's log says more"


def check_beside(model: TextModel, beside: Beside) -> None:
    """Refuse what the model does not take beside a text, and a text alone where it takes something beside it.

    Raises:
        SpecError: It does not fit the model.
    """
    for name, is_sent, what, needs, example in (
        ("CONTEXT", beside.context is not None, "context", "answers a question about a context",
         'prep client "a question" --context "where the answer stands"'),
        ("TEXT_PAIR", bool(beside.pairs), "pair", "scores a text together with another",
         'prep client "a query" --pair "a document"'),
    ):  # fmt: skip
        if is_sent and name not in model.inputs:
            takes = " and ".join(model.inputs) if len(model.inputs) > 1 else "a text alone"
            raise SpecError(f"{model.name} takes {takes}, and a {what} was given", hint=f"leave --{what} out")
        if name in model.inputs and not is_sent:
            raise SpecError(f"{model.name} {needs}, and no {what} was given", hint=example)


def name_texts(model: TextModel, text: str, beside: Beside) -> dict[str, list[str]]:
    """Return what a request sends, by the name of the input: one text stands beside each of several pairs.

    Raises:
        SpecError: The model has no prompts to name.
    """
    if beside.prompt_name is not None and not model.takes_prompt:
        raise SpecError(
            f"{model.name} has no input {PROMPT_NAME}: its checkpoint declares no prompts",
            hint="leave --prompt-name out",
        )
    texts = {"TEXT": [text], "QUESTION": [text], "CONTEXT": [beside.context or ""], "TEXT_PAIR": [*beside.pairs]}
    named = {} if beside.prompt_name is None else {PROMPT_NAME: [beside.prompt_name]}
    return named | {name: texts[name] for name in model.inputs}


def warm_up(client: TritonClient, model: TextModel, text: str, beside: Beside = Beside()) -> None:
    """Send a request that nobody measures: the first one after a start or a pause takes longer than the rest.

    It is the text backwards, which has as many words and is not in the server's response cache. What comes of it does
    not matter: the text itself may be refused with more right.

    Raises:
        SpecError: As `infer_text`.
    """
    words = text.split()[::-1]
    with suppress(ServerError):
        backwards = " ".join(words if len(words) > 1 else words * 2)
        infer_text(client, model, backwards, beside)


def _warn_of_priority(client: TritonClient, model: TextModel, priority: int) -> None:
    """Say where a priority has no effect: a step without that level takes its own default (see `tiers`)."""
    levels = {step: client.read_config(step).dynamic_batching.priority_levels for step in model.steps}
    ranked = [step for step, most in levels.items() if most >= priority]
    if not ranked:
        log.warning("priority %d has no effect: %s has no such level", priority, " and ".join(model.steps))
    elif len(model.steps) > 1:
        log.info(
            "priority %d reaches %s alone, and on older servers no step of an ensemble", priority, ", ".join(ranked)
        )


def _tensor(texts: Sequence[str], *, has_batch: bool) -> Any:
    import numpy as np

    array = np.array([text.encode("utf-8", "surrogateescape") for text in texts], dtype=object)
    return array.reshape(-1, 1) if has_batch else array


def _readable(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _latency_of(step: str, client: TritonClient, before: ModelStatistics) -> StepLatency:
    since = wait_for_statistics(lambda: client.read_statistics(step), before, 1)
    return StepLatency(model=step, requests=since.requests, cache_hits=since.cache_hits, **since.mean_us())
