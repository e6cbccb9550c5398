"""The library's own answers to fixed texts, for `prep verify`: see `prep_triton.library_answers`.

transformers tokenizes, the torch model computes, and transformers' own pipelines make answers of it; embeddings are
sentence-transformers' own where it is installed. Nothing here reads what `declared.py` wrote into the record: a
mistake there has to show.
"""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass
from itertools import cycle, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, assert_never

import torch
import transformers

from prep_triton.architectures import ARCHITECTURES
from prep_triton.export.checkpoint import silence_vendors
from prep_triton.export.cross_encoders import is_cross_encoder
from prep_triton.export.heads import count_token_types, input_names
from prep_triton.export.library_embeddings import Embedder, find_embedder, shortest_length
from prep_triton.export.library_pairs import PairScorer, find_pair_scorer
from prep_triton.export.reference import one_thread
from prep_triton.export.source import Source
from prep_triton.export.tokenizer import load_origin
from prep_triton.library_answers import (
    LibraryAnswers,
    LibraryChoice,
    LibraryEntity,
    LibraryMask,
    LibraryRow,
    rounded,
)
from prep_triton.reference import TOKENIZER_PROBES, count_special_tokens, silence_panics
from prep_triton.tasks import TASKS, Task

log = logging.getLogger(__name__)

# Running text, as people send it and as the reference has it.
ORDINARY_TEXTS = (
    "Ada Lovelace wrote the first program in London.",
    "The film was slow at first, but its last hour is the best that Kyoto's studios have shown since 1954.",
    "A ferry of the Hellenic Lines left Piraeus at noon; it reached Crete, 320 km away, in nine hours. "
    "Maria and John stayed on deck, and nobody asked them why.",
)
SHORT_TEXT = "No."
QUESTIONS = ("Who wrote it?", "Where is the caf\u00e9, [SEP] Z\u00fcrich or \u6771\u4eac?")
# A text that is cut is longer than the model takes; PyTorch needs minutes and 10 GiB for one of 8,192 tokens.
_MOST_TOKENS = 512
# How many tokens are kept for each mask: as many as anybody reads.
_CHOICES = 16


def answer_texts(model: Any, source: Source, origin: Path | None, vocabulary: Path) -> LibraryAnswers:
    """Have the library answer the texts of a task.

    Args:
        model: The torch model of the task, in evaluation mode.
        source: What is exported.
        origin: The checkpoint's folder; None for random weights.
        vocabulary: The folder that has the tokenizer.
    """
    with silence_vendors(), silence_panics(), one_thread(), torch.inference_mode():
        library = _Library(model, source, origin, vocabulary)
        rows = [row for text in library.texts() if (row := library.find_answer(text))]
        return LibraryAnswers(library=library.name, labels=library.labels, rows=tuple(rows))


@dataclass(frozen=True)
class _Text:
    """A text, perhaps beside a question or the first text of a pair."""

    text: str
    question: str = ""
    prompt_name: str = ""
    is_ordinary: bool = False


