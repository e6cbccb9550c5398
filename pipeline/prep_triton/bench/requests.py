"""The requests that are sent: seeded ids within the vocabulary, or text."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from prep_triton.bench.records import BenchedEntry
from prep_triton.errors import SpecError
from prep_triton.tasks import TASKS
from prep_triton.triton.server.load import InputTensor, ServedModel, serialize_request
from prep_triton.triton.server.token_counts import TokenCounts

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

# So many different ones that neither a cache of the processor nor a branch is tuned to a single request.
DISTINCT_REQUESTS = 64
DEFAULT_SEQUENCE = 128
# Where nothing says how large the vocabulary is: every BERT in use has more.
ASSUMED_VOCABULARY = 1000
# Text of real requests: mostly a sentence or two, now and then a page.
_SENTENCES_IN_A_TEXT = (1, 1, 1, 2, 2, 3, 6, 12)
_ID_TYPES = {"INT64": np.int64, "INT32": np.int32}


@dataclass(frozen=True)
class InputChoice:
    """What to send.

    Args:
        batch: Rows of a request.
        sequence: Tokens of a row of ids; `DEFAULT_SEQUENCE`, or the longest that the entry takes, where None.
        seed: Decides ids and texts.
        texts: What text requests are made of.
        join_texts: Whether texts are sentences, of which longer texts are made; else each is sent as it is.
        priority: Of the requests, 1 is the highest; 0 leaves it to the entry.
    """

    batch: int = 1
    sequence: int | None = None
    seed: int = 0
    texts: tuple[str, ...] = ()
    join_texts: bool = True
    priority: int = 0


@dataclass(frozen=True)
class Workload:
    """One entry and the requests that it is sent, in turn.

    `lengths` are of rows: tokens, or characters of text. `tokens` are None where nothing tells them.
    """

    model: ServedModel
    key: str
    batch: int
    requests: tuple[bytes, ...]
    lengths: tuple[int, ...]
    tokens: TokenCounts | None = None
    priority: int = 0

    @property
    def digest(self) -> str:
        """The SHA-256 of all requests."""
        digest = hashlib.sha256()
        for request in self.requests:
            digest.update(len(request).to_bytes(8, "big") + request)
        return digest.hexdigest()

    def describe(self) -> BenchedEntry:
        """Say what is sent, for the conditions of a run."""
        return BenchedEntry(
            name=self.model.name,
            key=self.key,
            config_digest=self.model.config_digest,
            input_kind="text" if self.model.takes_text else "ids",
            input_digest=self.digest,
            distinct_requests=len(set(self.requests)),
            shortest=min(self.lengths),
            mean_length=fmean(self.lengths),
            longest=max(self.lengths),
            priority=self.priority,
        )


@dataclass(frozen=True)
class EntryFacts:
    """What the repository knows of an entry and the server does not: its key, vocabulary and longest sequence."""

    key: str = ""
    vocabulary: int | None = None
    longest: int | None = None


def make_workload(model: ServedModel, facts: EntryFacts, choice: InputChoice) -> Workload:
    """Make the requests of an entry.

    Raises:
        SpecError: The entry takes something else, or not so many rows or tokens.
    """
    if model.max_batch_size and choice.batch > model.max_batch_size:
        raise SpecError(
            f"--batch {choice.batch} is more than {model.name} takes: {model.max_batch_size}",
            hint=f"write --batch {model.max_batch_size}, or assemble it with a larger --max-batch-size",
        )
    check_priority(model, choice.priority)
    make = _text_rows if model.takes_text else _id_rows
    rows, lengths = make(model, facts, choice)
    requests = tuple(serialize_request(model.name, arrays, priority=choice.priority) for arrays in rows)
    # Rows of ids have no padding, and the server adds none: it merges requests of one length alone.
    tokens = None if model.takes_text else TokenCounts(choice.batch * fmean(lengths), choice.batch * fmean(lengths))
    return Workload(model, facts.key, choice.batch, requests, tuple(lengths), tokens, choice.priority)


def check_priority(model: ServedModel, priority: int) -> None:
    """Refuse a priority that the server would silently take for the entry's default.

    Raises:
        SpecError: The entry, or each step of the ensemble, has fewer levels.
    """
    levels, owner, made = model.priority_levels, model.name, "it"
    if priority <= levels:
        return
    if model.steps:
        owner, made = f"the steps of {model.name}", "its model"
    have = f"{'have' if model.steps else 'has'} {levels or 'no'} priority levels"
    needed = max(2, priority)
    raise SpecError(
        f"{owner} {have}, so Triton would take no notice of priority {priority}",
        hint=f"write a priority from 1 to {levels}"
        if levels
        else f"assemble {made} with --priority-levels {needed} --default-priority-level {needed}",
    )


def _id_rows(
    model: ServedModel, facts: EntryFacts, choice: InputChoice
) -> tuple[list[dict[str, "Array"]], Sequence[int]]:
    rng = np.random.default_rng([choice.seed, 2])
    length = _choose_length(model, facts, choice.sequence)
    vocabulary = facts.vocabulary or ASSUMED_VOCABULARY
    shape: tuple[int, ...] = (choice.batch, length)
    if not model.has_batch:
        shape = (length,)
        if choice.batch > 1:
            raise SpecError(f"{model.name} takes one row a request", hint="leave --batch out")
    rows = [
        {tensor.name: _draw_tensor(model.name, tensor, shape, vocabulary, rng) for tensor in model.inputs}
        for _ in range(DISTINCT_REQUESTS)
    ]
    return rows, [length]


def _choose_length(model: ServedModel, facts: EntryFacts, sequence: int | None) -> int:
    """Return the tokens of a row.

    Raises:
        SpecError: The entry takes rows of another length.
    """
    fixed = {tensor.dims[-1] for tensor in model.inputs if tensor.dims and tensor.dims[-1] > 0}
    if len(fixed) == 1:
        (only,) = fixed
        if sequence not in (None, only):
            raise SpecError(f"{model.name} takes {only} tokens a row, not {sequence}", hint=f"write --seq-len {only}")
        return int(only)
    if sequence is None:
        return min(DEFAULT_SEQUENCE, facts.longest or DEFAULT_SEQUENCE)
    if facts.longest and sequence > facts.longest:
        raise SpecError(
            f"{model.name} takes at most {facts.longest} tokens a row, not {sequence}",
            hint=f"write --seq-len {facts.longest}",
        )
    return sequence


def _draw_tensor(
    name: str, tensor: InputTensor, shape: tuple[int, ...], vocabulary: int, rng: np.random.Generator
) -> "Array":
    dtype = _ID_TYPES.get(tensor.dtype)
    if dtype is None:
        raise SpecError(
            f"{name} takes {tensor.name} of {tensor.dtype}: neither ids nor text",
            hint="name a model or a text ensemble with --entry",
        )
    if "mask" in tensor.name:
        return np.ones(shape, dtype)
    if "type" in tensor.name:
        return np.zeros(shape, dtype)
    # What stands first in a vocabulary are [PAD], [CLS] and names for later use, not words of a text.
    return rng.integers(min(ASSUMED_VOCABULARY, vocabulary // 2), vocabulary, shape).astype(dtype)


def _text_rows(
    model: ServedModel, facts: EntryFacts, choice: InputChoice
) -> tuple[list[dict[str, "Array"]], Sequence[int]]:
    del facts
    if not choice.texts:
        raise SpecError("there is no text to send", hint="write a text a line into the file of --texts")
    texts = join_sentences(choice.texts, choice.seed) if choice.join_texts else list(choice.texts)
    if model.task and TASKS[model.task].text_form == "masked":
        texts = [mask_last_word(text, model.mask_token) for text in texts]
    count = choice.batch * max(DISTINCT_REQUESTS, -(-len(texts) // choice.batch))
    rows = list(islice(cycle(texts), count))
    questions = [f"What is said of {text.split()[0] if text.split() else 'it'}?" for text in rows]
    takes_pairs = bool(model.task and TASKS[model.task].takes_pairs)
    requests = []
    for start in range(0, count, choice.batch):
        part = slice(start, start + choice.batch)
        columns = {"QUESTION": questions[part]}
        if takes_pairs:  # as a query with its documents
            columns["TEXT"] = questions[start : start + 1]
        requests.append(
            {tensor.name: _text_tensor(columns.get(tensor.name, rows[part]), model) for tensor in model.inputs}
        )
    return requests, [len(text) for text in texts]


def join_sentences(sentences: Sequence[str], seed: int, count: int = DISTINCT_REQUESTS) -> list[str]:
    """Make texts of one to twelve sentences."""
    rng = np.random.default_rng([seed, 3])
    sizes = rng.choice(_SENTENCES_IN_A_TEXT, count)
    # Each begins with another sentence, as far as there are so many: a short one is not sent over and over.
    firsts = rng.permutation(len(sentences))
    places = (
        [firsts[text % len(firsts)], *rng.integers(0, len(sentences), size - 1)] for text, size in enumerate(sizes)
    )
    return [" ".join(sentences[place] for place in chosen) for chosen in places]


def mask_last_word(text: str, mask_token: str) -> str:
    """Return a text with a mask token: where its last word is, unless it has one."""
    if mask_token in text:
        return text
    return " ".join([*text.split()[:-1], mask_token])


def _text_tensor(texts: Sequence[str], model: ServedModel) -> "Array":
    array = np.array([text.encode("utf-8", "surrogateescape") for text in texts], dtype=object)
    return array.reshape(-1, 1) if model.has_batch else array
