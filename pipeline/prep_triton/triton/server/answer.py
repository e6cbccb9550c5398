"""What a text model answers, checked: any server may stand behind an address."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, assert_never

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from prep_triton.errors import ServerError
from prep_triton.quoting import show_value
from prep_triton.tasks import Task


class _Answer(BaseModel):
    """Base of every answer: nothing is converted, and keys of a later version are let be."""

    model_config = ConfigDict(strict=True, extra="ignore")


class _Label(_Answer):
    label: str
    score: FiniteFloat


class _Entity(_Label):
    start: int
    end: int
    text: str


class _Token(_Answer):
    token: str
    text: str | None = None  # entries of an older prep do not say it
    score: FiniteFloat


class _Embedding(_Answer):
    embedding: Annotated[list[FiniteFloat], Field(min_length=1)]


class _Labels(_Answer):
    labels: Annotated[list[_Label], Field(min_length=1)]


class _Pair(_Labels):
    text_pair: str


class _Pairs(_Answer):
    pairs: Annotated[list[_Pair], Field(min_length=1)]


class _Entities(_Answer):
    entities: list[_Entity]


class _Masks(_Answer):
    masks: list[list[_Token]]


class _Span(_Answer):
    answer: str
    score: FiniteFloat
    start: int
    end: int


def parse_answer(task: Task, tensors: Mapping[str, Any], pairs: Sequence[str] = ()) -> dict[str, Any]:
    """Return a text model's output tensors as plain values; see `prep_triton.triton.server.infer.TextAnswer`.

    Args:
        task: The model's.
        tensors: Its outputs by name.
        pairs: The second text of each row, where the task scores pairs.

    Raises:
        ServerError: They are not of the task's form, or hold numbers that are none (NaN, infinity).
    """
    hint = "see which server answers there; an entry of prep's that answers so has to be assembled again"
    try:
        return _parse(task, tensors, pairs).model_dump()
    except ValidationError as err:
        first = err.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        message = f"{place}: {first['msg'].lower()} (got {show_value(first['input'])})"
        raise ServerError(f"the answer is not of the form of {task}: {message}", hint=hint) from err
    except (LookupError, ValueError, TypeError, AttributeError, RecursionError) as err:
        raise ServerError(f"the answer is not of the form of {task}: {show_value(err)}", hint=hint) from err


def _parse(task: Task, tensors: Mapping[str, Any], pairs: Sequence[str]) -> _Answer:
    values: Mapping[str, list[Any]] = {name: array.ravel().tolist() for name, array in tensors.items()}
    match task:
        case "feature-extraction" | "sentence-embedding":
            return _Embedding(embedding=values["EMBEDDING"])
        case "text-classification":
            return _Labels.model_validate({"labels": _zip_labels(values["LABEL"], values["SCORE"])})
        case "text-pair-classification":
            rows = zip(pairs, tensors["LABEL"].tolist(), tensors["SCORE"].tolist(), strict=True)
            scored = [{"text_pair": pair, "labels": _zip_labels(names, scores)} for pair, names, scores in rows]
            return _Pairs.model_validate({"pairs": scored})
        case "token-classification":
            return _Entities.model_validate({"entities": json.loads(values["ENTITIES"][0])})
        case "fill-mask":
            return _Masks.model_validate({"masks": json.loads(values["TOKENS"][0])})
        case "question-answering":
            numbers = {name: values[name.upper()][0] for name in ("score", "start", "end")}
            return _Span.model_validate({"answer": values["ANSWER"][0].decode(), **numbers})
        case _:
            assert_never(task)


def _zip_labels(names: Sequence[bytes], scores: Sequence[float]) -> list[dict[str, Any]]:
    return [{"label": name.decode(), "score": score} for name, score in zip(names, scores, strict=True)]