class _Library:
    """One checkpoint as the library sees it."""

    def __init__(self, model: Any, source: Source, origin: Path | None, vocabulary: Path) -> None:
        self.model = model
        self.task: Task = source.task
        self.tokenizer = load_origin(vocabulary)
        self.inputs = input_names(source.architecture, token_types=count_token_types(model.config))
        positions = ARCHITECTURES[source.architecture].find_longest_input(model.config)
        self.length = shortest_length(self.tokenizer.model_max_length, positions)
        self.name = f"transformers {transformers.__version__}"
        self.labels: tuple[str, ...] = ()
        self.embedder: Embedder | None = None
        self.scorer: PairScorer | None = None
        # Before the first text: transformers sets its own for each call.
        self.truncation = (self.tokenizer.backend_tokenizer.truncation or {}).get("strategy", "longest_first")
        facts = TASKS[self.task]
        self.specials = count_special_tokens(self.tokenizer.backend_tokenizer, len(facts.text_inputs))
        config = _load_config(origin) or copy(model.config)
        if facts.has_labels:
            count = int(model.config.num_labels)
            # An index without a name is a KeyError in the pipeline.
            names = {int(index): str(name) for index, name in config.id2label.items() if name is not None}
            config.id2label = {index: names.get(index, f"LABEL_{index}") for index in range(count)}
            self.labels = tuple(config.id2label.values())
        if facts.answers_embedding:
            self.embedder = find_embedder(model, self.tokenizer, origin, self.length, positions=positions)
            self.name, self.length = self.embedder.name, self.embedder.length
        if facts.takes_pairs and is_cross_encoder(source.config, origin, where=source.label):
            self.scorer = find_pair_scorer(model, source.config, origin, self.length)
            self.name, self.length = self.scorer.name, self.scorer.length
        self.pipeline = _find_pipeline(self.task, config, self.tokenizer)

    def texts(self) -> Iterator[_Text]:
        """Yield texts, most telling first, each with a question where the task has one."""
        if self.length <= self.specials:
            return  # no text has room
        longer = " ".join([ORDINARY_TEXTS[-1]] * (min(self.length, _MOST_TOKENS) // 20 + 1))
        others = (longer, SHORT_TEXT, *TOKENIZER_PROBES)
        mask = self.tokenizer.mask_token
        match TASKS[self.task].text_form:
            case "masked":
                if mask is not None:
                    yield from (_Text(text.replace(" ", f" {mask} ", 1), is_ordinary=True) for text in ORDINARY_TEXTS)
                    yield from (_Text(f"{mask} {text}") for text in others)
            case "question":
                yield from (_Text(text, QUESTIONS[0], is_ordinary=True) for text in ORDINARY_TEXTS)
                yield from (_Text(text, QUESTIONS[0]) for text in others)
                yield from (_Text(text, QUESTIONS[1]) for text in ORDINARY_TEXTS)
            case "pair":
                yield from (_Text(text, ORDINARY_TEXTS[0], is_ordinary=True) for text in ORDINARY_TEXTS)
                yield from (_Text(text, QUESTIONS[0]) for text in others if text)
                yield _Text(ORDINARY_TEXTS[1], longer)
                yield _Text(longer, f"{SHORT_TEXT} {longer}")
            case "plain":
                yield from (_Text(text, is_ordinary=True) for text in ORDINARY_TEXTS)
                yield from self._prompted_texts()
                yield from (_Text(text) for text in others)

    def _prompted_texts(self) -> Iterator[_Text]:
        """Yield a text for each prompt: another one as far as there are some."""
        names = self.embedder.prompt_names if self.embedder else ()
        for name, text in zip(names, cycle(ORDINARY_TEXTS), strict=False):
            yield _Text(text, prompt_name=name, is_ordinary=True)

    def find_answer(self, source: _Text) -> LibraryRow | None:
        """Return what the library makes of a text; None also where its tokenizer panics: so does the served one."""
        try:
            return self._answer(source)
        except BaseException as err:  # a panic of Rust is no Exception
            if isinstance(err, Exception) or type(err).__name__ != "PanicException":
                raise
            return None

    def _answer(self, source: _Text) -> LibraryRow | None:
        """Return what the library makes of a text; None where it cannot, or the model's answer is no number."""
        if self.embedder:
            return self._embed(source, self.embedder)
        if source.question and not self._has_room(source.text, source.question):
            return None
        batch = self._tokenize(source)
        if self.scorer:
            return self._score(source, batch, self.scorer)
        outputs = self._compute(batch)
        if not all(values.isfinite().all() for values in outputs.values()):
            return None
        shared = {**asdict(source), "ids": batch["input_ids"], "is_cut": bool(batch.encodings[0].overflowing)}
        return LibraryRow.model_validate({**shared, **self._read(source.text, batch, outputs)})

    def _tokenize(self, source: _Text) -> Any:
        match TASKS[self.task].text_form:
            case "question":
                truncation: str | bool = "only_second"
            case "pair":
                truncation = self.truncation
            case _:
                truncation = True
        return self.tokenizer(
            *([source.question] if source.question else []),
            source.text,
            truncation=truncation,
            max_length=self.length,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )

    def _embed(self, source: _Text, embedder: Embedder) -> LibraryRow | None:
        ids, is_cut, vector = embedder.embed(source.text, source.prompt_name)
        if not all(math.isfinite(value) for value in vector):
            return None
        fields = {"ids": ids, "is_cut": is_cut, "embedding": rounded(vector)}
        return LibraryRow.model_validate({**asdict(source), **fields})

    def _score(self, source: _Text, batch: Any, scorer: PairScorer) -> LibraryRow | None:
        """Return what sentence-transformers makes of a pair; None where that is no number, or cut otherwise."""
        is_cut = bool(batch.encodings[0].overflowing)
        if is_cut and self.truncation != "longest_first":
            return None  # CrossEncoder does not read what its tokenizer.json declares
        ids, logits, scores = scorer.score(source.question, source.text, batch)
        if not all(map(math.isfinite, [*logits, *scores])):
            return None
        fields = {"ids": ids, "is_cut": is_cut, "sequences": batch.sequence_ids(0), "scores": rounded(scores)}
        return LibraryRow.model_validate({**asdict(source), **fields, "outputs": {"logits": rounded(logits)}})

    def _has_room(self, text: str, question: str) -> bool:
        """Whether the text that is not cut leaves room for the other, as the server asks for.

        That is half of the tokens for a context, which may not be empty.
        """
        first, second = (len(self.tokenizer(part, add_special_tokens=False)["input_ids"]) for part in (question, text))
        room = self.length - self.specials
        if TASKS[self.task].text_form == "question":
            return first <= room // 2 and second > 0
        # The library's error where a text would be cut to nothing names no text.
        return {"only_first": second, "only_second": first}.get(self.truncation, 0) < room

    def _compute(self, batch: Any) -> dict[str, torch.Tensor]:
        answer = self.model(**{name: torch.tensor([batch[name]]) for name in self.inputs if name in batch})
        return {name: getattr(answer, name).float() for name in TASKS[self.task].outputs}

    def _read(self, text: str, batch: Any, outputs: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """Return the fields of a row that the task has."""
        match self.task:
            case "text-classification":
                return _scores(self.pipeline, outputs["logits"])
            case "text-pair-classification":
                return {"sequences": batch.sequence_ids(0), **_scores(self.pipeline, outputs["logits"])}
            case "token-classification":
                return {**_places(batch), **_entities(self.pipeline, text, batch, outputs["logits"])}
            case "fill-mask":
                return {"masks": _masks(self.pipeline, batch, outputs["logits"])}
            case "question-answering":
                # transformers 5 has no pipeline for it: verify applies SQuAD's rule to these numbers.
                numbers = {name: rounded(values[0].tolist()) for name, values in outputs.items()}
                return {**_places(batch), "outputs": numbers}
            case "feature-extraction" | "sentence-embedding":
                return {}  # the embedder answers
            case _:
                assert_never(self.task)


def _load_config(origin: Path | None) -> Any:
    """Return config.json as transformers reads it, all of it; None where it refuses to."""
    if origin is None:
        return None
    try:
        return transformers.AutoConfig.from_pretrained(str(origin), local_files_only=True, trust_remote_code=False)
    except Exception as err:  # a model_type that is not there, keys that do not go together: each raises its own
        log.debug("transformers does not read %s: %s", origin, err)
        return None


def _find_pipeline(task: Task, config: Any, tokenizer: Any) -> Any:
    """Return transformers' pipeline of a task for its post-processing; None where there is none."""
    match task:
        case "text-classification" | "text-pair-classification":
            kind = transformers.TextClassificationPipeline
        case "token-classification":
            kind = transformers.TokenClassificationPipeline
        case "fill-mask":
            kind = transformers.FillMaskPipeline
        case "question-answering" | "feature-extraction" | "sentence-embedding":
            return None
        case _:
            assert_never(task)
    # Without its constructor, which wants a model of its own: post-processing needs these two alone.
    pipeline = object.__new__(kind)
    pipeline.model, pipeline.tokenizer = SimpleNamespace(config=config), tokenizer
    return pipeline


def _places(batch: Any) -> dict[str, Any]:
    return {
        "offsets": [tuple(pair) for pair in batch["offset_mapping"]],
        "sequences": batch.sequence_ids(0),
        "words": batch.word_ids(0),
    }


def _scores(pipeline: Any, logits: torch.Tensor) -> dict[str, Any]:
    # As a list in the order of the labels, which `_legacy` leaves as it is.
    answers = pipeline.postprocess({"logits": logits}, top_k=None, _legacy=True)
    return {
        "scores": rounded([answer["score"] for answer in answers]),
        "outputs": {"logits": rounded(logits[0].tolist())},
    }


def _entities(pipeline: Any, text: str, batch: Any, logits: torch.Tensor) -> dict[str, Any]:
    names = ("input_ids", "offset_mapping", "special_tokens_mask")
    output = {**{name: torch.tensor([batch[name]]) for name in names}, "logits": logits, "sentence": text}
    tokens = pipeline.postprocess([output], ignore_labels=[])
    tagged = any(label[:2] in ("B-", "I-") for label in pipeline.model.config.id2label.values())
    strategy = "FIRST" if tagged else "NONE"
    strategies = transformers.pipelines.token_classification.AggregationStrategy
    entities = pipeline.postprocess([output], aggregation_strategy=strategies[strategy])
    words = _find_words(pipeline, output, batch)
    return {
        "words": words,
        "tokens": [_entity(token) for token in tokens],
        "entities": [_entity(entity) for entity in entities] if _agrees_on_words(pipeline, output, words) else None,
        "outputs": {"logits": rounded(logits[0].tolist())},
    }


def _entity(answer: Mapping[str, Any]) -> LibraryEntity:
    label = answer["entity_group"] if "entity_group" in answer else answer["entity"]
    return LibraryEntity(
        label=label, score=rounded(float(answer["score"])), start=int(answer["start"]), end=int(answer["end"])
    )


def _find_words(pipeline: Any, output: Mapping[str, Any], batch: Any) -> list[int | None]:
    """Return the index of each token's word.

    A tokenizer of WordPiece knows its words; of any other the pipeline reads them off the text, which it is asked for.
    """
    words = list(batch.word_ids(0))
    if getattr(pipeline.tokenizer.backend_tokenizer.model, "continuing_subword_prefix", None):
        return words
    count = 0
    for piece in _gather_pieces(pipeline, output):
        count += not piece["is_subword"]
        words[piece["index"]] = count
    return words


def _agrees_on_words(pipeline: Any, output: Mapping[str, Any], words: Sequence[int | None]) -> bool:
    """Whether the pipeline, which guesses by the lengths of tokens, takes the same tokens for a word as the tokenizer.

    It does not where the vocabulary is without accents or the text has other spaces.
    """
    return all(
        piece["is_subword"] == (words[piece["index"]] == words[before["index"]])
        for before, piece in pairwise(_gather_pieces(pipeline, output))
    )


def _gather_pieces(pipeline: Any, output: Mapping[str, Any]) -> Any:
    strategy = transformers.pipelines.token_classification.AggregationStrategy.FIRST
    scores, offsets, special = output["logits"][0].numpy(), output["offset_mapping"][0], output["special_tokens_mask"]
    return pipeline.gather_pre_entities(
        output["sentence"], output["input_ids"][0], scores, offsets, special[0].numpy(), strategy
    )


def _masks(pipeline: Any, batch: Any, logits: torch.Tensor) -> list[LibraryMask]:
    ids = torch.tensor([batch["input_ids"]])
    answers = pipeline.postprocess({"input_ids": ids, "logits": logits}, top_k=min(_CHOICES, logits.shape[2]))
    rankings: Sequence[Any] = [answers] if answers and isinstance(answers[0], dict) else answers
    places = (ids[0] == pipeline.tokenizer.mask_token_id).nonzero().flatten().tolist()
    masks = []
    for place, ranking in zip(places, rankings, strict=True):
        values = logits[0, place]
        choices = [
            LibraryChoice(
                token=pipeline.tokenizer.convert_ids_to_tokens(answer["token"]) or "",
                text=answer["token_str"],
                logit=rounded(float(values[answer["token"]])),
                score=rounded(float(answer["score"])),
            )
            for answer in ranking
        ]
        masks.append(LibraryMask(rms=rounded(float(values.square().mean().sqrt())), choices=tuple(choices)))
    return masks
